"""Levels without a result, as an engine refuses what is beyond its queue."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import Cohort, LevelTerms, LoadTrace
from tacho_runtime.probe.session import ProbeFindings
from tests.unit.probe.probing import LAW, probed
from tools.mock.virtual_engine import VirtualEngine, VirtualLoop

MOST = 20


class Refusing(VirtualEngine):
    """Answers 429 while it has more than ``MOST`` requests."""

    tried: Counter[int]

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        return RefusingLoop(self, workload, spread)


class RefusingLoop(VirtualLoop):
    _engine: Refusing

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        trace = await super().level(terms, enough)
        if terms.streams <= MOST:
            return trace
        self._engine.tried[terms.streams] += 1
        return replace(trace, broken=True, started=False, failures=("HTTP 429: too many",) * 3)


@pytest.mark.parametrize("slo", [None, ServiceLevel(ttft_milliseconds=5000, tpot_milliseconds=200)])
async def test_below_a_level_whose_requests_fail_the_search_goes_on(slo: ServiceLevel | None) -> None:
    """The same level was tried until the time was over, which was said to be the reason."""
    engine = Refusing(LAW, Random(1))
    engine.tried = Counter()
    measured = await probed(LAW, 1, slo, engine=engine, budget=90.0)
    assert measured.capacity is not None
    assert measured.capacity.boundary == "Floor"
    assert measured.capacity.concurrency is not None
    assert MOST / 1.25 <= measured.capacity.concurrency <= MOST
    assert max(engine.tried.values()) <= 2
    assert f"{min(engine.tried)} streams could not be measured" in measured.message
    assert "lack of time" not in measured.message
    assert measured.state == "Partial"


@pytest.mark.parametrize(
    ("asked", "failing", "instead"),
    [(64, {16}, 12), (16, {16}, 12), (12, {16}, 12), (64, {16, 12}, 10), (64, {9}, 0), (64, {10}, 0)],
)
def test_no_level_beyond_one_that_fails_is_measured(asked: int, failing: set[int], instead: int) -> None:
    """Eight streams meet a service level, though their rate is not known."""
    levels = {
        1: SimpleNamespace(concurrency=1, rated=True, slo_ratio=None),
        8: SimpleNamespace(concurrency=8, rated=False, slo_ratio=0.9),
    }
    found: Any = SimpleNamespace(results=levels, tried=lambda: [*levels.values()])
    streams, why = ProbeFindings.instead_of(found, asked, failing)
    assert streams == instead
    assert (why == "") == (instead > 0)


class Halting(VirtualEngine):
    """Stops in the middle of each level of several streams."""

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        return HaltingLoop(self, workload, spread)


class HaltingLoop(VirtualLoop):
    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        trace = await super().level(terms, enough)
        half = len(trace.bins) // 2
        return replace(trace, bins=(*trace.bins[:half], *[0.0] * (len(trace.bins) - half)))


async def test_a_check_whose_level_has_no_rate_is_not_whole() -> None:
    """It was Complete, without a flag, and had the capacity of one stream."""
    measured = await probed(LAW, 1, level=20, engine=Halting(LAW, Random(1)))
    assert [point.concurrency for point in measured.curve] == [1]
    assert measured.state == "Partial"
    assert {"BudgetExhausted", "NotSteady"} <= {*measured.flags}
    assert re.search(r"the rate of 20 streams is not known: it had \d+ tokens/s ± \d+ %", measured.message)
