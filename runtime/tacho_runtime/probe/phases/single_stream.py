"""Sends requests one after the other: warms up the engine, then measures one stream, and the time of a
prompt."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_contract.units import counted
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe import time_plan
from tacho_runtime.probe.contention import Contention
from tacho_runtime.probe.cross_checks import (
    CLIENT_BOUND,
    claims_more,
    foreign_tokens,
    is_foreign,
    time_outside_engine,
)
from tacho_runtime.probe.levels import single_result
from tacho_runtime.probe.load.engine_counters import CounterReading
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.rates import EARLY_PERCENT, decode_of, hidden_percent, may_hide_first, times_apart
from tacho_runtime.probe.session import ProbeSession, PromptTiming
from tacho_runtime.probe.statistics import median, percentile

SETTLE_SECONDS, SETTLE_TURN_SECONDS = 3.0, 0.2
MUCH_SECONDS = 10.0
"""Seconds left of the budget above which the single stream may be measured a second time."""
STALLED_PERCENT = 2.0
"""Percent of the single stream's time in stalls above which they are reported; less may be chance."""
MOST_APART = 2.2
"""Ratio of two requests' times per token, each sent alone, that may be one engine's. Other processes on one
of its two CPUs double them, and its interval says so.
"""
MANY_FAILED = 2
"""Number of failed requests from which failures are attributed to the engine. A single one may be chance, and
is sent again.
"""

FIRST_TOKENS, FIRST_TOKENS_LEFT = 3, 0.9
"""Number of answers of one token, to compare first tokens with, and the share of the remaining time that is
kept for the rest of the probe."""
LEAST_HIDDEN_PERCENT, MOST_HIDDEN_PERCENT = 1.0, 5.0
"""Percent by which hidden tokens raise the rate of one stream: beyond chance, and from which on the rate is
provisional."""

WARM_OUTPUT_TOKENS = 8
WARM_AGREEMENT = 0.10
MOST_WARM_REQUESTS = 4


async def warm_up(bench: ProbeSession) -> tuple[float, float]:
    """Sends requests until two agree. Returns (TTFT in seconds, seconds per token). Raises RequestFailed.

    These are the best times seen, for planning only: other work of a starting machine should not shorten the
    measurement. A prompt that takes more than a third of the probe's time is cut to a quarter.
    """
    clock = bench.clock
    stop = clock.left() * 0.85
    times: list[float] = []
    tpots: list[float] = []
    while not times or (len(times) < MOST_WARM_REQUESTS and clock.left() > stop):
        workload = bench.shape.workload
        size, timeout_seconds = workload.input_tokens, clock.patience() / 3
        output_tokens = min(WARM_OUTPUT_TOKENS, workload.output_tokens)
        try:
            stream = await bench.engine.complete(size, output_tokens, timeout_seconds)
        except RequestFailed as error:
            if error.answered or times or size < 64 or timeout_seconds < 1:
                raise
            bench.shape = time_plan.quartered(bench.shape, timeout_seconds, bench.advice)
            continue
        times.append((stream.ttft_milliseconds or 0.0) / 1000)
        tpots.append((stream.tpot_milliseconds or 0.0) / 1000)
        if len(times) > 1 and abs(times[-1] - times[-2]) <= WARM_AGREEMENT * times[-1]:
            break
    return min(times), min(tpots)


async def one_stream(bench: ProbeSession, *, ttft: float, tpot: float) -> None:
    """Measures one stream: sends requests one after the other, which also gives the curve's first point.

    Repeated once if it was disturbed; the undisturbed result is kept.
    """
    workload, clock = bench.shape.workload, bench.clock
    request_seconds = ttft + workload.output_tokens * tpot
    for attempt in (1, 2):
        count = time_plan.single_stream_requests(request_seconds=request_seconds, left_seconds=clock.left())
        began = clock.now()
        flags = await _one_after_the_other(bench, count)
        if not flags or attempt == 2 or clock.left() < max(MUCH_SECONDS, 4 * (clock.now() - began)):
            return
        bench.progress("measuring one stream again: it was disturbed")


async def _one_after_the_other(bench: ProbeSession, count: int) -> tuple[str, ...]:
    """Sends ``count`` requests one after the other; returns the flags of this attempt. Its requests replace
    those of a disturbed earlier attempt.
    """
    workload, clock, engine = bench.shape.workload, bench.clock, bench.engine
    stop = clock.left() * (1 - 1.5 * time_plan.SINGLE_STREAM_SHARE)
    streams: list[StreamResult] = []
    reading = await settled_reading(bench)
    before = await engine.machine(calibrate=True)
    try:
        while len(streams) < count and (not streams or clock.left() > stop):
            tokens = (workload.input_tokens, workload.output_tokens)
            streams.append(await engine.complete(*tokens, clock.patience()))
    except BaseException:
        # A failure or a cancellation: what was measured before it stands, with what disturbed it.
        if streams and not bench.findings.single.streams:
            bench.findings.single.streams = tuple(streams)
            bench.findings.single.flags = (await bench.disturbed(before, "one stream")).flags
            add_single(bench, bench.findings.single.flags)
        raise
    around, foreign_tokens = await check_interference(
        bench, before, reading, streams, during="one stream", when="while one stream was measured"
    )
    own, stood = engine_flags(streams)
    flags = {*around.flags, *foreign_tokens, *own}
    former = bench.findings.single.flags
    if former is None or len(flags) <= len(former):
        bench.findings.single.streams, bench.findings.single.flags = tuple(streams), tuple(sorted(flags))
        bench.findings.single.loss_percent = around.loss_percent
        bench.findings.single.stall_note = stood
        add_single(bench, tuple(sorted(flags)))
    return tuple(sorted(flags))


async def check_interference(
    bench: ProbeSession,
    machine: MachineSample,
    before: CounterReading,
    streams: Sequence[StreamResult],
    *,
    during: str,
    when: str,
) -> tuple[Contention, tuple[str, ...]]:
    """Checks for disturbances during requests that were sent one after the other.

    Returns (contention since the sample ``machine``, flags of influences outside the engine). ``before``: the
    counters before the requests. ``during``, ``when``: texts for the notes.
    """
    bench.findings.answers.count(streams)
    around = await bench.disturbed(machine, during)
    after = await bench.engine.reading()
    flags = foreign(bench, before, after, streams, when)
    if far := time_outside_engine(before, after, streams):
        bench.findings.notes.append(far)
        # A way over a network is part of what is measured there.
        flags = (*flags, *([CLIENT_BOUND] if bench.near else []))
    if more := claims_more(before.counters, after.counters, streams):
        bench.findings.notes.append(more)
        flags = (*flags, "NotSteady")
    return around, flags


def engine_flags(streams: Sequence[StreamResult]) -> tuple[tuple[str, ...], str]:
    """(flags caused by the engine itself, a clause on stalls or on requests of different speed), over all
    requests of the single stream.

    The clause is "" where stalls were rare and the speed the same.
    """
    decode = decode_of(streams)
    many = sum(stream.failed for stream in streams) >= MANY_FAILED
    stood = ""
    if decode is not None and decode.stalled_percent > STALLED_PERCENT:
        stood = (
            f"one stream stalled {counted(decode.stalls, 'time')}, for {decode.stalled_percent:.0f} % of its "
            "time: its decode rate excludes stalls"
        )
    if (apart := times_apart(streams)) > MOST_APART:
        # Under load the slower engine fills up only in time: a window is too short to show its share.
        unlike = f"a request alone took {apart:.1f} times as long per token as another, as of two engines"
        stood = f"{stood}; {unlike}" if stood else unlike
    return (("NotSteady",) if many or stood else ()), stood


async def settled_reading(bench: ProbeSession, *, counted: bool = False) -> CounterReading:
    """The engine's counters after it has ended the streams that the probe closed, at most SETTLE_SECONDS
    later.

    Tokens that an engine counts late would otherwise be taken for other clients'. ``counted``: wait until no
    more tokens are counted.
    """
    until = bench.clock.now() + min(SETTLE_SECONDS, max(0.0, 0.2 * bench.clock.left()))
    former: float | None = None
    while True:
        reading = await bench.engine.reading()
        made = reading.counters.generated_tokens
        still = (made == former or not counted) and not _busy(reading)
        if still or bench.clock.now() >= until:
            return reading
        former = made
        await bench.engine.pause(SETTLE_TURN_SECONDS)


def _busy(reading: CounterReading) -> bool:
    return bool(reading.counters.running or reading.counters.waiting or reading.requests_there)


def foreign(
    bench: ProbeSession,
    before: CounterReading,
    after: CounterReading,
    streams: Sequence[StreamResult],
    when: str,
) -> tuple[str, ...]:
    if _busy(before) and not _busy(after):
        return ()  # closed streams have ended meanwhile; other clients' requests would have stayed
    received = sum(stream.output_tokens for stream in streams)
    # Of one that broke off the engine may have made all that was asked for.
    lost = sum(stream.failed * bench.shape.workload.output_tokens for stream in streams)
    made = foreign_tokens(before, after, received=received + lost)
    there = after.requests_there if made is None and _busy(before) else None
    if there:
        bench.findings.notes.append(f"{when} the engine had {there:.0f} requests of other clients")
        return ("OtherTraffic",)
    if not is_foreign(made, received=received):
        return ()
    bench.findings.notes.append(
        f"{when} the engine generated {made:.0f} tokens for other clients and {received:.0f} for the probe"
    )
    return ("OtherTraffic",)


def add_single(bench: ProbeSession, flags: tuple[str, ...]) -> None:
    result = single_result(
        bench.findings.single.streams,
        bench.slo,
        flags=flags,
        loss_percent=bench.findings.single.loss_percent,
    )
    if result is not None:
        bench.findings.add_level(result)


async def check_first_tokens(bench: ProbeSession) -> None:
    """Compares first tokens with those of answers of one token, where events may hide tokens before them.

    A chat server may hide reasoning from its events and count it in the closing usage. Those tokens would
    make the later ones look faster, at every level.
    """
    findings, clock, single = bench.findings, bench.clock, bench.findings.single
    if not single.streams or not may_hide_first(single.streams):
        return
    alone: list[StreamResult] = []
    stop = FIRST_TOKENS_LEFT * clock.left()
    while len(alone) < FIRST_TOKENS and (not alone or clock.left() > stop):
        try:
            alone.append(await bench.engine.complete(bench.shape.workload.input_tokens, 1, clock.patience()))
        except RequestFailed as error:
            if not error.answered:
                raise
            return
    findings.answers.count(alone)
    single.alone = tuple(alone)
    late, percent = hidden_percent(single.streams, alone)
    if percent <= LEAST_HIDDEN_PERCENT:
        return
    note = (
        f"a first token came {late:.0f} ms later than in an answer of one token, as where reasoning is hidden"
    )
    if percent > MOST_HIDDEN_PERCENT:
        findings.flags.add("NotSteady")
        note += f": one stream's rate may be {percent:.0f} % too high, and times per token as much too short"
    else:
        single.drift_percent = max(single.drift_percent, percent)
        note += f": all intervals are {percent:.2g} % wider"
    findings.notes.append(note)


async def prompt_line(bench: ProbeSession, *, ttft: float) -> None:
    """Sends prompts of several lengths for one output token each, to fit TTFT = a + b x length."""
    isl, clock = bench.shape.workload.input_tokens, bench.clock
    sizes, repetitions = time_plan.input_sizes(
        isl, bench.max_model_len, ttft_seconds=ttft, left_seconds=clock.left()
    )
    stop = clock.left() * 0.7
    single = bench.findings.single
    samples: dict[int, list[StreamResult]] = {isl: list(single.alone or single.streams)}
    refused: set[int] = set()
    for _ in range(repetitions):
        for size in sizes:
            if clock.left() < stop:
                break
            if size in refused:
                continue
            try:
                one = await bench.engine.complete(size, 1, clock.patience())
            except RequestFailed as error:
                if not error.answered:
                    raise
                refused.add(size)
                bench.findings.notes.append(f"prompts of {counted(size, 'token')} were refused: {error}")
                continue
            bench.findings.answers.count([one])
            samples.setdefault(size, []).append(one)
    # What disturbs a first token only ever makes it later, so the early ones show the engine; a line through
    # few lengths would be tilted by one late token.
    for size, streams in samples.items():
        tokens = [float(stream.prompt_tokens or size) for stream in streams]
        times = [time for stream in streams if (time := stream.ttft_milliseconds) is not None]
        if times:
            bench.findings.single.prompts.append(
                PromptTiming(median(tokens), percentile(times, EARLY_PERCENT))
            )
