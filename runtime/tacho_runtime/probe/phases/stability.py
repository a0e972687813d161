"""Whether the speed of one stream at the end of a probe is the same as at its beginning.

On a machine whose speed drifts, consecutive requests agree, but the next probe measures another rate. So a
request at the end is compared with those of the beginning.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tacho_runtime.probe.latencies import FEW_REQUESTS
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.phases.single_stream import (
    add_single,
    check_interference,
    engine_flags,
    settled_reading,
)
from tacho_runtime.probe.rates import NARROWEST_PERCENT, DecodeRate, decode_of
from tacho_runtime.probe.session import ProbeFindings, ProbeSession, gains_too_much
from tacho_runtime.probe.time_plan import SINGLE_STREAM_SECONDS


def drift_percent(first: DecodeRate, requests: int, late: DecodeRate) -> float:
    """Difference between the rate ``late`` of one request and the mean rate ``first`` of ``requests``, in
    percent of ``first``.

    0 where their intervals explain it. A request too short for an interval gets that of the first ones.
    """
    known = first.ci_percent or 0.0
    own = known * math.sqrt(requests) if late.ci_percent is None else late.ci_percent
    apart = 100 * abs(late.tokens_per_second / first.tokens_per_second - 1)
    return apart if apart > math.hypot(max(NARROWEST_PERCENT, known), max(NARROWEST_PERCENT, own)) else 0.0


LATE_DECODE_SHARE = 0.05
DESIRED_PERCENT = 2.0
"""Desired half width of the interval of one stream's rate, in percent; while it is wider and time is left,
the probe sends more requests."""
AT_THE_END = "one stream at the end"
REQUEST_MARGIN = 1.5
"""Factor on the expected time of a request when the time left is checked, to end within the budget."""


async def final_check(bench: ProbeSession) -> None:
    """Sends one more request alone and compares its speed with the first ones; a large difference counts as a
    disturbance.

    A smaller one that its interval does not explain is drift: the next probe may differ as much. If the
    single stream's rate is uncertain, more requests are sent, and all of them give the rate.
    """
    decode, findings = decode_of(bench.findings.single.streams), bench.findings
    _compare_levels(findings)
    if decode is None:
        return
    if not _time_for_one(bench):
        findings.flags.add("BudgetExhausted")
        findings.notes.append(
            f"no time was left to see whether one stream is as fast at the end ({bench.advice.more_time})"
        )
        return
    before, workload = await settled_reading(bench, counted=True), bench.shape.workload
    machine = await bench.engine.machine(calibrate=True)
    stream = await bench.engine.complete(
        workload.input_tokens, workload.output_tokens, bench.clock.patience()
    )
    around, flags = await check_interference(
        bench, machine, before, [stream], during=AT_THE_END, when="at the end"
    )
    findings.flags.update(flags)
    late = decode_of([stream])
    if late is None:
        return
    _compare(bench, decode, late, around.flags)
    disturbed = flags or around.flags or findings.single.flags or "NotSteady" in findings.flags
    if not disturbed and not _is_known([*findings.single.streams, stream], decode):
        await _more(bench, decode, [stream])


def _compare_levels(findings: ProbeFindings) -> None:
    """Flags a probe whose levels no one engine has: it was slower while the one with fewer streams ran."""
    points = [one.point for streams, one in sorted(findings.rated.items()) if streams > 1 and one.clean]
    for low, high in itertools.pairwise(points):
        if gains_too_much(low, high):
            findings.flags.add("NotSteady")
            findings.notes.append(
                f"{low.concurrency} streams had {low.output_tokens_per_second:.0f} tokens/s and "
                f"{high.concurrency} had {high.output_tokens_per_second:.0f}: something changed in between"
            )


def _is_known(streams: Sequence[StreamResult], decode: DecodeRate | None) -> bool:
    """Whether there are enough requests, and their rate has a narrow interval."""
    return (
        len(streams) >= FEW_REQUESTS and decode is not None and (decode.ci_percent or 0.0) <= DESIRED_PERCENT
    )


def _time_for_one(bench: ProbeSession) -> bool:
    seconds = (bench.findings.single.streams[0].end_to_end_milliseconds or 0.0) / 1000
    return bench.clock.left() >= REQUEST_MARGIN * seconds


def _compare(bench: ProbeSession, decode: DecodeRate, late: DecodeRate, disturbed: tuple[str, ...]) -> None:
    """Compares a request of the end with those of the beginning. ``disturbed``: flags during that request;
    they are used only if its speed differs.
    """
    apart = abs(late.tokens_per_second / decode.tokens_per_second - 1)
    # One request is that much less certain than all of the first ones together.
    of_one = (decode.ci_percent or 0.0) * math.sqrt(len(bench.findings.single.streams))
    spread = max(of_one, late.ci_percent or 0.0) / 100
    note = (
        f"at the end one stream decoded {late.tokens_per_second:.1f} tokens/s, at the beginning "
        f"{decode.tokens_per_second:.1f}"
    )
    if apart > max(LATE_DECODE_SHARE, 1.5 * spread):
        bench.findings.flags.update({"NotSteady", *disturbed})
        bench.findings.notes.append(f"{note}: something changed during the probe")
        return
    drift = drift_percent(decode, len(bench.findings.single.streams), late)
    bench.findings.single.drift_percent = max(bench.findings.single.drift_percent, drift)
    if drift:
        bench.findings.notes.append(f"{note}: all intervals are {_percent(drift)} % wider")


def _percent(value: float) -> str:
    """``value`` with two digits, or rounded to an integer from 10 on."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


async def _more(bench: ProbeSession, first: DecodeRate, late: list[StreamResult]) -> None:
    """Sends further requests at the end of the probe and adds undisturbed ones to those of the beginning.

    The last one is compared with ``first``, the rate at the beginning, as the levels are of that time.

    It does so for SINGLE_STREAM_SECONDS and, while there are few, as long as the budget lasts. Faults of the
    engine in any of them are reported for all. A request that began in time is completed.
    """
    findings, workload, clock = bench.findings, bench.shape.workload, bench.clock
    ends = clock.now() + SINGLE_STREAM_SECONDS
    bench.progress("measuring one stream for longer: its rate is not known well")
    machine, before = await bench.engine.machine(calibrate=True), await bench.engine.reading()
    further: list[StreamResult] = []
    every = [*findings.single.streams, *late]
    while (clock.now() < ends or len(every) < FEW_REQUESTS) and _time_for_one(bench):
        further.append(
            await bench.engine.complete(workload.input_tokens, workload.output_tokens, clock.patience())
        )
        every.append(further[-1])
        if _is_known(every, decode_of(every)):
            break
    around, flags = await check_interference(
        bench, machine, before, further, during=AT_THE_END, when="at the end"
    )
    if around.flags or flags:
        return
    if last := decode_of(every[-1:]):
        _compare(bench, first, last, ())
    findings.single.streams = tuple(every)
    findings.single.flags, findings.single.stall_note = engine_flags(findings.single.streams)
    findings.single.loss_percent = max(findings.single.loss_percent, around.loss_percent)
    add_single(bench, findings.single.flags)
