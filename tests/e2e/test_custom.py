"""engine.name custom with the mock engine: measured by its law, crashing, hanging and failing on demand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e import sidecar
from tests.e2e.conftest import Installed
from tests.e2e.mocks import INPUT_TOKENS, OUTPUT_TOKENS, fill_model, mock
from tests.e2e.refusals import refused
from tests.e2e.resource import Llmd

pytestmark = pytest.mark.timeout(900)

TTFT_BASE_MS, TTFT_PER_TOKEN_MS, ITL_BASE_MS, ITL_PER_SEQUENCE_MS = 100.0, 0.5, 50.0, 10.0
"""Slow enough that what a busy machine adds is little beside it."""
LAW = (
    f"--ttft-base-ms={TTFT_BASE_MS}", f"--ttft-per-token-ms={TTFT_PER_TOKEN_MS}",
    f"--itl-base-ms={ITL_BASE_MS}", f"--itl-per-seq-ms={ITL_PER_SEQUENCE_MS}",
)  # fmt: skip
SLOTS = 3
"""Requests that the engine runs at a time, which tacho knows of no custom engine."""
TOLERANCE = 0.2
"""For a machine that does other things too; what the probe itself is capable of is proven without one."""


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


def law_of(llmd: Llmd) -> dict[str, Any]:
    """What the mock engine itself says of its settings."""
    path = f"/api/v1/namespaces/{llmd.namespace}/services/{llmd.name}:http/proxy"
    law: dict[str, Any] = json.loads(llmd.cluster.raw(f"{path}/_law"))
    models = json.loads(llmd.cluster.raw(f"{path}/v1/models"))
    return law | {"models": [(item["id"], item["max_model_len"]) for item in models["data"]]}


def near(what: str, measured: str, expected: float) -> None:
    print(f"{what}: measured {float(measured):.1f}, by the law {expected:.1f}")
    assert abs(float(measured) / expected - 1) <= TOLERANCE, what


@pytest.mark.alone
@pytest.mark.usefixtures("model")
def test_the_measured_figures_are_the_laws(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(mock(tacho, *LAW, probe={"budgetSeconds": 90, "timeoutSeconds": 180}))
    llmd.await_clean_figures()
    llmd.await_condition("Ready", "True", "Serving")
    asked = law_of(llmd)
    assert asked["models"] == [("mine", 3000)]
    assert asked["max_num_seqs"] == SLOTS
    (measurement,) = llmd.status()["measurements"]
    assert measurement["workload"]["inputTokens"] == INPUT_TOKENS

    ttft = TTFT_BASE_MS + TTFT_PER_TOKEN_MS * INPUT_TOKENS
    single = measurement["singleStream"]
    near("single-stream TTFT, ms", single["ttftMillisecondsP50"], ttft)
    near("single-stream TPOT, ms", single["tpotMillisecondsP50"], ITL_BASE_MS + ITL_PER_SEQUENCE_MS)
    for point in measurement["curve"]:
        running = min(SLOTS, point["concurrency"])  # others wait, which is TTFT
        gap = ITL_BASE_MS + ITL_PER_SEQUENCE_MS * running
        request_seconds = (ttft + (OUTPUT_TOKENS - 1) * gap) / 1000
        near(f"TPOT of {point['concurrency']} streams, ms", point["tpotMillisecondsP50"], gap)
        near(
            f"tok/s of {point['concurrency']} streams",
            point["outputTokensPerSecond"],
            running * OUTPUT_TOKENS / request_seconds,
        )
    assert SLOTS <= measurement["capacity"]["concurrency"] <= SLOTS + 1
    best = max(float(point["outputTokensPerSecond"]) for point in measurement["curve"])
    near("tok/s of the capacity", llmd.status()["summary"]["outputTokensPerSecond"], best)


@pytest.mark.usefixtures("model")
def test_a_crash_at_the_start_is_told_with_its_last_words(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(mock(tacho, "--fail=crash"))
    refused(llmd, "EngineCrashed", "the mock engine was told to crash at its start", "exit code 1")
    assert llmd.condition("Planned")["status"] == "True"
    assert llmd.endpoints() == set()


@pytest.mark.usefixtures("model")
def test_an_engine_that_never_serves_runs_out_of_time(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(mock(tacho, "--startup-seconds=100000", startupTimeoutSeconds=20))
    refused(llmd, "StartupTimeout", "after 20 s", "spec.startupTimeoutSeconds")
    (pod,) = llmd.pods()
    assert sidecar.status(pod, "fetch") == {}, "a claim needs nobody to fetch it"


SHORT = {"budgetSeconds": 10, "timeoutSeconds": 20}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(("wrong", "words"), [("hang", "no full answer within"), ("errors", "told to fail")])
def test_an_engine_that_answers_no_request_is_not_ready(
    llmd: Llmd, tacho: Installed, wrong: str, words: str
) -> None:
    llmd.apply(mock(tacho, f"--fail={wrong}", probe=SHORT))
    refused(llmd, "EngineCrashed", "answered no request", words)
    assert llmd.endpoints() == set()


@pytest.mark.usefixtures("model")
def test_a_new_revision_that_answers_no_request_replaces_none(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(mock(tacho, *LAW, probe=SHORT))
    llmd.await_condition("Ready", "True", "Serving", seconds=240)
    before = llmd.endpoints()
    llmd.apply(mock(tacho, *LAW, "--fail=errors", probe=SHORT))
    found = llmd.await_condition("RolloutAccepted", "False", "EngineCrashed", seconds=240)
    assert "told to fail" in found["message"]
    assert llmd.condition("Ready")["status"] == "True"
    assert llmd.endpoints() == before != set()


@pytest.mark.usefixtures("model")
def test_a_probe_that_is_one_client_too_many_lets_the_pod_serve(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(mock(tacho, "--fail=busy-above:0", probe=SHORT))
    llmd.await_condition("Ready", "True", "Serving", seconds=240)
    found = llmd.await_condition("Measured", "False", "MeasurementFailed")
    print(found["message"])
    assert found["message"]
    assert "summary" not in llmd.status()
    assert llmd.endpoints() != set()
