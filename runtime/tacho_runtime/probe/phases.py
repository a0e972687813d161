"""The phases of a probe, one function each: warm-up, one stream, levels."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from tacho_contract.measurement import Workload
from tacho_runtime.probe import search
from tacho_runtime.probe.asking import prompts, timed_client as client
from tacho_runtime.probe.asking.session import Session
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.asking.timed_client import RequestFailed
from tacho_runtime.probe.asking.wording import Wording
from tacho_runtime.probe.closedloop import run_level
from tacho_runtime.probe.report import Findings
from tacho_runtime.probe.statistics import median, percentile
from tacho_runtime.probe.windows import Level, evaluate

FIRST_INPUT_TOKENS = 32
WARM_OUTPUT_TOKENS = 8
AGREEMENT = 0.10
MOST_WARM_REQUESTS = 4
EARLY_PERCENT = 25
BURSTS = (8, 32, 128)
LAG_TURN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Clock:
    """How much time there is, in two senses. ``now``: the loop's clock, seconds."""

    now: Callable[[], float]
    budget_ends: float
    timeout_ends: float

    def left(self) -> float:
        """Seconds to plan with: nothing new starts when they are over. Negative then."""
        return self.budget_ends - self.now()

    def patience(self) -> float:
        """Seconds a request that has begun may take: a starved engine is slow, not dead."""
        return max(1.0, self.timeout_ends - self.now())


@contextlib.asynccontextmanager
async def watching_lag(lags_milliseconds: list[float]) -> AsyncIterator[None]:
    """Records by how much this process's event loop wakes too late, while the body measures."""
    loop = asyncio.get_running_loop()

    async def watch() -> None:
        while True:
            due = loop.time() + LAG_TURN_SECONDS
            await asyncio.sleep(LAG_TURN_SECONDS)
            lags_milliseconds.append(1000 * (loop.time() - due))

    task = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        task.cancel()


async def first_request(
    session: Session, candidates: Sequence[Wording], findings: Findings, timeout_seconds: float
) -> None:
    """Finds the wording the engine takes; the first answer is the cold one. Raises RequestFailed."""
    refused: list[str] = []
    for wording in candidates:
        session.wording = wording
        room = max(1, min(FIRST_INPUT_TOKENS, session.max_model_len - 2 * WARM_OUTPUT_TOKENS))
        size = room if session.max_model_len else FIRST_INPUT_TOKENS
        try:
            stream = await session.ask(size, WARM_OUTPUT_TOKENS, timeout_seconds)
        except RequestFailed as error:
            if not error.answered:
                raise
            refused.append(f"{wording}: {error}")
            continue
        findings.cold_first_request_milliseconds = stream.ttft_milliseconds
        if not wording.token_ids:
            await _calibrate(session, findings, timeout_seconds)
        return
    raise RequestFailed("the engine took none of the ways to ask: " + " | ".join(refused))


async def _calibrate(session: Session, findings: Findings, timeout_seconds: float) -> None:
    counted: list[tuple[int, int]] = []
    for words in (16, 64, 16, 64):
        session.text_length = prompts.TextLength(overhead=0.0)
        stream = await session.ask(words, 1, timeout_seconds)
        if stream.prompt_tokens is not None:
            counted.append((words, stream.prompt_tokens))
    session.text_length = prompts.calibrate(counted)
    if not session.text_length.calibrated:
        findings.notes.append("the engine does not count prompt tokens: input lengths are words, not tokens")


async def warm_up(session: Session, shape: search.Shape, clock: Clock) -> tuple[search.Shape, float, float]:
    """(shape, seconds to the first token, seconds a token), once two requests agree. Raises RequestFailed.

    The times are the best seen, to plan with: what disturbs a machine that is still starting other things
    should not shorten what is measured. A prompt that takes more than a third of the time there is gets
    quartered.
    """
    stop = clock.left() * 0.85
    times: list[float] = []
    tpots: list[float] = []
    while not times or (len(times) < MOST_WARM_REQUESTS and clock.left() > stop):
        size, timeout_seconds = shape.workload.input_tokens, clock.patience() / 3
        output_tokens = min(WARM_OUTPUT_TOKENS, shape.workload.output_tokens)
        try:
            stream = await session.ask(size, output_tokens, timeout_seconds)
        except RequestFailed as error:
            if error.answered or times or size < 64 or timeout_seconds < 1:
                raise
            shape = _quartered(shape, timeout_seconds)
            continue
        times.append((stream.ttft_milliseconds or 0.0) / 1000)
        tpots.append((stream.tpot_milliseconds or 0.0) / 1000)
        if len(times) > 1 and abs(times[-1] - times[-2]) <= AGREEMENT * times[-1]:
            break
    return shape, min(times), min(tpots)


def _quartered(shape: search.Shape, timeout_seconds: float) -> search.Shape:
    wanted = shape.workload.input_tokens
    note = (
        f"measured with {wanted // 4} input tokens instead of {wanted}: that prompt got no answer within "
        f"{timeout_seconds:.0f} s; raise probe.budgetSeconds"
    )
    workload = Workload(input_tokens=wanted // 4, output_tokens=shape.workload.output_tokens)
    notes = "; ".join(part for part in (shape.note, note) if part)
    return replace(shape, workload=workload, note=notes, time_was_short=True)


async def warm_batches(session: Session, concurrency: int, *, ttft: float, tpot: float, clock: Clock) -> None:
    """Short bursts, so that no batch size is seen for the first time while it is measured.

    Not where even these few tokens are dear: engines that compile for a batch size are fast.
    """
    stop = clock.left() * 0.9
    if ttft + WARM_OUTPUT_TOKENS * tpot > 0.05 * clock.left():
        return
    for size in sorted({*(burst for burst in BURSTS if burst < concurrency), concurrency}):
        if size == 1 or clock.left() < stop:
            continue
        asks = [
            session.ask(FIRST_INPUT_TOKENS // 2, WARM_OUTPUT_TOKENS, clock.patience() / 4)
            for _ in range(size)
        ]
        await asyncio.gather(*asks, return_exceptions=True)


async def one_stream(
    session: Session, shape: search.Shape, findings: Findings, *, ttft: float, tpot: float, clock: Clock
) -> None:
    """Requests one after the other: the single stream's figures and the curve's first point."""
    workload = shape.workload
    request_seconds = ttft + workload.output_tokens * tpot
    count = search.single_stream_requests(request_seconds=request_seconds, left_seconds=clock.left())
    stop = clock.left() * (1 - 1.5 * search.SINGLE_STREAM_SHARE)
    raws: list[client.Stream] = []
    try:
        async with watching_lag(findings.lags_milliseconds):
            while len(raws) < count and (not raws or clock.left() > stop):
                path, body = session.request(workload.input_tokens, workload.output_tokens)
                timeout_seconds = clock.patience()
                raws.append(
                    await client.exchange(
                        session.endpoint, "POST", path, body, timeout_seconds=timeout_seconds
                    )
                )
    finally:
        # After a failure or a cancellation too: what was measured before it stands.
        streams = tuple(stream for raw in raws if (stream := session.read_one(raw)) is not None)
        if streams:
            findings.single = streams
            _add_point(session, findings, concurrency=1, streams=streams, residual=0, window=None)
    if not streams:
        raise RequestFailed("requests one at a time were answered without a token", answered=True)


async def prompt_line(
    session: Session, shape: search.Shape, findings: Findings, *, ttft: float, clock: Clock
) -> None:
    """Prompts of several lengths with one token of output, for TTFT = a + b x length."""
    isl = shape.workload.input_tokens
    sizes, repetitions = search.input_sizes(
        isl, session.max_model_len, ttft_seconds=ttft, left_seconds=clock.left()
    )
    stop = clock.left() * 0.7
    samples: dict[int, list[Stream]] = {isl: list(findings.single)}
    for _ in range(repetitions):
        for size in sizes:
            if clock.left() < stop:
                break
            stream = await session.ask(size, 1, clock.patience())
            samples.setdefault(size, []).append(stream)
    # What disturbs a first token only ever makes it later, so the early ones show the engine; a line through
    # few lengths would be tilted by one late token.
    for size, streams in samples.items():
        tokens = [float(stream.prompt_tokens or size) for stream in streams]
        times = [time for stream in streams if (time := stream.ttft_milliseconds) is not None]
        if times:
            findings.prompt_times.append((median(tokens), percentile(times, EARLY_PERCENT)))


async def one_level(
    session: Session, shape: search.Shape, findings: Findings, *, concurrency: int, seconds: float
) -> bool:
    """One closed-loop level into ``findings``; False when it gave no point."""
    workload = shape.workload
    first = [
        search.first_output_tokens(index, concurrency, workload.output_tokens, session.rng.random())
        for index in range(concurrency)
    ]
    async with watching_lag(findings.lags_milliseconds):
        trace = await run_level(
            session.endpoint,
            lambda output_tokens: session.request(workload.input_tokens, output_tokens),
            output_tokens=workload.output_tokens,
            first_output_tokens=first,
            seconds=seconds,
        )
    if trace.failures:
        findings.notes.append(
            f"{len(trace.failures)} requests failed at {concurrency} streams: {trace.failures[0]}"
        )
    early = await session.read(trace.first)
    streams = (*early, *await session.read(trace.later))
    if trace.broken:
        return False
    # Fewer streams than the level has ran for a while after each failure.
    steady = trace.started and not trace.failures
    return _add_point(
        session, findings, concurrency=concurrency, streams=streams, residual=len(early),
        window=(trace.start_ns, trace.end_ns, steady),
    )  # fmt: skip


def _add_point(
    session: Session,
    findings: Findings,
    *,
    concurrency: int,
    streams: tuple[Stream, ...],
    residual: int,
    window: tuple[int, int, bool] | None,
) -> bool:
    shape = findings.shape
    assert shape is not None
    start_ns, end_ns, started = window or (streams[0].sent_ns, streams[-1].tokens[-1][0], True)
    level = Level(
        concurrency=concurrency,
        start_ns=start_ns,
        end_ns=end_ns,
        output_tokens=shape.workload.output_tokens,
        streams=streams,
        residual=residual,
        started=started,
    )
    result = evaluate(level, session.rng)
    if result is not None:
        findings.results.append(result)
        findings.notes.extend(result.notes)
    return result is not None
