"""What a replica is taken to carry, from what status says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.plan import Plan
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.algorithm.request_cost import cost_of, measured_mix
from tacho_operator.core.autoscaling.algorithm.types import Mix, ReplicaCapacity

ENTRY: dict[str, Any] = {
    "fingerprint": "f",
    "observedTime": "2026-11-20T08:00:00Z",
    "state": "Complete",
    "confidence": "Clean",
    "workload": {"inputTokens": 512, "outputTokens": 200},
    "singleStream": {"prefillTokensPerSecond": "10240"},
    "capacity": {
        "concurrency": 16,
        "requestsPerSecond": "4",
        "outputTokensPerSecond": "800",
        "ciPercent": "5",
        "verified": True,
    },
    "kvCache": {"capacityTokens": 100_000},
}
PLAN = Plan.model_validate({"concurrency": 32, "predicted": {"kvCacheTokens": 7120}})
WORKLOAD = Workload(input_tokens=512, output_tokens=200)


def measured(**changes: Any) -> list[MeasurementEntry]:
    return [MeasurementEntry.model_validate({**ENTRY, **changes})]


def test_of_layers_with_windows_the_tokens_of_the_workload_count() -> None:
    windowed = {"kvCacheTokens": 71_200, "kvCacheWorkloadTokens": 7_120}
    plan = Plan.model_validate({"concurrency": 32, "predicted": windowed})
    found = capacity_of([], plan, WORKLOAD)
    assert (found.kv_cache_tokens, found.concurrency) == (7_120, 10)


def test_a_clean_measurement_is_believed_to_the_lower_end_of_its_interval() -> None:
    found = capacity_of(measured(), PLAN, WORKLOAD)
    assert (found.fingerprint, found.requests_per_second, found.concurrency) == ("f", 4.0, 16)
    assert (found.kv_cache_tokens, found.unverified) == (100_000, "")
    assert found.trust == pytest.approx(0.95)


def test_the_measured_rate_of_the_measured_requests_is_one_replica() -> None:
    found = capacity_of(measured(), PLAN, WORKLOAD)
    cost = cost_of(found, measured_mix(found, 30))
    assert cost is not None
    assert cost.of(4 * 512, 4 * 200) == pytest.approx(1.0)
    assert (cost.request_seconds, cost.concurrency) == (pytest.approx(0.25), 16)


def test_other_lengths_cost_what_the_law_says() -> None:
    """gap = 10 ms + 0.5 ms x 16 streams = 18 ms. A prompt of 512 tokens takes 50 ms, 0.25 ms for each of its
    200 tokens; one of 1,024 adds as much again to beta: 0.75 ms, and the gap is kept by 10.67 streams."""
    fit = {"alphaMilliseconds": "10", "betaMicroseconds": "500", "r2": "1"}
    found = capacity_of(measured(fit=fit), PLAN, WORKLOAD)
    cost = cost_of(found, Mix(30, 30 * 1024, 30 * 200))
    assert cost is not None
    assert cost.concurrency == pytest.approx(16 / 1.5)
    measured_seconds, seconds = 0.05 + 200 * 0.018, 0.10 + 200 * 0.018
    assert cost.request_seconds == pytest.approx(0.25 * 1.5 * seconds / measured_seconds)


def test_an_answer_heavy_mix_at_most_doubles_the_concurrency() -> None:
    fit = {"alphaMilliseconds": "10", "betaMicroseconds": "200", "r2": "1"}
    found = capacity_of(measured(fit=fit), PLAN, WORKLOAD)
    cost = cost_of(found, Mix(30, 30, 30 * 2000))
    assert cost is not None
    assert cost.concurrency == 32


@pytest.mark.parametrize(("alpha", "beta"), [("10", "0"), ("20", "-500"), ("-20", "500")])
def test_a_law_without_a_positive_gap_is_not_used(alpha: str, beta: str) -> None:
    fit = {"alphaMilliseconds": alpha, "betaMicroseconds": beta, "r2": "1"}
    found = capacity_of(measured(fit=fit), PLAN, WORKLOAD)
    assert found == capacity_of(measured(), PLAN, WORKLOAD)


def test_without_a_clean_measurement_no_request_has_a_cost() -> None:
    found = capacity_of([], PLAN, WORKLOAD)
    assert cost_of(found, measured_mix(found, 30)) is None


@pytest.mark.parametrize(
    ("share", "verified", "trust"),
    [("93", None, 0.95 * 0.9), ("96", None, 0.95), ("93", True, 0.95), ("96", False, 0.95 * 0.9)],
)
def test_arrivals_too_few_to_tell_count_by_their_share(
    share: str, verified: bool | None, trust: float
) -> None:
    capacity = {**ENTRY["capacity"], "verified": verified}
    entries = measured(
        capacity={key: value for key, value in capacity.items() if value is not None},
        goodput={"compliancePercent": share},
        latency={"offeredRequestsPerSecond": "3.4"},
    )
    found = capacity_of(entries, PLAN, WORKLOAD, ServiceLevel(tpot_milliseconds=20))
    assert found.trust == pytest.approx(trust)


@pytest.mark.parametrize(
    ("changes", "trust"),
    [
        ({"ciPercent": None}, 0.90),
        ({"verified": False}, 0.95 * 0.9),
        ({"verified": None}, 0.95),
        ({"ciPercent": "80"}, 0.5),
    ],
    ids=["no interval", "requests of their own were too many", "that was not tried", "hardly known"],
)
def test_what_is_less_certain_is_counted_on_less(changes: dict[str, Any], trust: float) -> None:
    capacity = {key: value for key, value in (ENTRY["capacity"] | changes).items() if value is not None}
    assert capacity_of(measured(capacity=capacity), PLAN, WORKLOAD).trust == pytest.approx(trust)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([], "no current measurement"),
        (measured(state="Stale"), "no current measurement"),
        (measured(confidence="Provisional", flags=["Contended"]), "provisional (Contended)"),
        (measured(capacity={"concurrency": 4}), "no throughput"),
        (measured(capacity=ENTRY["capacity"] | {"boundary": "NeverMet"}), "an idle replica misses the SLO"),
    ],
    ids=["none", "stale", "provisional", "no throughput", "never met"],
)
def test_what_is_not_clean_is_never_taken_for_it(entries: list[MeasurementEntry], why: str) -> None:
    found = capacity_of(entries, PLAN, WORKLOAD)
    assert why in found.unverified
    assert found.requests_per_second is None
    assert found.concurrency in (10, 32)


def test_without_a_measurement_the_kv_cache_says_how_many_fit() -> None:
    assert capacity_of([], PLAN, WORKLOAD).concurrency == 10
    assert capacity_of([], Plan(), WORKLOAD).concurrency is None
    assert capacity_of([], None, WORKLOAD).kv_cache_tokens is None


def test_the_speed_in_service_is_that_of_the_law_for_as_many_requests() -> None:
    """A gap of 1 / 2 s at ten requests, of which each adds 1 / 40 s."""
    law = ReplicaCapacity(
        requests_per_second=1.0,
        output_tokens_per_second=20.0,
        concurrency=10.0,
        gap_seconds=0.5,
        gap_seconds_per_request=0.025,
        input_tokens=1,
        output_tokens=20,
    )
    cost = cost_of(law, measured_mix(law, 30))
    assert cost is not None
    assert cost.expected_tokens(10, 3.0) == pytest.approx(60)
    assert cost.expected_tokens(20, 3.0) == pytest.approx(80)
    assert cost.expected_tokens(0, 3.0) == 0


def test_short_prompts_bring_no_more_requests_than_were_seen_to_run() -> None:
    """An engine of three places: at 4 and 6 streams the others wait, and each adds next to nothing."""
    levels = ((1, 17.0, 61.0), (4, 49.8, 63.0), (6, 50.0, 62.9))
    entry = measured(
        workload={"inputTokens": 128, "outputTokens": 16},
        capacity={"concurrency": 4, "requestsPerSecond": "3.12", "outputTokensPerSecond": "49.8"},
        singleStream={"prefillTokensPerSecond": "20000"},
        fit={"alphaMilliseconds": "61.2", "betaMicroseconds": "276", "r2": "0.704"},
        curve=[
            {"concurrency": streams, "outputTokensPerSecond": str(rate), "tpotMillisecondsP50": str(gap)}
            for streams, rate, gap in levels
        ],
    )
    capacity = capacity_of(entry, PLAN, WORKLOAD)
    cost = cost_of(capacity, Mix(30, 30 * 26.0, 30 * 16.0))
    assert cost is not None
    assert 3.12 * cost.request_seconds == pytest.approx(0.98, abs=0.02)
    assert cost.concurrency == pytest.approx(4, rel=0.02)
    unknown = cost_of(dataclasses.replace(capacity, most_running=None), Mix(30, 30 * 26.0, 30 * 16.0))
    assert unknown is not None
    assert unknown.concurrency == 8.0
