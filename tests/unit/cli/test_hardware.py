"""Which hardware a plan is for: the options, saved nodes, kubectl, this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_cli.inputs.kubectl import KubectlTarget
from tacho_cli.inputs.this_machine import gpu_labels, this_machine
from tacho_cli.plan import hardware
from tacho_cli.problems import CommandError
from tacho_operator.api.types import LLMDeploymentSpec
from tests.unit.cli.commands import SMOLLM2, play_kubectl

NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "gpu-1", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
    "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
    "status": {
        "allocatable": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
NODES = {"apiVersion": "v1", "kind": "List", "items": [NODE]}


def spec(**changes: Any) -> LLMDeploymentSpec:
    return LLMDeploymentSpec.model_validate({**SMOLLM2["spec"], **changes})


def raw(**gpu: Any) -> dict[str, Any]:
    return {"spec": {"gpu": gpu}}


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        ({"count": 0}, "L4", {"products": ["L4"]}),
        ({"count": 2, "products": ["T4"]}, "L4", {"products": ["L4"], "count": 2}),
        ({"count": 2}, "NVIDIA-L4:4", {"products": ["NVIDIA-L4"], "count": 4}),
        ({}, "h100:8", {"products": ["h100"], "count": 8}),
    ],
)
def test_a_named_gpu_replaces_what_the_manifest_says(
    before: dict[str, Any], asked: str, after: dict[str, Any]
) -> None:
    assert hardware.override_gpu(raw(**before), asked) == raw(**after)


def test_a_named_gpu_leaves_what_is_no_object_to_the_validation() -> None:
    wrong = {"spec": {"gpu": "L4"}}
    assert hardware.override_gpu(wrong, "L4") == wrong


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("A1000", "try A100"),
        ("Q", "the catalog has no 'Q'"),
        ("L4:0", "L4:2"),
        ("L4:x", "L4:2"),
        ("L4:-1", "L4:2"),
    ],
)
def test_a_gpu_that_is_not_known_is_refused_with_names_that_are(asked: str, words: str) -> None:
    with pytest.raises(CommandError) as refused:
        hardware.override_gpu(raw(), asked)
    assert words in str(refused.value)


def test_only_one_hardware_can_be_meant(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="exclude each other"):
        hardware.choose(spec(), gpu="L4", nodes_file="x", target=None)
    with pytest.raises(CommandError, match="exclude each other"):
        hardware.choose(spec(), gpu="L4", nodes_file="", target=KubectlTarget(context="x"))


def test_without_options_the_manifest_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_cli.inputs.this_machine._query_driver", lambda: "")
    here = hardware.choose(spec(), gpu="", nodes_file="", target=None)
    assert here.nodes is not None
    assert here.nodes[0].labels == {}
    named = hardware.choose(spec(gpu={"products": ["L4"]}), gpu="", nodes_file="", target=None)
    assert named.nodes is None
    with pytest.raises(CommandError, match=r"name one \(--gpu L4\)"):
        hardware.choose(spec(gpu={"count": 1}), gpu="", nodes_file="", target=None)


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump])
@pytest.mark.parametrize("document", [NODES, NODE, {**NODES, "kind": "NodeList"}])
def test_saved_nodes_are_read_as_kubectl_prints_them(tmp_path: Path, dump: Any, document: Any) -> None:
    path = tmp_path / "nodes"
    path.write_text(dump(document))
    (node,) = hardware.saved_nodes(str(path))
    assert node.name == "gpu-1"
    assert node.ready
    assert node.allocatable["nvidia.com/gpu"] == "1"
    assert node.taints[0]["key"] == "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "neither JSON nor YAML"),
        ("[]", "a list of nodes is expected"),
        ('{"kind": "List"}', "a list of nodes is expected"),
        ('{"items": [1]}', "a list of nodes"),
        ('{"items": [{"kind": "Pod"}]}', "a list of nodes"),
        ('{"items": [{"kind": "Node"}]}', "a list of nodes"),
        ('{"items": [{"kind": "Node", "metadata": {"name": "a"}, "status": 7}]}', "a list of nodes"),
        ("items: [{metadata: {name: a}, status: {allocatable: {cpu: 8}}}]", "write them in quotes"),
        ("items: [{metadata: {name: a, labels: {nvidia.com/gpu.count: 4}}}]", "write them in quotes"),
        ("items: [{metadata: {name: a, labels: [x]}}]", "a list of nodes"),
        ("a: b: c", "neither JSON nor YAML"),
    ],
)
def test_what_holds_no_nodes_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(text)
    with pytest.raises(CommandError) as refused:
        hardware.saved_nodes(str(path))
    assert words in str(refused.value)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that answers ``get KIND`` with the file KIND, or fails with the file KIND.err."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nodes").write_text(json.dumps(NODES))
    (folder / "llmdeployments.tacho.dev").write_text('{"items": []}')
    program = f"""for word; do
    if [ -f "{folder}/$word.err" ]; then cat "{folder}/$word.err" >&2; exit 1; fi
    if [ -f "{folder}/$word" ]; then cat "{folder}/$word"; exit 0; fi
done
"""
    return play_kubectl(folder, monkeypatch, program)


def test_a_cluster_is_asked_by_kubectl_with_the_persons_options(kubectl: Path) -> None:
    target = KubectlTarget(context="prod", kubeconfig="/k", namespace="ml")
    found = hardware.choose(spec(), gpu="", nodes_file="", target=target)
    assert found.nodes is not None
    assert found.source == "for 1 node of context prod"
    assert found.notes == ()
    for line in (kubectl / "asked").read_text().splitlines():
        assert line.startswith("--context=prod --kubeconfig=/k --namespace=ml --request-timeout=20s get ")


def test_without_the_right_to_list_nodes_the_catalog_plans(kubectl: Path) -> None:
    (kubectl / "nodes.err").write_text('Error from server (Forbidden): nodes is forbidden: User "u"')
    (kubectl / "llmdeployments.tacho.dev.err").write_text(
        'error: the server doesn\'t have a resource type "x"'
    )
    found = hardware.choose(spec(), gpu="", nodes_file="", target=KubectlTarget(namespace="ml"))
    assert found.nodes is None
    assert found.history == ()
    assert any("no permission to list nodes" in note for note in found.notes)
    assert any("earlier measurements are not used" in note for note in found.notes)


def test_a_cluster_that_cannot_be_asked_is_bad_input(kubectl: Path) -> None:
    (kubectl / "nodes.err").write_text('error: context "prod" does not exist')
    with pytest.raises(CommandError, match='context "prod" does not exist'):
        hardware.read_nodes(KubectlTarget(context="prod"))
    (kubectl / "nodes.err").unlink()
    (kubectl / "nodes").write_text("NAME STATUS")
    with pytest.raises(CommandError, match="did not print JSON"):
        hardware.read_nodes(KubectlTarget(context="prod"))


def test_without_kubectl_the_way_round_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match=r"plan with --nodes nodes\.json"):
        hardware.read_nodes(KubectlTarget(context="prod"))


def test_gpus_are_labelled_as_feature_discovery_would() -> None:
    table = "NVIDIA H200, 143771, 9.0\nNVIDIA H200, 143771, 9.0\nNVIDIA A100-SXM4-80GB, 81920, 8.0\n"
    assert gpu_labels(table) == {
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "nvidia.com/gpu.count": "2",
        "nvidia.com/gpu.memory": "143771",
        "nvidia.com/gpu.compute.major": "9",
        "nvidia.com/gpu.compute.minor": "0",
    }


@pytest.mark.parametrize("table", ["", "No devices were found", "NVIDIA T4, [N/A], 7.5", "a,b,c,d"])
def test_a_driver_that_shows_nothing_gives_no_labels(table: str) -> None:
    assert gpu_labels(table) == {}


def test_this_machine_counts_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_cli.inputs.this_machine._query_driver", lambda: "Tesla T4, 15360, 7.5\n" * 2)
    machine = this_machine()
    assert machine.allocatable["nvidia.com/gpu"] == "2"
    assert int(machine.allocatable["memory"]) > 0
