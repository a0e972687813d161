"""What earlier measurements of a namespace teach: predicted against actual, read off status."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.api.types import LLMDeploymentStatus
from tacho_operator.core.measurement.history import history_from, stored_status
from tacho_operator.core.types import PastMeasurement

MEASURED: dict[str, Any] = {
    "fingerprint": "f",
    "revision": "smol-1",
    "state": "Stale",
    "observedTime": "2026-11-20T12:00:00Z",
    "engine": "vllm",
    "quantizationMethod": "awq",
    "environment": {"engineVersion": "0.32.0", "gpuProduct": "NVIDIA L4"},
    "memory": {
        "predictedBytes": 100,
        "actualBytes": 150,
        "predictedKVCacheBytes": 90,
        "actualKVCacheBytes": 130,
        "predictedKVCacheTokens": 30,
        "actualKVCacheTokens": 39,
    },
}
ROW = PastMeasurement(
    engine="vllm",
    engine_version="0.32.0",
    quantization_method="awq",
    gpu_product="NVIDIA-L4",
    predicted_bytes=10,
    actual_bytes=20,
    predicted_kv_cache_tokens=30,
    actual_kv_cache_tokens=27,
)


def rows(**changes: Any) -> tuple[PastMeasurement, ...]:
    entry = {name: value for name, value in (MEASURED | changes).items() if value is not None}
    return history_from([stored_status({"status": {"measurements": [entry]}})])


def test_each_measurement_is_a_row_named_as_nodes_are_labelled() -> None:
    assert rows() == (ROW,)
    status = stored_status({"status": {"measurements": [MEASURED, MEASURED]}})
    assert history_from([status, status]) == (ROW,) * 4


@pytest.mark.parametrize(
    ("memory", "taught"),
    [
        (
            {"predictedBytes": 9, "actualBytes": 9, "predictedKVCacheBytes": 1, "actualKVCacheBytes": 2},
            True,
        ),
        # An engine that fills its budget with the cache uses what it may: without its size, no lesson.
        ({"predictedBytes": 10, "actualBytes": 20}, False),
        ({"predictedKVCacheTokens": 30, "actualKVCacheTokens": 40}, True),
        ({"predictedBytes": 10, "actualKVCacheTokens": 40}, False),
        ({"actualBytes": 20, "actualKVCacheTokens": 40}, False),
        (None, False),
    ],
)
def test_a_measurement_teaches_where_it_has_both_of_a_figure(
    memory: dict[str, int] | None, taught: bool
) -> None:
    assert len(rows(memory=memory)) == taught


def test_a_gpu_that_was_shared_teaches_nothing() -> None:
    assert rows(flags=["SharedGPU"]) == ()
    assert rows(flags=["NotSteady"]) == (ROW,)


def test_tokens_are_compared_in_equal_bytes() -> None:
    """A cache of half the size that holds half the tokens was predicted rightly."""
    memory = {"predictedKVCacheTokens": 1000, "predictedKVCacheBytes": 8000}
    (half,) = rows(memory={**memory, "actualKVCacheTokens": 500, "actualKVCacheBytes": 4000})
    assert half.actual_kv_cache_tokens == 1000
    (unknown,) = rows(memory={**memory, "actualKVCacheTokens": 500})
    assert unknown.actual_kv_cache_tokens == 500


def test_what_a_measurement_does_not_say_is_not_said_and_no_gpu_is_the_cpu() -> None:
    (found,) = rows(engine=None, quantizationMethod=None, environment=None)
    assert (found.engine, found.engine_version, found.quantization_method) == ("", "", "")
    assert found.gpu_product == "CPU"


@pytest.mark.parametrize("status", [None, {}, {"measurements": "many"}])
def test_a_status_that_cannot_be_read_teaches_nothing(status: Any) -> None:
    assert stored_status({"status": status}) == LLMDeploymentStatus()
