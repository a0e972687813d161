"""One stream at the end: whether the engine is what it was, and its rate where that is not known well."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.drift import drift_percent
from tacho_runtime.probe.gaps import Decode, decode_of
from tacho_runtime.probe.phases import looking
from tacho_runtime.probe.phases.alone import add_single, judged, settled_reading, ways_of
from tacho_runtime.probe.phases.bench import Bench
from tacho_runtime.probe.search import SINGLE_STREAM_SECONDS

LATE_DECODE_SHARE = 0.05
WANTED_PERCENT = 2.0
"""Half the interval of one stream's rate; while it is wider and there is time, more requests are sent."""
AT_THE_END = "one stream at the end"
REQUEST_MARGIN = 1.5
"""Of a request's time, so that it ends within the budget."""


async def last_look(bench: Bench) -> None:
    """One more request alone: an engine that now decodes otherwise than at first was disturbed meanwhile.

    Where it, or a look between two levels, differs by less than that and all of them by more than their
    intervals explain, the machine drifts, and may be as different for the next probe. Where one stream's rate
    is not known well, further requests are sent, and those of both ends of the probe tell it.
    """
    decode, findings = decode_of(bench.findings.single), bench.findings
    if decode is None:
        return
    if not _time_for_one(bench):
        _widen(bench, decode, findings.looks)
        return
    before = await settled_reading(bench, counted=True)
    stream, around, clean = await looking.look(
        bench, before, during=AT_THE_END, when="at the end", timeout_seconds=bench.clock.patience()
    )
    late = decode_of([stream])
    if late is None:
        return
    _compare(bench, decode, late, around.flags)
    clean = clean and not findings.single_flags and "NotSteady" not in findings.flags
    if clean and (decode.ci_percent or 0.0) > WANTED_PERCENT:
        await _more(bench, [stream])


def _time_for_one(bench: Bench) -> bool:
    seconds = (bench.findings.single[0].end_to_end_milliseconds or 0.0) / 1000
    return bench.clock.left() >= REQUEST_MARGIN * seconds


def _compare(bench: Bench, decode: Decode, late: Decode, disturbed: tuple[str, ...]) -> None:
    """One request of the end with those of the beginning. ``disturbed``: flags of what the machine did during
    that one, which say something only where it came out otherwise."""
    apart = abs(late.tokens_per_second / decode.tokens_per_second - 1)
    # One request is that much less certain than all of the first ones together.
    of_one = (decode.ci_percent or 0.0) * math.sqrt(len(bench.findings.single))
    spread = max(of_one, late.ci_percent or 0.0) / 100
    said = (
        f"at the end one stream decoded {late.tokens_per_second:.1f} tokens/s, at the beginning "
        f"{decode.tokens_per_second:.1f}"
    )
    if apart > max(LATE_DECODE_SHARE, 1.5 * spread):
        bench.findings.flags.update({"NotSteady", *disturbed})
        bench.findings.notes.append(f"{said}: something changed in between")
        return
    _widen(bench, decode, [*bench.findings.looks, late])


def _widen(bench: Bench, decode: Decode, looks: Sequence[Decode]) -> None:
    """All intervals, by what one stream's rate was at other moments."""
    bench.findings.drift_percent = drift_percent(decode, len(bench.findings.single), looks)
    if bench.findings.drift_percent:
        rates = [one.tokens_per_second for one in (decode, *looks)]
        bench.findings.notes.append(
            f"one stream decoded {min(rates):.1f} to {max(rates):.1f} tokens/s from one moment of the probe "
            f"to another: all intervals are {_percent(bench.findings.drift_percent)} % wider"
        )


def _percent(value: float) -> str:
    """Two digits, and all before the point."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


async def _more(bench: Bench, late: list[Stream]) -> None:
    """``late`` and further requests to those of the beginning, where nothing disturbed them: what the engine
    itself did wrong in any of them is told of all. A request that has begun in time ends."""
    findings, workload, clock = bench.findings, bench.shape.workload, bench.clock
    ends = clock.now() + SINGLE_STREAM_SECONDS
    bench.progress("measuring one stream for longer: its rate is not known well")
    machine, before = bench.engine.machine(calibrate=True), await bench.engine.reading()
    further: list[Stream] = []
    while clock.now() < ends and _time_for_one(bench):
        further.append(
            await bench.engine.ask(workload.input_tokens, workload.output_tokens, clock.patience())
        )
        found = decode_of([*findings.single, *late, *further])
        if found is not None and (found.ci_percent or 0.0) <= WANTED_PERCENT:
            break
    around, flags = await judged(bench, machine, before, further, during=AT_THE_END, when="at the end")
    if around.flags or flags:
        return
    findings.single = (*findings.single, *late, *further)
    findings.single_flags, findings.stood = ways_of(findings.single)
    findings.single_loss_percent = max(findings.single_loss_percent, around.loss_percent)
    add_single(bench, findings.single_flags)
