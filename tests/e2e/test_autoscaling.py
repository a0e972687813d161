"""Replicas follow the load: engines of a known law under requests that must all be answered."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.conftest import Installed
from tests.e2e.load import Load, service_url
from tests.e2e.mocks import OUTPUT_TOKENS, fill_model, mock
from tests.e2e.resource import Llmd, eventually
from tools import lab

pytestmark = [pytest.mark.timeout(420), pytest.mark.usefixtures("model")]

STEP_MS = 60
"""Slow enough that the law's time, and not this machine's, decides what a replica carries: three requests at
once of a good second each."""
CLIENTS = 9
"""At once: three full replicas, and so four with the headroom for growing."""
BEHAVIOR = {
    "scaleUp": {"stabilizationWindowSeconds": 0},
    "scaleDown": {
        "stabilizationWindowSeconds": 10,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 4}],
    },
}
AUTOSCALING = {"minReplicas": 1, "maxReplicas": 5, "behavior": BEHAVIOR}


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


def scaling(llmd: Llmd) -> dict[str, Any]:
    return dict(llmd.status().get("autoscaling") or {})


def kill_operator(tacho: Installed) -> None:
    """Without a chance to write anything down."""
    selector = "app.kubernetes.io/component=operator"
    tacho.cluster.kubectl(
        "delete", "pod", "-n", lab.OPERATOR_NAMESPACE, "-l", selector, "--grace-period=0", "--force"
    )


def test_one_to_four_to_one_without_a_lost_request(llmd: Llmd, tacho: Installed) -> None:
    law = (f"--itl-base-ms={STEP_MS}", "--itl-per-seq-ms=1")
    probe = {"budgetSeconds": 20, "timeoutSeconds": 90}
    llmd.apply(mock(tacho, *law, autoscaling=AUTOSCALING, probe=probe))
    llmd.await_condition("Ready", "True", "Serving")
    assert len(llmd.pods()) == 1

    body = {"model": "mine", "prompt": "Once upon a time", "max_tokens": OUTPUT_TOKENS, "ignore_eos": True}
    url = service_url(llmd, "/v1/completions")
    few, many = Load(url, body, clients=1), Load(url, body, clients=CLIENTS, pause_seconds=0)
    sizes: list[int] = []

    def size() -> int:
        sizes.append(len(llmd.pods()))
        return sizes[-1]

    with few.running():
        with many.running():
            eventually("a second replica", lambda: size() > 1 or None)
            kill_operator(tacho)
            eventually("as many replicas as the load needs", lambda: size() >= 4 or None)
            llmd.await_condition("Ready", "True", "Serving")
            began = time.monotonic()
            while time.monotonic() < began + 8:
                size()
                time.sleep(1)
            said = scaling(llmd)
            print(said["reason"], said["decisions"], llmd.condition("ScalingActive"))
            assert said["desiredReplicas"] in (4, 5), (
                "nine at once and one more now and then, over 0.8 x 3 each"
            )
            assert said["utilizationPercent"] > 0
            assert llmd.condition("AbleToScale")["status"] == "True"
            told = llmd.cluster.kubectl("describe", "llmd", llmd.name, "-n", llmd.namespace)
            assert "SuccessfulRescale" in told
            assert "New size: " in told
        eventually("one replica again", lambda: size() == 1 or None)
    assert sizes == sorted(sizes[: sizes.index(max(sizes)) + 1]) + sorted(
        sizes[sizes.index(max(sizes)) + 1 :], reverse=True
    ), "no replica went while the load lasted, and none came after it"
    assert (few.lost, many.lost) == ([], [])
    assert few.answered > 0
    assert many.answered > CLIENTS
