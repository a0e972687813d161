"""Engines of 6 GB as pods of the cluster: real weights as safetensors, their packages from the node."""

from __future__ import annotations

import pytest

from tests.cluster_fixtures import state_of
from tests.e2e.conftest import Installed
from tests.e2e.resource import Llmd, example
from tests.figures import throughput
from tools import lab

pytestmark = [pytest.mark.timeout(1200), pytest.mark.nightly]

READY_SECONDS = 600.0
"""vLLM alone imports for 10 s on two free cores; those of CI are not free."""
SHORT = {
    "context": {"maxModelLen": 512, "concurrency": 2},
    "workload": {"inputTokens": 32, "outputTokens": 16},
    "probe": {"budgetSeconds": 12, "timeoutSeconds": 300},
    "startupTimeoutSeconds": int(READY_SECONDS),
}


@pytest.fixture
def uri(tacho: Installed, namespace: str) -> str:
    state_of(tacho.cluster)
    return lab.bring_engines(tacho.cluster, namespace)


def serves(llmd: Llmd) -> None:
    """Planned, loaded, measured, Ready, and a chat is answered whole and streamed."""
    llmd.await_condition("Planned", "True", "PlanReady")
    llmd.await_condition("Ready", "False", "Loading")
    llmd.await_condition("Ready", "True", "Serving", seconds=READY_SECONDS)
    llmd.await_figures(READY_SECONDS)
    status = llmd.status()
    print(f"{throughput(status)} output tokens per second")
    startup = {name: float(spent) for name, spent in status["startup"].items() if name.endswith("Seconds")}
    print(startup)
    assert startup["loadSeconds"] > 1
    assert startup["totalSeconds"] >= startup["loadSeconds"] + startup["probeSeconds"]
    (measurement,) = status["measurements"]
    print(measurement["memory"])
    assert int(measurement["memory"]["hostActualBytes"]) > 2**29, "an engine on torch is larger than this"
    assert llmd.chat().strip()
    events = llmd.streamed_chat()
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    assert text.strip()
    assert len(events) > 3, "an answer in one piece is no stream"


@pytest.mark.parametrize(
    ("manifest", "engine"),
    [("vllm-cpu.yaml", "vLLM"), ("transformers-nf4-cpu.yaml", "Transformers")],
    ids=["vllm", "transformers-nf4"],
)
def test_a_large_engine_serves(llmd: Llmd, uri: str, manifest: str, engine: str) -> None:
    llmd.apply(lab.with_engines(example(lab.ROOT / "examples" / manifest, **SHORT), uri))
    serves(llmd)
    assert engine in llmd.condition("Planned")["message"]
