"""``tacho plan`` against a real cluster: its nodes, with and without the right to list them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_operator.api.crd.schema import at, resource_schema
from tacho_operator.api.rules.structure import check
from tests.unit.cli.commands import Told, call
from tools.cluster.handle import Cluster
from tools.mock.checkpoints import write_checkpoint

PLAN_SCHEMA = at(resource_schema(()), "status.plan")
NODE = "gpu-node"
LABELS = {
    "nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/gpu.memory": "23034",
    "nvidia.com/gpu.count": "2",
    "nvidia.com/gpu.compute.major": "8",
    "nvidia.com/gpu.compute.minor": "9",
}


@pytest.fixture
def gpu_node(api: Cluster) -> Iterator[None]:
    """A node with two L4s, as far as the API server knows."""
    api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": LABELS}})
    allocatable = {"cpu": "8", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "2"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    status = {"status": {"allocatable": allocatable, "capacity": allocatable, "conditions": [ready]}}
    api.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    # A new node is tainted as not ready. The controller manager takes that back in its own time, or adds it
    # once more where it saw the node before its status.
    free_looks = 0
    for _ in range(60):
        taints = api.kubectl("get", "node", NODE, "-o", "jsonpath={.spec.taints}").strip()
        free_looks = 0 if taints else free_looks + 1
        if free_looks == 2:
            break
        if taints:
            api.kubectl("patch", "node", NODE, "--type=merge", "-p", json.dumps({"spec": {"taints": None}}))
        time.sleep(0.5)
    yield
    api.kubectl("delete", "node", NODE)


@pytest.fixture
def ask(
    api: Cluster,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """The command with a kubeconfig, for a model of 8 billion parameters without its weights."""
    monkeypatch.setenv("PATH", f"{Path(api.binaries.path('kubectl')).parent}:/usr/bin:/bin")
    write_checkpoint(tmp_path / "llama", "llama-3.1-8b")
    document = {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "llama"},
        "spec": {
            "model": {"uri": "pvc://models/llama"},
            "gpu": {"products": ["L4"]},
            "context": {"maxModelLen": 8192, "concurrency": 8},
        },
    }
    file = tmp_path / "llama.yaml"
    file.write_text(yaml.safe_dump(document))

    def told(kubeconfig: Path) -> Told:
        options = ["--kubeconfig", str(kubeconfig), "-n", namespace, "-o", "json"]
        return call(capsys, "plan", "-f", str(file), "--pvc", f"models={tmp_path}", *options)

    return told


def test_live_nodes_are_planned_for(api: Cluster, gpu_node: None, ask: Any) -> None:
    told = ask(api.kubeconfig)
    assert told.code == 0, told
    plan = json.loads(told.out)
    assert list(check(plan, PLAN_SCHEMA, "status.plan")) == []
    assert plan["gpu"]["product"] == "NVIDIA-L4"
    assert plan["gpu"]["count"] in (1, 2)
    assert "No node has this GPU" not in plan["message"]


def test_who_may_not_list_nodes_plans_from_the_catalog(
    api: Cluster, gpu_node: None, namespace: str, ask: Any
) -> None:
    told = ask(api.service_account_kubeconfig(namespace, "default"))
    assert told.code == 0, told
    assert "no permission to list nodes" in told.err
    assert "earlier measurements are not used: Error from server (Forbidden)" in told.err
    assert json.loads(told.out)["gpu"]["product"] == "NVIDIA-L4"


def test_a_server_that_does_not_answer_is_told(tmp_path: Path, ask: Any) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "gone",
        "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": ""}}],
    }
    path = tmp_path / "gone"
    path.write_text(json.dumps(kubeconfig))
    told = ask(path)
    assert told.code == 2
    assert told.err.startswith("tacho: kubectl get nodes failed:")
    assert "127.0.0.1:1" in told.err
