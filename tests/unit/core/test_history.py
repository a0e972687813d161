"""What earlier measurements of a namespace teach: predicted against actual, read off status."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.planner.history import history_from, stored_status
from tacho_operator.core.types import PastMeasurement

MEASURED: dict[str, Any] = {
    "fingerprint": "f",
    "revision": "smol-1",
    "state": "Stale",
    "observedTime": "2026-11-20T12:00:00Z",
    "engine": "vllm",
    "environment": {"engineVersion": "0.32.0", "gpuProduct": "NVIDIA L4"},
    "memory": {
        "predictedBytes": 100,
        "actualBytes": 150,
        "predictedWeightsBytes": 20,
        "actualWeightsBytes": 21,
        "predictedKVCacheBytes": 70,
        "actualKVCacheBytes": 60,
    },
}
ROW = PastMeasurement(
    engine="vllm",
    engine_version="0.32.0",
    gpu_product="NVIDIA-L4",
    predicted_total_bytes=100,
    actual_total_bytes=150,
    predicted_known_bytes=90,
    actual_known_bytes=81,
)

AS_PREDICTED = ("actualBytes", "actualWeightsBytes")


def rows(**changes: Any) -> tuple[PastMeasurement, ...]:
    entry = {name: value for name, value in (MEASURED | changes).items() if value is not None}
    return history_from([stored_status({"status": {"measurements": [entry]}})])


def test_each_measurement_is_a_row_named_as_nodes_are_labelled() -> None:
    assert rows() == (ROW,)
    status = stored_status({"status": {"measurements": [MEASURED, MEASURED]}})
    assert history_from([status, status]) == (ROW,) * 4


@pytest.mark.parametrize("lacking", [name for name in MEASURED["memory"] if name not in AS_PREDICTED])
def test_a_measurement_teaches_where_it_tells_the_cache(lacking: str) -> None:
    memory = {name: value for name, value in MEASURED["memory"].items() if name != lacking}
    assert rows(memory=memory) == ()
    assert rows(memory=None) == ()


def test_what_else_is_not_told_is_as_predicted() -> None:
    memory = {name: value for name, value in MEASURED["memory"].items() if name not in AS_PREDICTED}
    (found,) = rows(memory=memory)
    assert (found.actual_total_bytes, found.actual_known_bytes) == (100, 80)


def test_a_gpu_that_was_shared_teaches_nothing() -> None:
    assert rows(flags=["SharedGPU"]) == ()
    assert rows(flags=["NotSteady"]) == (ROW,)


def test_what_a_measurement_does_not_say_is_not_said_and_no_gpu_is_the_cpu() -> None:
    (found,) = rows(engine=None, environment=None)
    assert (found.engine, found.engine_version) == ("", "")
    assert found.gpu_product == "CPU"


@pytest.mark.parametrize("status", [None, {}, "text", ["text"], {"measurements": "many"}])
def test_a_status_that_cannot_be_read_teaches_nothing(status: Any) -> None:
    assert stored_status({"status": status}) == LLMDeploymentStatus()


@pytest.mark.parametrize("changed", [{"fingerprint": ""}, {"flags": ["\x00", "\x01"]}, {"plan": {}}])
def test_an_entry_that_no_status_may_have_again_counts_as_absent(changed: dict[str, Any]) -> None:
    """The definition admits it, not what the operator makes of it: a name is missing, or is there twice."""
    entries = [MEASURED | changed, MEASURED]
    assert stored_status({"status": {"measurements": entries}}) == stored_status(
        {"status": {"measurements": [MEASURED]}}
    )
    assert stored_status({"status": {"url": "\x00"}}) == LLMDeploymentStatus()


def test_conditions_that_others_wrote_stay_as_they_are() -> None:
    """Conditions may be others', and the times of the operator's own are needed."""
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    (found,) = stored_status({"status": {"conditions": [ready]}}).conditions
    assert (found.type, found.message) == ("Ready", "Serving")
