"""One request alone now and then: whether the engine decodes all the time as it did at first."""

from __future__ import annotations

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.asking.timed_client import RequestFailed
from tacho_runtime.probe.contention import Disturbance
from tacho_runtime.probe.gaps import decode_of
from tacho_runtime.probe.phases.alone import SETTLE_TURN_SECONDS, judged, settled
from tacho_runtime.probe.phases.bench import Bench
from tacho_runtime.probe.ports import Reading

MOST_LOOKS = 3
"""Between levels, whatever came of them."""
LOOK_SHARE = 0.04
"""Of the time left, that a look may take as long as the engine is what it was, its settling before that
included: levels are what it is for."""
LONGEST_TIMES, LEAST_SECONDS = 3.0, 1.0
"""Of what a request took at first, and no less than that: an engine that needs longer is not waited for."""
BETWEEN = "one stream between levels"


async def look(
    bench: Bench, before: Reading, *, during: str, when: str, timeout_seconds: float
) -> tuple[Stream, Disturbance, bool]:
    """(a request, what the machine did meanwhile, whether nothing disturbed it). Somebody else's requests and
    a late client are flags of the probe; what the machine did is one where it shows, which the caller
    decides. ``before``: the counters. Raises RequestFailed."""
    workload = bench.shape.workload
    machine = bench.engine.machine(calibrate=True)
    stream = await bench.engine.ask(workload.input_tokens, workload.output_tokens, timeout_seconds)
    around, flags = await judged(bench, machine, before, [stream], during=during, when=when)
    bench.findings.flags.update(flags)
    return stream, around, not (flags or around.flags)


async def between(bench: Bench) -> None:
    """A look between two levels, where that is cheap; one that is disturbed tells nothing, and none is begun
    before the engine is done with the level. One that fails is the last: an engine that answers no more is
    found out by the next level."""
    findings, single, clock = bench.findings, bench.findings.single, bench.clock
    seconds = (single[0].end_to_end_milliseconds or 0.0) / 1000 if single else 0.0
    # The last turn of settling may begin when the time for it ends.
    spare = LOOK_SHARE * clock.left() - seconds - SETTLE_TURN_SECONDS
    if findings.looks_begun >= MOST_LOOKS or not seconds or spare <= 0:
        return
    findings.looks_begun += 1
    before, still = await settled(bench, counted=True, most_seconds=spare)
    if not still:
        return
    longest = min(clock.patience(), max(LEAST_SECONDS, LONGEST_TIMES * seconds))
    began = clock.now()
    try:
        stream, _, clean = await look(
            bench, before, during=BETWEEN, when="between levels", timeout_seconds=longest
        )
    except RequestFailed as error:
        findings.looks_begun = MOST_LOOKS
        if (lost := clock.now() - began) > seconds:
            findings.notes.append(f"{BETWEEN} failed and took {lost:.1f} s of the probe: {error}")
        return
    decode = decode_of([stream])
    if decode is not None and clean:
        findings.looks.append(decode)
