"""Runs a whole probe: its phases in order, from the first request to the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from random import Random

from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Measurement, Quality
from tacho_runtime.probe import level_search, time_plan
from tacho_runtime.probe.capacity import capacity_of
from tacho_runtime.probe.engine_under_test import EngineUnderTest
from tacho_runtime.probe.load.first_answer import KNOWN_API, NeverAnswered, is_own_fault, may_be_busy
from tacho_runtime.probe.load.socket_engine import MachineSampler, SocketEngine, timestamp_only
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.timed_client import AddressError, RequestFailed
from tacho_runtime.probe.phases import (
    arrivals,
    concurrency_levels,
    single_stream,
    stability,
)
from tacho_runtime.probe.quality import BUDGET_SECONDS, score_text
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.session import SPREAD, ProbeClock, ProbeFindings, ProbeSession
from tacho_runtime.probe.target import IN_SPEC, Advice, ProbeScope, ProbeTarget

CLOSING_SHARE = 0.03
"""Share of the budget for reading the last streams and the engine's counters."""
CHECK_SECONDS = 10.0
QUALITY_SHARE = 0.1
AGAIN_SECONDS = 2.0
"""Pause in seconds before an engine that must answer is asked again."""
ANSWER_SHARE, MUST_ANSWER_SHARE = 0.5, 0.8
"""Shares of the probe's time for the first answer. Without one from an engine that must answer there is
nothing to measure: it may load its model or compile at the first request.
"""
COUNTERS_SECONDS, COUNTERS_SHARE = 2.0, 0.1
"""Most seconds, and share of the probe's time, to read whom an engine serves at its start."""
EVERYTHING = ProbeScope()

Score = Callable[[float], Awaitable[Quality]]
"""Function from the seconds it may take to how well the model predicts the fixed text."""


def utc_now() -> datetime:
    """The wall clock; it is only used to date the result."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """The settings of a measurement of an engine that already answers."""

    live: LiveConfig
    max_model_len: int
    """Maximum context length of the model, in tokens; 0: not known."""
    streams: int
    """Number of concurrent streams that the plan counts with."""
    slots: int = 0
    """Most requests that the engine processes at the same time; 0: unknown."""
    level: int = 0
    """Level for a check, which measures one stream and this level in CHECK_SECONDS. 0: a full measurement."""
    given: tuple[int, ...] = ()
    """Numbers of streams to measure instead of searching."""
    score: Score | None = None
    advice: Advice = IN_SPEC
    near: bool = True
    """Whether the engine is on this machine."""


async def measure(
    engine: EngineUnderTest,
    question: MeasureOptions,
    findings: ProbeFindings,
    clock: ProbeClock,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Runs all phases after the engine's first answer, and adds their results to ``findings``. Raises
    RequestFailed."""
    quiet = await engine.machine(calibrate=True)
    if question.score is not None and not question.level and clock.left() > CHECK_SECONDS:
        # Before the counters are read: the text is the same at each probe, and a prefix cache may know it.
        progress("scoring the reference text")
        findings.quality = await question.score(QUALITY_SHARE * clock.left())
    findings.before = (await engine.reading()).counters
    shape = time_plan.fitting_shape(question.live.workload, question.max_model_len, question.advice)
    bench = ProbeSession(
        engine=engine,
        slo=question.live.slo,
        clock=clock,
        findings=findings,
        max_model_len=question.max_model_len,
        progress=progress,
        shape=shape,
        quiet=quiet,
        advice=question.advice,
        near=question.near,
    )
    progress("warming up")
    ttft, tpot = await single_stream.warm_up(bench)
    bench.shape = findings.shape = time_plan.affordable_shape(
        bench.shape,
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        left_seconds=clock.left(),
        advice=question.advice,
    )
    top, why = level_search.top_level(
        desired=question.streams, slots=question.slots, has_slo=question.live.slo.has_target
    )
    top = question.level or top
    progress("measuring one stream")
    await single_stream.one_stream(bench, ttft=ttft, tpot=tpot)
    await single_stream.check_first_tokens(bench)
    if question.level:
        await concurrency_levels.measure_only(bench, [question.level])
    elif question.given:
        await single_stream.prompt_line(bench, ttft=ttft)  # simulating and pricing other lengths need them
        await concurrency_levels.measure_only(bench, question.given, whole_budget=True)
        findings.search_ended = "no search: the levels were given"
    else:
        await _everything(bench, top, why, ttft, full=bool(question.slots))
    findings.after = (await engine.reading()).counters


async def _everything(bench: ProbeSession, top: int, why: str, ttft: float, *, full: bool) -> None:
    findings = bench.findings
    await single_stream.prompt_line(bench, ttft=ttft)
    await concurrency_levels.measure_levels(bench, top, full=full)
    ended = findings.boundary in ("Floor", "Plateau") and not findings.levels_missing
    if ended and max(findings.results, default=1) == top:
        findings.search_ended += f" ({why})"
    capacity = capacity_of(findings, bench.shape.workload, bench.slo)
    if capacity is not None and capacity.boundary != "NeverMet":
        await arrivals.arrivals(bench, capacity)
    await stability.final_check(bench)


async def run_probe(
    target: ProbeTarget,
    live: LiveConfig,
    *,
    plan_key: str,
    scope: ProbeScope = EVERYTHING,
    rng: Random | None = None,
    progress: Callable[[str], None] = lambda _: None,
    machine: MachineSampler = timestamp_only,
) -> Measurement:
    """Measures ``target`` within ``live.probe.budget_seconds``, or checks it within CHECK_SECONDS.

    It ends within ``timeout_seconds``. It raises CancelledError, after which no request is running. Where the
    target must answer, it asks once more at the end, for as long again at most, and raises NeverAnswered. Any
    other error is in the measurement's ``message``, with the ``state`` Partial (something was measured) or
    Failed (nothing was). ``progress`` is called with a few words at each phase.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    findings, clock = ProbeFindings(), _clock(live, check=scope.baseline is not None)
    prompts = rng or Random()  # noqa: S311 - prompts need to differ, not to be secret

    opened: list[SocketEngine] = []

    async def whole() -> None:
        engine = await SocketEngine.open(target, prompts, machine=machine, cpus=target.cpus)
        opened.append(engine)
        try:
            await _measure_target(engine, target, live, scope, findings, clock, progress)
        finally:
            findings.notes.extend(engine.notes)
            await engine.close()

    try:
        await asyncio.wait_for(whole(), timeout=live.probe.timeout_seconds)
    except asyncio.TimeoutError:
        await _judge_cut(opened, target, live)
        findings.out_of_time = True
        longer = f"{target.advice.longer} if the engine is that slow, else see its log"
        findings.failure = f"the probe was stopped after {live.probe.timeout_seconds} s ({longer})"
    except RequestFailed as error:
        findings.failure = f"{error} (see the engine's log, then measure again)"
        findings.out_of_time = findings.out_of_time or clock.left() <= 0
    except AddressError as error:
        findings.failure = f"{error} (set the probe's target to an http:// address)"
    found = assemble(
        findings,
        live,
        plan_key=plan_key,
        ended=utc_now(),
        probe_seconds=loop.time() - began,
        kind="Full" if scope.baseline is None else "Check",
        spread=SPREAD,
    )
    for engine in opened:
        await _last_answer(engine, target, live, progress)
    return found


async def check_answers(target: ProbeTarget, live: LiveConfig, progress: Callable[[str], None]) -> None:
    """Asks an engine that answered before its start, and is not measured, for one answer. Raises
    NeverAnswered, within the probe's time.
    """
    opened: list[SocketEngine] = []
    before = replace(target, engine=KNOWN_API)
    # A custom engine, which has no dialect of its own, listed its models before.
    listed = before if target.engine == "custom" else target

    async def first() -> None:
        engine = await SocketEngine.open(listed, Random())  # noqa: S311 - as in a probe
        opened.append(engine)
        try:
            await _answer(engine, engine.first_request, before, _clock(live, check=False), progress)
        finally:
            await engine.close()

    try:
        await asyncio.wait_for(first(), live.probe.timeout_seconds)
    except asyncio.TimeoutError:
        await _judge_cut(opened, before, live)
    except (RequestFailed, AddressError):  # no fault of its own
        pass


def _is_at_fault(engine: SocketEngine, target: ProbeTarget, error: RequestFailed) -> bool:
    """Whether ``error`` is the fault of an engine that must answer, and of which no token came yet."""
    return target.must_answer and not engine.answered and is_own_fault(error, target.engine)


async def _judge(
    engine: SocketEngine, target: ProbeTarget, error: RequestFailed, seconds: float
) -> RequestFailed:
    """``error``, of an engine that may serve. Raises NeverAnswered for one that was asked for ``seconds`` and
    is at fault itself.
    """
    if not _is_at_fault(engine, target, error):
        return error
    if may_be_busy(error) and await engine.serves_others(COUNTERS_SECONDS):
        return error.with_message(f"{error}, while the engine served other clients")
    raise NeverAnswered.after(error, seconds, api_is_known=target.engine == KNOWN_API)


async def _judge_cut(opened: Sequence[SocketEngine], target: ProbeTarget, live: LiveConfig) -> None:
    """Judges an engine at the end of the probe's time, by the last request that failed, if any did."""
    silence, seconds = RequestFailed("no full answer in time"), live.probe.timeout_seconds
    for engine in opened:
        await _judge(engine, target, engine.failed or silence, seconds)
    if target.must_answer and not opened:  # it did not list its models either
        raise NeverAnswered.after(silence, seconds)


def _clock(live: LiveConfig, *, check: bool) -> ProbeClock:
    budget_seconds = float(min(live.probe.budget_seconds, live.probe.timeout_seconds))
    if check:
        budget_seconds = min(budget_seconds, CHECK_SECONDS)
    return ProbeClock(
        now=time.monotonic,
        budget_ends=time.monotonic() + budget_seconds * (1 - CLOSING_SHARE),
        timeout_ends=time.monotonic() + live.probe.timeout_seconds,
    )


async def _measure_target(
    engine: SocketEngine,
    target: ProbeTarget,
    live: LiveConfig,
    scope: ProbeScope,
    findings: ProbeFindings,
    clock: ProbeClock,
    progress: Callable[[str], None],
) -> None:
    progress("detecting the engine's API")
    first = await _first_answer(engine, target, clock, progress)
    findings.answers.same_tokens = engine.same_tokens
    findings.flags.update(["OtherInput"] if engine.counts_oddly else [])

    async def score(seconds: float) -> Quality:
        budget = min(seconds, BUDGET_SECONDS)
        return await score_text(engine.post, target.served_name, budget_seconds=budget)

    findings.cold_first_request_milliseconds = first.ttft_milliseconds
    question = MeasureOptions(
        live=live,
        max_model_len=engine.max_model_len,
        streams=max(1, target.concurrency),
        slots=target.slots,
        level=scope.baseline.concurrency if scope.baseline else 0,
        given=scope.levels,
        score=score if target.scores else None,
        advice=target.advice,
        near=engine.near,
    )
    await measure(engine, question, findings, clock, progress)


async def _first_answer(
    engine: SocketEngine, target: ProbeTarget, clock: ProbeClock, progress: Callable[[str], None]
) -> StreamResult:
    """The engine's first answer. Raises RequestFailed without one, and NeverAnswered."""
    first = await _answer(engine, engine.first_request, target, clock, progress)
    if engine.unlisted is not None:
        raise engine.unlisted
    return first


async def _last_answer(
    engine: SocketEngine, target: ProbeTarget, live: LiveConfig, progress: Callable[[str], None]
) -> None:
    """Raises NeverAnswered where an engine that must answer did before it was measured, and does no longer.

    Load may break an engine that stays healthy, also in a measurement that looks whole.
    """
    if not (target.must_answer and engine.answered):
        return
    progress("seeing whether the engine still answers")
    engine.answered = False
    target = replace(target, engine=KNOWN_API)
    answer = _answer(engine, engine.further_request, target, _clock(live, check=False), progress)
    try:
        await asyncio.wait_for(answer, live.probe.timeout_seconds)
    except asyncio.TimeoutError:  # a request that fails late is sent again
        await _judge_cut([engine], target, live)
    except RequestFailed:  # no fault of its own, or some of its tokens came
        pass


async def _answer(
    engine: SocketEngine,
    send: Callable[[float], Awaitable[StreamResult]],
    target: ProbeTarget,
    clock: ProbeClock,
    progress: Callable[[str], None],
) -> StreamResult:
    """What ``send`` returns; its argument is the most seconds to wait. Raises RequestFailed without one.

    One that must answer is asked again until MUST_ANSWER_SHARE of the probe's time has passed, as it may
    report healthy before it serves; then it raises NeverAnswered where it is at fault itself.
    """
    began, share = clock.now(), MUST_ANSWER_SHARE if target.must_answer else ANSWER_SHARE
    ends = began + share * clock.patience()
    counters_seconds = min(COUNTERS_SECONDS, COUNTERS_SHARE * clock.patience())
    if target.must_answer:
        await engine.count_from_here(counters_seconds)
    while True:
        try:
            return await send(share * clock.patience())
        except RequestFailed as error:
            seconds = clock.now() - began
            if clock.now() + AGAIN_SECONDS > ends or not _is_at_fault(engine, target, error):
                raise await _judge(engine, target, error, seconds) from None
            progress(f"no request was answered yet: {NeverAnswered.after(error, seconds)}")
        await engine.pause(AGAIN_SECONDS)
        await engine.renew()
