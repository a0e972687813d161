"""Tokens that come in bursts: what a window of few requests knows, and levels that tell no rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe import time_plan
from tacho_runtime.probe.engine_under_test import Cohort, LevelTerms, LoadTrace
from tacho_runtime.probe.levels import LevelResult, evaluate
from tests.unit.probe.probing import LAW, WORKLOAD, level_of, probed
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine, VirtualLoop

WINDOW_SECONDS = 4.5


def drawn(rng: Random) -> tuple[Law, Workload, int]:
    """A law of slow steps, the more exact the harder, and as many streams as a machine with it may be asked
    for: a window holds ten to forty requests."""
    law = Law(
        kv_tokens=1_000_000,
        ttft_base_ms=rng.uniform(50, 400),
        ttft_per_token_ms=0.0,
        itl_base_ms=rng.uniform(60, 150),
        itl_per_seq_ms=rng.uniform(0, 5),
        jitter_cv=rng.choice((0.0, 0.0, 0.05)),
        prefill_blocks=True,
    )
    return law, Workload(input_tokens=64, output_tokens=rng.choice((8, 12, 16, 24))), rng.choice((2, 3, 4, 6))


def level(law: Law, workload: Workload, streams: int, rng: Random) -> LevelResult | None:
    engine = VirtualEngine(law, rng)
    trace = asyncio.run(level_of(engine, streams, workload, seconds=WINDOW_SECONDS))
    return evaluate(trace, workload, ServiceLevel())


def in_the_long_run(law: Law, workload: Workload, streams: int, seconds: float) -> float:
    """The rate of a closed loop that nobody interrupts, by the same engine."""
    engine = VirtualEngine(law, Random(99))
    trace = asyncio.run(level_of(engine, streams, workload, seconds=seconds))
    return sum(trace.bins) / (len(trace.bins) * trace.bin_nanoseconds / 1e9)


def test_intervals_of_few_requests_hold_the_truth() -> None:
    """Cycles of an exact law differ in nothing, and yet where in a step they begin and end is not known."""
    held = told = narrow = 0
    for seed in range(40):
        law, workload, streams = drawn(Random(seed))
        found = level(law, workload, streams, Random(seed))
        if found is None or not found.has_rate:
            continue
        true = in_the_long_run(law, workload, streams, 150.0)
        percent = found.point.ci_percent or 0.0
        told += 1
        narrow += percent < 5
        held += abs(found.point.output_tokens_per_second / true - 1) <= percent / 100
        step_percent = (1000 * law.itl_seconds(streams)) / WINDOW_SECONDS / 10
        assert percent >= 0.9 * step_percent, "no interval is narrower than a step of the window"
    assert told >= 33
    assert narrow >= 8, "an interval that is wide always would hold anything"
    assert held / told >= 0.9, f"{held} of {told}"


def test_prompts_that_stop_everybody_cost_no_certainty() -> None:
    """A quarter of a second for each prompt, and tokens come in bursts, of which a window holds a dozen."""
    law = replace(
        LAW, ttft_base_ms=20, ttft_per_token_ms=0.4, itl_base_ms=4, jitter_cv=0.05, prefill_blocks=True
    )
    truth: dict[int, float] = {}
    covered = total = 0
    for seed in range(8):
        measured = asyncio.run(probed(law, seed, slots=16))
        assert len(measured.curve) >= 2, measured.message
        assert "NotSteady" not in measured.flags, measured.message
        for point in measured.curve[1:]:
            true = truth.setdefault(
                point.concurrency, in_the_long_run(law, WORKLOAD, point.concurrency, 150.0)
            )
            assert point.output_tokens_per_second == pytest.approx(true, rel=0.2)
            assert point.ci_percent is not None
            total += 1
            covered += abs(point.output_tokens_per_second / true - 1) <= point.ci_percent / 100
    assert covered / total >= 0.85, f"{covered} of {total}"


class UnevenLoop(VirtualLoop):
    """Above so many streams all tokens of a window come at two moments."""

    even = 0
    busy_microseconds = 0

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        trace = await super().level(terms, enough)
        if terms.streams <= self.even:
            return trace
        self.busy_microseconds += (trace.end_ns - trace.start_ns) // 1000
        bins = [0.0] * len(trace.bins)
        bins[0], bins[len(bins) // 3] = 1.0, sum(trace.bins) - 1
        return replace(trace, bins=tuple(bins), started_bins=())


class Uneven(VirtualEngine):
    even = 0

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        self.loop = UnevenLoop(self, workload, spread)
        self.loop.even = self.even
        return self.loop


class Crowded(Uneven):
    """Somebody uses its CPUs while it has several streams."""

    loop: UnevenLoop | None = None

    async def machine(self, *, calibrate: bool) -> MachineSample:
        now = round(self.now_seconds() * 1e6)
        others = self.loop.busy_microseconds if self.loop else 0
        return MachineSample(
            stamp_ns=1000 * now, node_cpus=2, node_busy_microseconds=now + others, own_busy_microseconds=now
        )


async def test_levels_that_a_neighbour_kept_from_being_told_are_no_capacity() -> None:
    measured = await probed(LAW, 1, engine=Crowded(LAW, Random(1)))
    assert [point.concurrency for point in measured.curve] == [1]
    assert measured.curve[0].flags == ()
    assert "Contended" in measured.flags, "nobody takes one stream for all that it carries"


async def test_levels_that_tell_no_rate_are_shown_nowhere() -> None:
    """At 42 streams the service level is broken, at 40 kept; above 41 no rate is told."""
    engine = Uneven(LAW, Random(1))
    engine.even = 41
    measured = await probed(LAW, 1, ServiceLevel(tpot_milliseconds=30), engine=engine)
    assert measured.capacity is not None
    assert measured.capacity.concurrency == pytest.approx(39, rel=0.05)
    assert max(point.concurrency for point in measured.curve) <= 41


async def test_what_told_no_rate_leaves_what_did() -> None:
    engine = Uneven(LAW, Random(1))
    engine.even = 10
    measured = await probed(LAW, 1, ServiceLevel(tpot_milliseconds=30), engine=engine)
    assert measured.capacity is not None
    assert measured.capacity.concurrency in range(8, 11)
    assert max(point.concurrency for point in measured.curve) <= 10


@pytest.mark.parametrize(("even", "least"), [(10, 8), (60, 48)])
async def test_levels_without_a_rate_are_no_plateau(even: int, least: int) -> None:
    """Kernels of an MoE on an H200 were compiled at 48 and at 256 streams: 7 were no knee."""
    engine = Uneven(LAW, Random(1))
    engine.even = even
    found = await probed(LAW, 1, engine=engine, budget=90)
    assert found.capacity is not None
    assert least <= (found.capacity.concurrency or 0) <= even
    assert (found.state, found.capacity.boundary) == ("Partial", "Floor")


async def test_below_a_level_without_a_rate_the_next_is_nearer_to_what_is_known() -> None:
    """On an H200 168, 108, 138, 153, 160, 164 and 166 streams were tried, where 28 were known."""
    engine = Uneven(LAW, Random(1))
    engine.even = 100
    found = await probed(LAW, 1, engine=engine, budget=90)
    assert found.capacity is not None
    assert 80 <= (found.capacity.concurrency or 0) <= 100


class Halted(Uneven):
    """Some levels tell no rate; all others do."""

    untold: frozenset[int] = frozenset()

    def __init__(self, untold: frozenset[int]) -> None:
        super().__init__(LAW, Random(1))
        self.untold, self.tried = untold, list[int]()

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        self.loop = HaltedLoop(self, workload, spread)
        self.loop.halted = self
        return self.loop


class HaltedLoop(UnevenLoop):
    halted: Halted

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        self.halted.tried.append(terms.streams)
        self.even = 0 if terms.streams in self.halted.untold else terms.streams
        return await super().level(terms, enough)


@pytest.mark.parametrize(
    ("untold", "slots", "least", "levels"),
    [({8}, 0, 100, 6), ({8, 48}, 0, 100, 6), ({48}, 48, 28, 7), ({256}, 0, 100, 8), ({8}, 8, 7, 5)],
)
async def test_one_level_without_a_rate_does_not_end_the_search(
    untold: set[int], slots: int, least: int, levels: int
) -> None:
    """Beside 8 streams that told none, 7 were the capacity; beside a maximum of 48, 47 were tried."""
    engine = Halted(frozenset(untold))
    found = await probed(LAW, 1, engine=engine, slots=slots, budget=90)
    assert found.capacity is not None
    assert (found.state, found.capacity.boundary) == ("Complete", "Plateau"), found.message
    assert (found.capacity.concurrency or 0) >= least
    assert len(engine.tried) <= levels


async def test_no_time_is_spent_on_levels_close_to_those_without_a_rate() -> None:
    """All 16 levels were, between 152 and 227 streams, and a larger budget was advised."""
    engine = Halted(frozenset(range(200, 300)))
    found = await probed(LAW, 1, engine=engine, budget=90)
    assert found.capacity is not None
    assert (found.state, found.capacity.boundary) == ("Partial", "Floor")
    assert found.message.startswith("204 streams had no steady rate")
    assert found.flags == ()
    assert len(engine.tried) <= 8


class Compiling(VirtualEngine):
    """It compiles a kernel at each of the first levels of several streams."""

    levels = 1
    loop: VirtualLoop | None = None
    samples = 0

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        self.loop = await super().steady_loop(workload, spread=spread)
        return self.loop

    async def machine(self, *, calibrate: bool) -> MachineSample:
        self.samples += self.loop is not None
        late = min(self.samples // 2, self.levels)
        return replace(await super().machine(calibrate=calibrate), late_kernels=late)


BOUNDED, KNEE = ServiceLevel(tpot_milliseconds=30), ServiceLevel()


@pytest.mark.parametrize(
    ("slo", "levels", "known_percent", "flags"),
    [
        (BOUNDED, 1, 5.0, ()),  # the first level keeps the SLO
        (BOUNDED, 99, 5.0, ("NotSteady",)),  # whatever breaks it may be a halt
        (KNEE, 99, 10.0, ()),
        (KNEE, 1, 0.1, ()),  # it is measured again
        (KNEE, 99, 0.1, ("NotSteady",)),
    ],
)
async def test_a_level_at_which_a_kernel_was_compiled_counts_where_it_holds_all_the_same(
    slo: ServiceLevel,
    levels: int,
    known_percent: float,
    flags: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time_plan, "DESIRED_PERCENT", known_percent)
    plain = await probed(LAW, 1, slo)
    engine = Compiling(LAW, Random(1))
    engine.levels = levels
    found = await probed(LAW, 1, slo, engine=engine)
    assert "the engine compiled 1 kernel" in found.message
    assert (plain.flags, found.flags) == ((), flags)
    assert found.capacity is not None
    assert plain.capacity is not None
    assert found.capacity.concurrency == pytest.approx(plain.capacity.concurrency, rel=0.05)


class AlwaysCompiling(VirtualEngine):
    """It names a kernel at each look."""

    looks = 0

    async def machine(self, *, calibrate: bool) -> MachineSample:
        self.looks += 1
        return replace(await super().machine(calibrate=calibrate), late_kernels=self.looks)


async def test_an_engine_that_compiles_all_the_time_is_measured_in_its_budget_all_the_same() -> None:
    """Each level twice at most: what it does all the time is what it is."""
    slo = ServiceLevel(tpot_milliseconds=30)
    plain = await probed(LAW, 1, slo)
    found = await probed(LAW, 1, slo, engine=AlwaysCompiling(LAW, Random(1)))
    assert (found.state, found.flags) == ("Complete", ("NotSteady",))
    assert found.capacity is not None
    assert plain.capacity is not None
    assert found.capacity.concurrency == pytest.approx(plain.capacity.concurrency, rel=0.05)
