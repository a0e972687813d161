"""Requests one after the other: how fast one stream is, and what a prompt costs."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_contract.units import counted
from tacho_runtime.probe import search
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.asking.timed_client import RequestFailed
from tacho_runtime.probe.client import CLIENT_BOUND, outside
from tacho_runtime.probe.contention import Disturbance
from tacho_runtime.probe.findings import Prompt
from tacho_runtime.probe.gaps import decode_of
from tacho_runtime.probe.levels import single_result
from tacho_runtime.probe.phases.bench import Bench
from tacho_runtime.probe.ports import MachineSample, Reading
from tacho_runtime.probe.statistics import median, percentile
from tacho_runtime.probe.traffic import is_foreign, others

EARLY_PERCENT = 25
SETTLE_SECONDS, SETTLE_TURN_SECONDS = 3.0, 0.2
MUCH_SECONDS = 10.0
"""Left of the budget, and one stream may be measured a second time."""
STALLED_PERCENT = 2.0
"""Of the single stream's time in stalls: more is no accident of one step."""
MANY_FAILED = 2
"""Of the requests of a figure: one may fail by chance and is sent again; more are the engine's way."""


async def one_stream(bench: Bench, *, ttft: float, tpot: float) -> None:
    """Requests one after the other: the single stream's figures and the curve's first point.

    Measured a second time where something disturbed it, and the undisturbed of both is kept.
    """
    workload, clock = bench.shape.workload, bench.clock
    request_seconds = ttft + workload.output_tokens * tpot
    for attempt in (1, 2):
        count = search.single_stream_requests(request_seconds=request_seconds, left_seconds=clock.left())
        began = clock.now()
        flags = await _one_after_the_other(bench, count)
        if not flags or attempt == 2 or clock.left() < max(MUCH_SECONDS, 4 * (clock.now() - began)):
            return
        bench.progress("measuring one stream again: something disturbed it")


async def _one_after_the_other(bench: Bench, count: int) -> tuple[str, ...]:
    """Flags of this attempt; its streams replace those of a former one where that one was disturbed."""
    workload, clock, engine = bench.shape.workload, bench.clock, bench.engine
    stop = clock.left() * (1 - 1.5 * search.SINGLE_STREAM_SHARE)
    streams: list[Stream] = []
    reading = await settled_reading(bench)
    before = engine.machine(calibrate=True)
    try:
        while len(streams) < count and (not streams or clock.left() > stop):
            streams.append(await engine.ask(workload.input_tokens, workload.output_tokens, clock.patience()))
    except BaseException:
        # A failure or a cancellation: what was measured before it stands, with what disturbed it.
        if streams and not bench.findings.single:
            bench.findings.single = tuple(streams)
            bench.findings.single_flags = bench.disturbed(before, "one stream").flags
            add_single(bench, bench.findings.single_flags)
        raise
    around, others = await judged(
        bench, before, reading, streams, during="one stream", when="while one stream was measured"
    )
    own, stood = ways_of(streams)
    flags = {*around.flags, *others, *own}
    former = bench.findings.single_flags
    if former is None or len(flags) <= len(former):
        bench.findings.single, bench.findings.single_flags = tuple(streams), tuple(sorted(flags))
        bench.findings.single_loss_percent = around.loss_percent
        bench.findings.stood = stood
        add_single(bench, tuple(sorted(flags)))
    return tuple(sorted(flags))


async def judged(
    bench: Bench,
    machine: MachineSample,
    before: Reading,
    streams: Sequence[Stream],
    *,
    during: str,
    when: str,
) -> tuple[Disturbance, tuple[str, ...]]:
    """(what the machine did since ``machine``, flags of what else is not the engine's own doing) of requests
    sent one after the other. ``before``: the counters then; ``during``, ``when``: these, in words."""
    bench.findings.note_prompts(streams)
    around = bench.disturbed(machine, during)
    after = await bench.engine.reading()
    flags = foreign(bench, before, after, streams, when)
    if far := outside(before.counters, after.counters, streams):
        bench.findings.notes.append(far)
        # A way over a network is part of what is measured there.
        flags = (*flags, *([CLIENT_BOUND] if bench.near else []))
    return around, flags


def ways_of(streams: Sequence[Stream]) -> tuple[tuple[str, ...], str]:
    """(flags of the engine's own doing, how often one stream stood still in words, "" where that was little):
    of all requests that a figure rests on."""
    decode = decode_of(streams)
    many = sum(stream.failed for stream in streams) >= MANY_FAILED
    stood = ""
    if decode is not None and decode.stalled_percent > STALLED_PERCENT:
        stood = (
            f"one stream stood still {counted(decode.stalls, 'time')}, for {decode.stalled_percent:.0f} % of "
            "its time, and its decode rate is told without these pauses"
        )
    return (("NotSteady",) if many or stood else ()), stood


async def settled_reading(bench: Bench, *, counted: bool = False) -> Reading:
    """As ``settled``; unsettled where that takes too long."""
    reading, _ = await settled(bench, counted=counted)
    return reading


async def settled(
    bench: Bench, *, counted: bool, most_seconds: float = SETTLE_SECONDS
) -> tuple[Reading, bool]:
    """The counters once what was hung up on has ended in the engine, too: some count a request when it is
    let go, others as their front end gets to the tokens that were made already, and would then count ours for
    somebody else's. Whether that came within ``most_seconds``, or SETTLE_SECONDS, and a turn. ``counted``:
    until no token is counted any more, after streams that were hung up on."""
    until = bench.clock.now() + min(most_seconds, SETTLE_SECONDS, max(0.0, 0.2 * bench.clock.left()))
    former: float | None = None
    while True:
        reading = await bench.engine.reading()
        made = reading.counters.generated_tokens
        still = (made == former or not counted) and not _busy(reading)
        if still or bench.clock.now() >= until:
            return reading, still
        former = made
        await bench.engine.pause(SETTLE_TURN_SECONDS)


def _busy(reading: Reading) -> bool:
    return bool(reading.counters.running or reading.counters.waiting)


def foreign(
    bench: Bench, before: Reading, after: Reading, streams: Sequence[Stream], when: str
) -> tuple[str, ...]:
    if _busy(before) and not _busy(after):
        return ()  # what was hung up on has ended meanwhile; somebody else would have stayed
    received = sum(stream.output_tokens for stream in streams)
    # Of one that broke off the engine may have made all that was asked for.
    lost = sum(stream.failed * bench.shape.workload.output_tokens for stream in streams)
    made = others(before, after, received=received + lost)
    if not is_foreign(made, received=received):
        return ()
    bench.findings.notes.append(
        f"{when} the engine made {made:.0f} tokens for somebody else, beside {received:.0f} for the probe"
    )
    return ("OtherTraffic",)


def add_single(bench: Bench, flags: tuple[str, ...]) -> None:
    result = single_result(
        bench.findings.single,
        bench.slo,
        flags=flags,
        loss_percent=bench.findings.single_loss_percent,
    )
    if result is not None:
        bench.findings.keep(result)


async def prompt_line(bench: Bench, *, ttft: float) -> None:
    """Prompts of several lengths with one token of output, for TTFT = a + b x length."""
    isl, clock = bench.shape.workload.input_tokens, bench.clock
    sizes, repetitions = search.input_sizes(
        isl, bench.max_model_len, ttft_seconds=ttft, left_seconds=clock.left()
    )
    stop = clock.left() * 0.7
    samples: dict[int, list[Stream]] = {isl: list(bench.findings.single)}
    refused: set[int] = set()
    for _ in range(repetitions):
        for size in sizes:
            if clock.left() < stop:
                break
            if size in refused:
                continue
            try:
                one = await bench.engine.ask(size, 1, clock.patience())
            except RequestFailed as error:
                if not error.answered:
                    raise
                refused.add(size)
                bench.findings.notes.append(f"prompts of {counted(size, 'token')} were refused: {error}")
                continue
            bench.findings.note_prompts([one])
            samples.setdefault(size, []).append(one)
    # What disturbs a first token only ever makes it later, so the early ones show the engine; a line through
    # few lengths would be tilted by one late token.
    for size, streams in samples.items():
        tokens = [float(stream.prompt_tokens or size) for stream in streams]
        times = [time for stream in streams if (time := stream.ttft_milliseconds) is not None]
        if times:
            bench.findings.prompts.append(Prompt(median(tokens), percentile(times, EARLY_PERCENT)))
