"""What others write into status, which the operator alone should write, on a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import NAME, await_condition, bring_up, condition
from tools.harness.operator_process import Kubelet, eventually

OTHERS = {
    "type": "Audited",
    "status": "True",
    "reason": "Looked",
    "message": "Nothing was found.",
    "lastTransitionTime": "2026-11-20T08:00:00Z",
}


def status(api: Cluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get("llmd", NAME, "-n", namespace)["status"]
    return found


def change(api: Cluster, namespace: str, *options: str, **part: Any) -> None:
    api.kubectl("patch", "llmd", NAME, "-n", namespace, *options, "--type=merge", "-p", json.dumps(part))


@pytest.mark.usefixtures("operator", "claim")
def test_what_others_wrote_there_neither_stays_nor_stops_it(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bring_up(api, kubelet, namespace)
    found = status(api, namespace)
    measured = found["measurements"][0]
    forged = [{**measured, "fingerprint": text * 16} for text in "abc"]
    edited = {
        "measurements": [measured, *forged],
        "summary": {**found["summary"], "outputTokensPerSecondShown": "99999"},
        "autoscaling": {"reason": "none"},
        "conditions": [*found["conditions"], OTHERS],
    }
    change(api, namespace, "--subresource=status", "--field-manager=kubectl-edit", status=edited)
    change(api, namespace, spec={"workload": {"inputTokens": 99, "outputTokens": 9}})
    await_condition(api, namespace, "Measured", "False", "MeasurementStale")
    eventually("no figure stays", lambda: "summary" not in status(api, namespace) or None)
    assert "autoscaling" not in status(api, namespace)
    assert condition(api, namespace, "Audited") == OTHERS
    # A fifth measurement, of which an apply alone would remove none: the list has four at most.
    change(api, namespace, spec={"context": {"maxModelLen": 512, "concurrency": 2}})
    kubelet.serve()
    await_condition(api, namespace, "Measured", "True", seconds=60)
    assert condition(api, namespace, "Audited") == OTHERS
