"""Measures levels of several streams until the capacity is known: the edge with an SLO, else the knee."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tacho_contract.measurement import NOT_STEADY, samples_for
from tacho_contract.units import counted
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe import level_search, time_plan
from tacho_runtime.probe.capacity import capacity_level
from tacho_runtime.probe.contention import detect_contention
from tacho_runtime.probe.cross_checks import CLIENT_BOUND, FRONTEND_BOUND, client_lateness
from tacho_runtime.probe.early_end import plain_verdict
from tacho_runtime.probe.engine_under_test import Cohort, LevelTerms, LoadTrace, SteadyLoop
from tacho_runtime.probe.level_search import SearchLimits
from tacho_runtime.probe.levels import LevelResult, evaluate
from tacho_runtime.probe.phases import arrivals
from tacho_runtime.probe.phases.single_stream import settled_reading
from tacho_runtime.probe.session import SPREAD, ProbeSession

PROMPTS_AT_ONCE = 4
"""Number of prompts sent together, to measure the time of one prompt among several."""
DRAIN_SHARE = 0.1
"""Share of the time left that surplus streams may take to end."""
AGAIN_TIMES = 3.0
"""Multiple of a level's duration that must be left for a second measurement of the level."""

MANY_REQUESTS = 10
"""With so many requests in its window, a level whose rate is unknown is not measured for longer: the cause is
not that the requests are few."""
ENDED_BEFORE = ", by their first windows"
"""Clause on a search without an SLO that had ended before a longer window changed a rate."""


@dataclass(slots=True)
class _Levels:
    """The levels of one request loop, whose connections stay open between levels."""

    bench: ProbeSession
    loop: SteadyLoop
    prompt_seconds: float = 0.0
    running: int = 0
    """Number of streams of the loop now."""
    refined: dict[int, int] = field(default_factory=dict)
    """Number of levels known by then, for each level that was measured for longer."""
    failing: set[int] = field(default_factory=set)
    """Levels that have no result, as their requests fail."""

    async def time_prompts(self) -> None:
        """Measures the seconds of one prompt: each of several prompts sent at once delays the last one's
        first token by that much."""
        one = self.bench.findings.results.get(1)
        alone = one.point.ttft_milliseconds_p50 / 1000 if one else 0.0
        terms = LevelTerms(
            streams=PROMPTS_AT_ONCE, gap_seconds=0.0, ramp_seconds=max(1.0, 0.2 * self.bench.clock.left()),
            cohort=1, window_seconds=0.0, follow_seconds=0.0,
        )  # fmt: skip
        trace = await self.loop.level(terms, lambda _: True)
        self.running = PROMPTS_AT_ONCE
        ttfts = [ttft / 1000 for stream in trace.streams if (ttft := stream.ttft_milliseconds) is not None]
        if len(ttfts) < PROMPTS_AT_ONCE:
            self.prompt_seconds = alone  # they did not come in time: one is not faster than alone
            return
        # No prompt of several takes longer than one alone: what does is a halt, as to compile.
        self.prompt_seconds = min(alone, max(0.0, max(ttfts) - alone) / (PROMPTS_AT_ONCE - 1))

    async def measure(self, streams: int, *, share: float = 0.0) -> bool:
        """Measures a level and adds it to the findings. Returns False where no time was left.

        A disturbed level is measured again. A level that is not steady, or too close to the SLO for a
        verdict, gets its full length if time allows. ``share``: of the time left, for each try of this level.
        """
        bench = self.bench
        await self._drop_if_slow(streams)
        whole = False
        for attempt in (1, 2):
            terms = self._terms(streams)
            if terms is None:
                return attempt == 2
            began = bench.clock.now()
            bench.progress(f"measuring {streams} streams" + (" again" if attempt == 2 else ""))
            ends = began + share * bench.clock.left() if share else None
            result = await self._measure_level(terms, whole=whole, ends=ends)
            if result is not None:
                bench.findings.add_level(result)
                near = result.near_limit and not share
                if result.clean and not near:
                    return True
                whole = near or not result.point.steady
            if bench.clock.left() < AGAIN_TIMES * (bench.clock.now() - began):
                break
        if streams not in bench.findings.results:
            self.failing.add(streams)
        return True

    async def refine(self) -> bool:
        """Measures the level of the capacity for longer, if its rate is uncertain. Returns whether it did."""
        bench, findings = self.bench, self.bench.findings
        level, _ = capacity_level(findings, bench.slo)
        if level is None or level.point.concurrency in {1, *self.refined}:
            return False
        point = level.point
        terms = self._terms(point.concurrency)
        if terms is None:
            return False
        window = time_plan.longer_window(
            window_seconds=point.window_seconds,
            interval_percent=point.ci_percent,
            spare_seconds=self._spare_seconds(level, terms),
        )
        if window is None:
            return False
        bench.progress(f"measuring {point.concurrency} streams for longer: their rate is not known well")
        self.refined[point.concurrency] = len(findings.results)
        await self._drop_if_slow(point.concurrency)
        flags, notes = set(findings.flags), len(findings.notes)
        terms = replace(terms, window_seconds=window, least_seconds=window)
        result = await self._measure_level(terms, until_seconds=window)
        if result is not None and result.clean:
            findings.add_level(result)
        else:  # what disturbed it says nothing of what stays
            findings.flags = flags
            del findings.notes[notes:]
        return True

    def _spare_seconds(self, level: LevelResult, terms: LevelTerms) -> float:
        """Seconds for a longer window of the capacity's ``level``, which its ramp and the open loop leave.

        With an SLO its requests are followed to their end, and the search may request one more level.
        """
        spare = self.bench.clock.left() - self._kept_seconds(level) - terms.ramp_seconds
        if not self.bench.slo.has_target:
            return spare
        next_level = terms.ramp_seconds + time_plan.WINDOW_SECONDS + terms.follow_seconds
        return spare - terms.follow_seconds - next_level

    def _kept_seconds(self, level: LevelResult) -> float:
        """Seconds that the open loop and the final check take, where ``level`` is that of the capacity.

        Without an SLO, an open loop that would not end in time is not run, and takes none.
        """
        bench, point = self.bench, level.point
        kept = arrivals.needed_seconds(bench, point.concurrency, point.requests_per_second)
        if bench.slo.has_target or kept <= bench.clock.left():
            return kept
        return arrivals.closing_seconds(bench)

    def has_time(self, streams: int) -> bool:
        """Whether the time left suffices for a level of ``streams`` streams besides the open loop."""
        terms, (level, _) = self._terms(streams), capacity_level(self.bench.findings, self.bench.slo)
        if terms is None or level is None:
            return False
        needed = self._kept_seconds(level) + terms.ramp_seconds + time_plan.WINDOW_SECONDS
        return self.bench.clock.left() >= needed

    def _terms(self, streams: int) -> LevelTerms | None:
        former = time_plan.FormerLevel(
            streams=self.running,
            request_seconds=self._request_seconds(self.running) if self.running else 0.0,
            queue_seconds=self.bench.findings.queue_seconds(self.running),
        )
        return time_plan.level_terms(
            streams=streams,
            former=former,
            prompt_seconds=self.prompt_seconds,
            request_seconds=self._request_seconds(streams),
            cohort=samples_for(self.bench.slo.percentile),
            left_seconds=self.bench.clock.left(),
        )

    def affordable(self, streams: int) -> int:
        """The highest number of streams up to ``streams`` for which there is time to add them."""
        spare = time_plan.RAMP_SHARE * max(0.0, self.bench.clock.left())
        return min(streams, self.running + math.floor(spare / max(self.prompt_seconds, 1e-4)))

    async def _drop_if_slow(self, streams: int) -> None:
        """Replaces the loop by a new one, if its surplus streams would take too long to end."""
        bench = self.bench
        if streams >= self.running or self._request_seconds(self.running) < DRAIN_SHARE * bench.clock.left():
            return
        await self.loop.close()
        await settled_reading(bench, counted=True)
        self.loop, self.running = await bench.engine.steady_loop(bench.shape.workload, spread=SPREAD), 0

    def _request_seconds(self, streams: int) -> float:
        tried = self.bench.findings.tried()
        return self.bench.shape.workload.output_tokens * level_search.predicted_cycle(tried, streams)

    async def _measure_level(
        self,
        terms: LevelTerms,
        *,
        whole: bool = False,
        until_seconds: float = 0.0,
        ends: float | None = None,
    ) -> LevelResult | None:
        """The result of a level; None: it has no result.

        ``whole``: the window ends only when the whole cohort has ended. ``until_seconds``: and not before
        this time. ``ends``: when the window closes, by the clock, where the level has time left.
        """
        bench, workload = self.bench, self.bench.shape.workload
        limited = bench.slo.has_target
        if whole:
            terms = replace(terms, least_seconds=terms.window_seconds)
        # Where a service level decides, a plain verdict ends the window as soon as a rate is known at all.
        least = terms.least_seconds if limited else time_plan.WINDOW_SECONDS

        def enough(cohort: Cohort) -> bool:
            if until_seconds:
                return not limited and cohort.seconds >= until_seconds
            if not limited:
                return cohort.seconds >= (2 if whole else 1) * least
            if whole or cohort.seconds < least:
                return False
            return plain_verdict(cohort, bench.slo, workload.output_tokens) is not None

        before = await bench.engine.machine(calibrate=True)
        trace = await self.loop.level(terms, enough)
        while more := await self._longer(terms, trace, before) if ends is None else None:
            longer = replace(terms, opened_ns=trace.start_ns, window_seconds=more)
            trace = await self.loop.level(longer, _ends_after(more))
        # How long the ramp takes is known only now: what it left of the level's share is for the window.
        spare = ends - bench.clock.now() if ends is not None and not trace.broken else 0.0
        if spare > 1.0:
            more = (trace.end_ns - trace.start_ns) / 1e9 + spare
            # What is sent at last ends within the share, too: a budget is no longer than it says.
            sending = more - (min(terms.follow_seconds, spare) if limited else 0.0)
            longer = replace(terms, opened_ns=trace.start_ns, window_seconds=sending, least_seconds=more)
            trace = await self.loop.level(longer, _ends_after(math.inf if limited else more))
        self.running = terms.streams
        return await self._judged(trace, before)

    async def _judged(self, trace: LoadTrace, before: MachineSample) -> LevelResult | None:
        """The result of a level, with what disturbed it; None: it has none. ``before``: the machine when the
        level began.
        """
        bench, findings, streams = self.bench, self.bench.findings, self.running
        findings.add_trace(trace)
        if trace.failures:
            failed = counted(len(trace.failures), "request")
            findings.notes.append(f"{failed} failed at {streams} streams: {trace.failures[0]}")
        result = None if trace.broken else evaluate(trace, bench.shape.workload, bench.slo, near=bench.near)
        around = await bench.disturbed(before, f"{streams} streams")
        if result is None:
            findings.flags.update(around.flags)
            findings.notes.append(f"{streams} streams could not be measured")
            return None
        findings.notes.extend(result.notes)
        # A halt to compile a kernel takes from a level. One that holds despite it needs no second run.
        halted = {NOT_STEADY} if _is_certain(result, limited=bench.slo.has_target) else set()
        flags = {*result.point.flags, *(set(around.flags) - halted)}
        # A level above the capacity is what it limits.
        findings.flags.update(flags & {FRONTEND_BOUND})
        if slow := client_lateness(trace.client, result.point.tpot_milliseconds_p50):
            flags.add(CLIENT_BOUND)
            findings.notes.append(f"at {streams} streams {slow}")
        interval = result.point.ci_percent
        wider = None if interval is None else interval + around.loss_percent
        return replace(result, point=replace(result.point, flags=tuple(sorted(flags)), ci_percent=wider))

    async def _longer(self, terms: LevelTerms, trace: LoadTrace, before: MachineSample) -> float | None:
        """Seconds after which a continued window should close; None: it need not be continued.

        That is so where the rate is known, more time would not help, or little time is left. A window of few
        requests or without a prompt may have no known rate. ``before``: the machine when the window opened.
        """
        bench = self.bench
        if bench.slo.has_target:
            return None  # its cohort already makes a window as long as its requests take
        result = evaluate(trace, bench.shape.workload, bench.slo, near=bench.near)
        if result is None or not trace.started or trace.broken:
            return None
        known = result.has_rate and result.unseen_percent <= time_plan.DESIRED_PERCENT
        if known or result.point.requests >= MANY_REQUESTS:
            return None
        if detect_contention(before, await bench.engine.machine(calibrate=True), bench.quiet).flags:
            return None
        seconds = len(trace.bins) * trace.bin_nanoseconds / 1e9
        window = time_plan.LONGER * seconds
        if window > time_plan.LONGEST_WINDOW_SECONDS or bench.clock.left() < AGAIN_TIMES * (window - seconds):
            return None
        bench.progress(f"measuring {terms.streams} streams for longer: their rate is not known")
        return window


def _ends_after(seconds: float) -> Callable[[Cohort], bool]:
    """A function that ends a window after ``seconds``."""
    return lambda cohort: cohort.seconds >= seconds


def _is_certain(result: LevelResult, *, limited: bool) -> bool:
    """Whether a level keeps the SLO, or without one its rate is known well."""
    if limited:
        return not result.broken
    percent = result.point.ci_percent
    return percent is not None and percent <= time_plan.DESIRED_PERCENT


async def measure_levels(bench: ProbeSession, top: int, *, full: bool) -> None:
    """Measures levels above one stream until the capacity is known, or the time is over.

    ``full``: the engine runs at most ``top`` requests at a time.
    """
    findings = bench.findings
    levels = _Levels(bench, await bench.engine.steady_loop(bench.shape.workload, spread=SPREAD))
    try:
        if top >= PROMPTS_AT_ONCE:
            await levels.time_prompts()
        limits = SearchLimits(
            top=top,
            full=full,
            prompt_seconds=levels.prompt_seconds,
            output_tokens=bench.shape.workload.output_tokens,
            ttft_seconds=bench.slo.ttft_milliseconds / 1000,
        )
        further = time_plan.MAX_LEVELS + 1 - len(findings.results)
        ended = False
        while True:
            step = level_search.next_level(findings.tried(), limits)
            findings.boundary = findings.boundary if ended and step.concurrency else step.boundary
            if step.concurrency is None:
                findings.search_ended = step.reason
                if not await levels.refine():
                    return
                ended = not bench.slo.has_target
                continue  # The search goes on where the level is not what it seemed.
            further -= 1
            if further < 0 or (ended and not levels.has_time(step.concurrency)):
                break
            streams, undecided = findings.instead_of(step.concurrency, levels.failing)
            if undecided and ended:
                break
            if undecided:
                findings.levels_missing = True
                findings.search_ended = undecided
                return
            streams = levels.affordable(streams)
            if streams in findings.results or streams <= 1 or not await levels.measure(streams):
                break
        if ended:  # It was complete. What a longer window changes by then is in the interval.
            findings.search_ended += ENDED_BEFORE
            knee, known = list(levels.refined.items())[-1]
            findings.knee = knee if known == len(findings.results) else 0
        else:
            out_of_time(bench, f"not measured for lack of time: {step.reason}")
    finally:
        await levels.loop.close()


async def measure_only(bench: ProbeSession, given: Sequence[int], *, whole_budget: bool = False) -> None:
    """Measures the levels ``given``, without a search: one to check an earlier result, or those that a user
    chose. ``whole_budget``: in equal shares of the time left."""
    several = sorted(streams for streams in set(given) if streams > 1)
    if not several:
        return
    levels = _Levels(bench, await bench.engine.steady_loop(bench.shape.workload, spread=SPREAD))
    try:
        if several[-1] >= PROMPTS_AT_ONCE:
            await levels.time_prompts()
        for position, streams in enumerate(several):
            share = 1 / (len(several) - position) if whole_budget else 0.0
            measured = await levels.measure(streams, share=share)
            result = bench.findings.results.get(streams)
            if not measured or result is None:
                out_of_time(bench, f"{streams} streams could not be measured")
            elif not result.has_rate:  # the curve leaves it out, and its flags with it
                bench.findings.flags.update(result.point.flags)
                out_of_time(bench, f"the rate of {streams} streams is not known{result.uncertain_rate}")
    finally:
        await levels.loop.close()


def out_of_time(bench: ProbeSession, what: str) -> None:
    bench.findings.levels_missing = bench.findings.out_of_time = True
    bench.findings.notes.append(f"{what} ({bench.advice.more_time})")
