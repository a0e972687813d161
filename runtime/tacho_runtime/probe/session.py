"""The state of one probe: the engine, the time left, and the findings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Quality
from tacho_contract.units import counted
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.contention import Contention, detect_contention
from tacho_runtime.probe.engine_under_test import EngineUnderTest, LoadTrace
from tacho_runtime.probe.latencies import SHORTEST_SHARE
from tacho_runtime.probe.level_search import KNEE_CLOSE, Boundary, TriedLevel
from tacho_runtime.probe.levels import LevelResult, MeasuredLevel
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.probe.load.requests import CHANCE_TOKENS
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.open_loop import OpenLoopResult
from tacho_runtime.probe.pooled_levels import pooled
from tacho_runtime.probe.target import IN_SPEC, Advice
from tacho_runtime.probe.time_plan import RequestShape


class PromptTiming(NamedTuple):
    """The time of a request sent alone with one output token, which shows how long its prompt takes."""

    tokens: float
    milliseconds: float


@dataclass(slots=True)
class SingleStreamFindings:
    """What requests one at a time showed."""

    streams: tuple[StreamResult, ...] = ()
    flags: tuple[str, ...] | None = None
    """Flags of the single stream; None: it was not measured yet."""
    loss_percent: float = 0.0
    """Percent of the single stream's rate that other programs may have taken: too little to make it
    provisional."""
    drift_percent: float = 0.0
    """Difference of one stream's rate between end and beginning of the probe, in percent, or from hidden
    tokens. Set where it is more than chance, but too little to make the rate provisional.
    """
    alone: tuple[StreamResult, ...] = ()
    """Answers of one token to prompts of the same length, where the first events of ``streams`` may hold
    more."""
    stall_note: str = ""
    """A clause on how often one stream stalled; "": rarely."""
    prompts: list[PromptTiming] = field(default_factory=list)
    """Times to the first token by prompt length."""


@dataclass(slots=True)
class AnswerCounts:
    """What all answers of a probe have in common with the requests, and with each other."""

    short: bool = False
    """Whether an answer ended before the requested length."""
    longer: int = 0
    """Number of answers with more tokens than requested."""
    same_tokens: int = 0
    """Number of tokens that all prompts have in common at their beginning; a prefix cache may hold these."""
    requests: int = 0
    """Number of requests whose answers were read."""
    cached_tokens: int = 0
    """Prompt tokens that the engine took from a cache, beyond those that all prompts have in common."""

    def count(self, streams: Sequence[StreamResult]) -> None:
        """Counts prompt tokens that a prefix cache already held, and answers that did not stop at their
        length."""
        self.longer += sum(one.longer for one in streams)
        self.short = self.short or any(one.shorter for one in streams)
        self.requests += len(streams)
        self.cached_tokens += sum(max(0, one.cached_tokens - self.known_tokens) for one in streams)

    @property
    def known_tokens(self) -> int:
        """Tokens at the beginning of every prompt, which a prefix cache may hold although no prompt is
        repeated."""
        return self.same_tokens + CHANCE_TOKENS


CONTRADICTING = 0.1
"""Share by which two levels may differ from what one engine can have; more where their intervals are wider.
"""


def gains_too_much(low: MeasuredLevel, high: MeasuredLevel) -> bool:
    """Whether ``high``, with more streams, has more throughput than in proportion."""
    gain = high.output_tokens_per_second / low.output_tokens_per_second
    uncertain = max(CONTRADICTING, math.hypot(low.ci_percent or 0.0, high.ci_percent or 0.0) / 100)
    return gain > (1 + uncertain) * high.concurrency / low.concurrency


@dataclass(slots=True)
class ProbeFindings:
    shape: RequestShape | None = None
    cold_first_request_milliseconds: float | None = None
    single: SingleStreamFindings = field(default_factory=SingleStreamFindings)
    results: dict[int, LevelResult] = field(default_factory=dict)
    """Results by number of concurrent streams. A level without enough data has no rate, but still shows that
    the service level was broken."""
    opened: OpenLoopResult | None = None
    """The result of the open loop."""
    boundary: Boundary = ""
    search_ended: str = ""
    """Why the search for the capacity ended, in words; "": it was cut by time."""
    knee: int = 0
    """Streams of the knee at which the search ended, if no time was left after its longer window. 0: it
    follows from the results.
    """
    levels_missing: bool = False
    notes: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    """Flags of the whole probe; those of levels are in ``results``."""
    failure: str = ""
    out_of_time: bool = False
    before: EngineCounters = field(default_factory=EngineCounters)
    after: EngineCounters = field(default_factory=EngineCounters)
    highest_kv_usage: float | None = None
    causes: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """Disturbances by the machine: a description and the phases of the probe, by kind."""
    answers: AnswerCounts = field(default_factory=AnswerCounts)
    quality: Quality | None = None

    def disturbed(self, cause: str, during: str) -> None:
        """Adds a cause of disturbance and the phase; each cause is noted once, with all phases that it
        disturbed."""
        kind = re.sub(r"[\d.]+", "#", cause)
        _, phases = self.causes.setdefault(kind, (cause, []))
        if during not in phases:
            phases.append(during)

    def disturbances(self) -> tuple[str, ...]:
        return tuple(f"{cause} (during {', '.join(phases)})" for cause, phases in self.causes.values())

    def add_level(self, result: LevelResult) -> None:
        """Keeps the result of a level; a disturbed one does not replace an undisturbed one."""
        former = self.results.get(result.point.concurrency)
        if former is None or result.clean or not former.clean:
            self.results[result.point.concurrency] = result

    def queue_seconds(self, concurrency: int) -> float:
        """How much longer a request of so many streams waits for its first token than one alone."""
        one, level = self.results.get(1), self.results.get(concurrency)
        if one is None or level is None:
            return 0.0
        ttft = level.point.ttft_milliseconds_p50 or 0.0
        return max(0.0, ttft - (one.point.ttft_milliseconds_p50 or 0.0)) / 1000

    @property
    def rated(self) -> dict[int, LevelResult]:
        """Levels that have a rate, by number of streams."""
        return {level: result for level, result in self.results.items() if result.has_rate}

    def tried(self) -> tuple[TriedLevel, ...]:
        """The levels that the search may use.

        Unsteady levels in which requests wait too long are included: more time would only make them worse.
        """
        levels = tuple(
            TriedLevel(
                concurrency=level,
                output_tokens_per_second=result.point.output_tokens_per_second
                if result.has_rate
                else math.nan,
                ttft_ratio=result.point.ttft_slo_ratio,
                tpot_ratio=result.point.tpot_slo_ratio,
                tpot_error=result.tpot_error,
                rate_error=(result.point.ci_percent or 0.0) / 100,
                waiting_share=self._waiting_share(result),
            )
            for level, result in sorted(self.results.items())
            if level == 1 or result.point.steady or (result.point.ttft_slo_ratio or 0.0) > 1
        )
        return pooled(levels)

    def instead_of(self, streams: int, failing: Collection[int]) -> tuple[int, str]:
        """(the level to measure where the search asks for ``streams``, why there is none, or ""), as that one
        decided nothing, or its requests failed.

        ``failing``: levels without a result. Where requests fail, those of more streams do, too: an engine
        may refuse what is beyond its queue. It is an untried level halfway down to the highest that is known.
        """
        lowest = min(failing, default=None)
        beyond = lowest is not None and streams >= lowest
        if not beyond and streams not in self.results:
            return streams, ""
        decided = [one.concurrency for one in self.tried() if one.rated or one.slo_ratio is not None]
        streams = lowest if lowest is not None and beyond else streams
        known = max((one for one in decided if one < streams), default=1)
        undecided = min(one for one in (*self.results, *failing) if one > known)
        while (streams in self.results or streams in failing) and streams > known:
            streams = (known + streams) // 2
        if streams != known and undecided > KNEE_CLOSE * known:  # else a level below would tell no more
            return streams, ""
        why = "{} could not be measured" if undecided in failing else "{} had no steady rate"
        return 0, why.format(counted(undecided, "stream"))

    def _waiting_share(self, result: LevelResult) -> float:
        one, point = self.results.get(1), result.point
        if one is None or not (result.has_rate and point.requests_per_second):
            return 0.0
        waited = point.ttft_milliseconds_p50 - one.point.ttft_milliseconds_p50
        return max(0.0, waited / 1000 * point.requests_per_second / point.concurrency)

    def add_trace(self, trace: LoadTrace) -> None:
        """Keeps the flags and notes that follow from a loop's streams and counters."""
        ends = (one.finish_reason for one in trace.streams)
        self.answers.short = self.answers.short or any(end not in ("", "length") for end in ends)
        self.answers.count(trace.streams)
        usages = [
            one.counters.kv_cache_usage for one in trace.readings if one.counters.kv_cache_usage is not None
        ]
        if usages:
            self.highest_kv_usage = max(
                usages if self.highest_kv_usage is None else (self.highest_kv_usage, *usages)
            )


SPREAD = 1 - SHORTEST_SHARE
"""Spread of output lengths to either side as a share, with several streams. Equal ones would run in step."""


@dataclass(frozen=True, slots=True)
class ProbeClock:
    """The probe's two time limits: a budget to plan with, and a timeout. ``now``: monotonic seconds."""

    now: Callable[[], float]
    budget_ends: float
    timeout_ends: float

    def left(self) -> float:
        """Seconds left of the budget; negative after its end. No phase starts without time left."""
        return self.budget_ends - self.now()

    def patience(self) -> float:
        """Seconds until the probe's timeout, at least one: a running request that takes longer counts as
        failed. The budget does not limit it, as an engine without CPU time is slow."""
        return max(1.0, self.timeout_ends - self.now())


@dataclass(slots=True)
class ProbeSession:
    """One probe of one engine: the engine, its settings, the clock, and the findings."""

    engine: EngineUnderTest
    slo: ServiceLevel
    clock: ProbeClock
    findings: ProbeFindings
    max_model_len: int
    progress: Callable[[str], None]
    shape: RequestShape
    quiet: MachineSample
    """Sample of the machine before the first request."""
    advice: Advice = IN_SPEC
    near: bool = True
    """Whether the engine is on this machine, without a network in between."""

    async def disturbed(self, before: MachineSample, what: str) -> Contention:
        """Contention since the sample ``before``; its notes are added to the findings."""
        found = detect_contention(before, await self.engine.machine(calibrate=True), self.quiet)
        for note in found.notes:
            self.findings.disturbed(note, what)
        return found
