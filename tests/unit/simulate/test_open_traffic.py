"""The comparison of measured and simulated latencies of the same arrivals."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, pvariance
from typing import Any

import pytest

from benchmarks.simulator.arrivals import KINDS, Kind, drawn
from benchmarks.simulator.comparison import GOALS, alone_seconds, compared, figures, simulated
from benchmarks.simulator.page import lines
from benchmarks.simulator.traffic import ALONE, run
from tacho_contract.measurement import Workload
from tacho_simulate.measured_model import from_measurement
from tests.unit.probe.engines import mock_engine
from tests.unit.simulate.test_performance_models import entry_of
from tests.unit.simulate.worlds import MODEL

ENTRY = entry_of(MODEL, (4, 16))
SINGLE_SECONDS = alone_seconds(ENTRY)
RATE, REQUESTS = 3.0, 40


def runs(*late: tuple[float, float]) -> dict[str, Any]:
    """A file of results. Each run is as simulated, but for (factor of all times, single requests' factor)."""
    arrivals = drawn("poisson", RATE, REQUESTS, 150, seed=3)
    found = simulated(from_measurement(ENTRY, max_num_seqs=16), arrivals, 400)
    return {
        "machine": "NVIDIA H200, x86_64, 16 CPUs",
        "slots": 16,
        "measurement": ENTRY.model_dump(mode="json", by_alias=True, exclude_none=True),
        "runs": [
            {
                "arrivals": "poisson",
                "share": 0.5,
                "requestsPerSecond": RATE,
                "seed": 3,
                "othersPercent": 0.0,
                "aloneSeconds": [alone * SINGLE_SECONDS] * 6,
                "requests": [
                    [
                        one.due,
                        one.due + factor * (one.first - one.due),
                        one.due + factor * (one.last - one.due),
                        one.tokens,
                    ]
                    for one in found
                ],
            }
            for factor, alone in late
        ],
    }


@pytest.mark.parametrize(("kind", "variance"), [("poisson", 1.0), ("bursty", 4.0)])
def test_arrivals_have_their_rate_and_their_variance(kind: Kind, variance: float) -> None:
    found = drawn(kind, RATE, 20_000, 16, seed=1)
    gaps = [later - earlier for earlier, later in pairwise(found.seconds)]
    assert 1 / fmean(gaps) == pytest.approx(RATE, rel=0.05)
    assert pvariance(gaps) * RATE**2 == pytest.approx(variance, rel=0.1)
    assert fmean(found.output_tokens) == pytest.approx(16, rel=0.01)
    assert set(KINDS) == {"poisson", "bursty"}


def test_what_is_as_simulated_is_not_off() -> None:
    (row,) = compared(runs((1.0, 1.0), (1.0, 1.0)))
    assert {name: row.off_percent(name) for name in GOALS} == pytest.approx(dict.fromkeys(GOALS, 0.0))
    assert (row.runs, row.disturbed, row.longer_percent) == pytest.approx((2, 0, 0.0))


def test_a_difference_beyond_the_spread_of_the_runs_is_bold() -> None:
    (row,) = compared(runs((1.19, 1.0), (1.2, 1.0), (1.21, 1.0)))
    assert row.off_percent("TTFT") == pytest.approx(100 * (1 / 1.2 - 1))
    assert row.spread_percent["TTFT"] == pytest.approx(100 * 0.01 / 1.2)
    assert not row.kept("TTFT")
    (wide,) = compared(runs((1.0, 1.0), (1.2, 1.0), (1.4, 1.0)))
    assert wide.kept("TTFT")
    page = "".join(lines("name", runs((1.19, 1.0), (1.2, 1.0), (1.21, 1.0))))
    assert "**-17 %**" in page
    assert "NVIDIA H200, x86_64, 16 CPUs. 400 tokens in and 150 out, 16 at a time, 40 requests a run:" in page


def test_the_same_runs_are_simulated_from_another_measurement() -> None:
    document = runs((1.0, 1.0))
    faster = entry_of(MODEL, (2, 16)).model_dump(mode="json", by_alias=True, exclude_none=True)
    page = list(lines("name", {**document, "others": {"other levels": faster}}))
    assert "The same runs, simulated from other levels:" in page
    assert sum(line.startswith("| poisson") for line in page) == 2


def test_rounds_that_were_cut_off_are_told_by_their_settings() -> None:
    """A round has each setting once, and the last may lack some."""
    document = runs((1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    first, other, again = document["runs"]
    other |= {"arrivals": "bursty", "share": 0.3}
    document["runs"] = [other, first, again]
    found = [(row.kind, row.share, row.runs) for row in compared(document)]
    assert found == [("poisson", 0.5, 2), ("bursty", 0.3, 1)]


def test_disturbed_runs_count_only_alone() -> None:
    (row,) = compared(runs((1.0, 1.0), (2.0, 1.2), (2.0, 0.8)))
    assert (row.runs, row.disturbed) == (1, 2)
    assert row.off_percent("TTFT") == pytest.approx(0.0)
    (alone,) = compared(runs((2.0, 1.2)))
    assert (alone.runs, alone.disturbed, alone.longer_percent) == pytest.approx((1, 1, 20.0))
    assert alone.as_fast["TPOT"] == pytest.approx(1.2 * alone.simulated["TPOT"], rel=0.1)
    waiting = runs((1.0, 1.0))
    waiting["runs"][0]["othersPercent"] = 5.1
    assert next(compared(waiting)).disturbed == 1


def test_every_request_is_sent_when_it_is_due_and_answered_with_its_tokens() -> None:
    arrivals = drawn("bursty", 50.0, 12, 8, seed=1)
    with mock_engine(itl_base_ms=1.0, ttft_base_ms=1.0) as port:
        found = run(
            f"http://127.0.0.1:{port}", arrivals, Workload(input_tokens=16, output_tokens=8), seed=0, cpus=1
        )
    assert [one.due for one in found.answers] == pytest.approx(arrivals.seconds, abs=1e-6)
    assert tuple(one.tokens for one in found.answers) == arrivals.output_tokens
    assert all(one.due < one.first <= one.last for one in found.answers)
    assert len(found.alone_seconds) == 2 * ALONE
    assert set(figures(found.answers)) == set(GOALS)


def test_single_requests_after_a_run_are_those_before_the_next() -> None:
    arrivals = drawn("poisson", 50.0, 2, 8, seed=1)
    shape, known = Workload(input_tokens=16, output_tokens=8), (1.0, 2.0, 3.0)
    with mock_engine(itl_base_ms=1.0, ttft_base_ms=1.0) as port:
        found = run(f"http://127.0.0.1:{port}", arrivals, shape, seed=0, cpus=1, alone_seconds=known)
    assert found.alone_seconds[:ALONE] == known
    assert len(found.alone_seconds) == 2 * ALONE
