"""What a replica is taken to carry, from what status says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.measurement import Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.plan import Plan
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.algorithm.demand import work_of

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


def test_a_clean_measurement_is_believed_to_the_lower_end_of_its_interval() -> None:
    found = capacity_of(measured(), PLAN, WORKLOAD)
    assert (found.fingerprint, found.requests_per_second, found.concurrency) == ("f", 4.0, 16)
    assert (found.kv_cache_tokens, found.unverified) == (100_000, "")
    assert found.trust == pytest.approx(0.95)


def test_the_measured_rate_of_the_measured_requests_is_one_replica() -> None:
    found = capacity_of(measured(), PLAN, WORKLOAD)
    assert work_of(found, prompt_tokens=4 * 512, output_tokens=4 * 200) == pytest.approx(1.0)
    longer = work_of(found, prompt_tokens=4 * 1024, output_tokens=4 * 200)
    assert longer == pytest.approx((0.4 + 1.0) / (0.2 + 1.0))


@pytest.mark.parametrize(
    ("changes", "trust"),
    [
        ({"ciPercent": None}, 0.90),
        ({"verified": False}, 0.95 * 0.85),
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
        (measured(capacity=ENTRY["capacity"] | {"boundary": "NeverMet"}), "misses the SLO"),
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


def curve(*levels: tuple[int, str, str]) -> list[dict[str, Any]]:
    """Streams, tokens a second, milliseconds of a token."""
    return [
        {"concurrency": streams, "outputTokensPerSecond": speed, "tpotMillisecondsP50": tpot}
        for streams, speed, tpot in levels
    ]


@pytest.mark.parametrize(
    ("levels", "seconds"),
    [
        (curve((2, "150", "13"), (8, "400", "17"), (16, "800", "20")), 0.017),
        (curve((16, "800", "20")), 0.0125),
        ([], 0.0125),
        ([{**curve((8, "400", "17"))[0], "steady": False}], 0.0125),
    ],
    ids=["half of 800", "one stream", "no curve", "not steady"],
)
def test_how_fast_tokens_come_with_half_of_the_load(levels: list[dict[str, Any]], seconds: float) -> None:
    alone = {"prefillTokensPerSecond": "10240", "tpotMillisecondsP50": "12.5"}
    found = capacity_of(measured(curve=levels, singleStream=alone), PLAN, WORKLOAD)
    assert found.tpot_half_seconds == pytest.approx(seconds)


def test_who_has_no_time_of_a_token_has_none_with_half_of_the_load() -> None:
    assert capacity_of(measured(), PLAN, WORKLOAD).tpot_half_seconds is None
