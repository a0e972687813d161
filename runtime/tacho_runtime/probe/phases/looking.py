"""One request alone now and then: whether the engine decodes all the time as it did at first."""

from __future__ import annotations

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.asking.timed_client import RequestFailed
from tacho_runtime.probe.contention import Disturbance
from tacho_runtime.probe.gaps import decode_of
from tacho_runtime.probe.phases.alone import judged, settled_reading
from tacho_runtime.probe.phases.bench import Bench

MOST_LOOKS = 3
LOOK_SHARE = 0.04
"""Of the time left, that a look may take: levels are what it is for."""
BETWEEN = "one stream between levels"


async def look(bench: Bench, *, during: str, when: str) -> tuple[Stream, Disturbance, bool]:
    """(a request, what the machine did meanwhile, whether nothing disturbed it). Somebody else's requests and
    a late client are flags of the probe; what the machine did is one where it shows, which the caller
    decides. Raises RequestFailed."""
    workload = bench.shape.workload
    before = await settled_reading(bench, counted=True)
    machine = bench.engine.machine(calibrate=True)
    stream = await bench.engine.ask(workload.input_tokens, workload.output_tokens, bench.clock.patience())
    around, flags = await judged(bench, machine, before, [stream], during=during, when=when)
    bench.findings.flags.update(flags)
    return stream, around, not (flags or around.flags)


async def between(bench: Bench) -> None:
    """A look between two levels, where that is cheap; one that is disturbed, or fails, tells nothing: an
    engine that answers no more is found out by the next level."""
    findings, single = bench.findings, bench.findings.single
    seconds = (single[0].end_to_end_milliseconds or 0.0) / 1000 if single else 0.0
    if len(findings.looks) >= MOST_LOOKS or not 0 < seconds <= LOOK_SHARE * bench.clock.left():
        return
    try:
        stream, _, clean = await look(bench, during=BETWEEN, when="between levels")
    except RequestFailed:
        return
    decode = decode_of([stream])
    if decode is not None and clean:
        findings.looks.append(decode)
