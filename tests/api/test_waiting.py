"""Programs that wait by kstatus take no LLMDeployment for done before the operator says so."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.cluster import binaries
from tools.cluster.handle import Cluster

MANIFEST = {
    "apiVersion": "tacho.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "smol"},
    "spec": {"model": {"uri": "pvc://models/smol"}},
}
TIME = "2026-11-23T10:00:00Z"


def status(**conditions: str) -> dict[str, Any]:
    """What the operator would write of the first generation."""
    made = [
        {"type": kind, "status": value, "reason": "Played", "message": "", "lastTransitionTime": TIME}
        for kind, value in conditions.items()
    ]
    return {"status": {"observedGeneration": 1, "conditions": made}}


@pytest.mark.parametrize(
    ("written", "done"),
    [
        (None, False),
        (status(Ready="False", Reconciling="True", Stalled="False"), False),
        (status(Ready="False", Reconciling="False", Stalled="True"), False),
        (status(Ready="True", Reconciling="False", Stalled="False"), True),
    ],
    ids=["no operator", "starting", "stalled", "serving"],
)
def test_helm_waits_for_an_llmdeployment(
    api: Cluster, namespace: str, tmp_path: Path, written: dict[str, Any] | None, done: bool
) -> None:
    api.apply({**MANIFEST, "metadata": {"name": "smol", "namespace": namespace}})
    if written:
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps(written))
        api.kubectl("patch", "llmd", "smol", "-n", namespace, *patch)
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: model, version: 0.1.0}")
    (chart / "templates" / "model.yaml").write_text(json.dumps(MANIFEST))
    command = [str(binaries.helm(print)), f"--kubeconfig={api.kubeconfig}", f"--namespace={namespace}"]
    arguments = ("install", "model", str(chart), "--wait", "--timeout=5s", "--take-ownership")
    found = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode == 0) is done, found.stderr
