"""``tacho plan`` from the command line to its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_operator.api.crd.schema import at, resource_schema
from tacho_operator.api.rules.structure import check
from tests.unit.cli.commands import call, manifest
from tools.mock.checkpoints import write_checkpoint
from tools.mock.ggufs import llama

PLAN_SCHEMA = at(resource_schema(()), "status.plan")
PREDICTED_SCHEMA = at(resource_schema(()), "status.plan.predicted")
SMALL = {"name": "llamacpp", "resources": {"limits": {"memory": "8Mi"}}}


@pytest.fixture
def claims(tmp_path: Path) -> str:
    llama(tmp_path / "smollm2" / "a.gguf")
    return f"models={tmp_path}"


def test_a_plan_has_the_shape_of_the_status(
    tmp_path: Path, claims: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = call(capsys, "plan", "-f", manifest(tmp_path), "--pvc", claims, "-o", "json")
    assert told.code == 0
    plan = json.loads(told.out)
    assert list(check(plan, PLAN_SCHEMA, "status.plan")) == []
    assert plan["engine"]["name"] == "llamacpp"
    assert plan["revision"].startswith("smollm2-")
    assert plan["predicted"]["totalBytes"] <= plan["predicted"]["budgetBytes"]
    again = call(capsys, "plan", "-f", manifest(tmp_path), "--pvc", claims, "-o", "yaml")
    assert yaml.safe_load(again.out) == plan


def test_a_name_is_printed_of_what_fits_alone(
    tmp_path: Path, claims: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--pvc", claims, "-o", "name")
    told = call(capsys, "plan", "-f", manifest(tmp_path), *given)
    assert (told.code, told.out) == (0, "llmdeployment.tacho.dev/smollm2\n")
    told = call(capsys, "plan", "-f", manifest(tmp_path, engine=SMALL), *given)
    assert (told.code, told.out) == (4, "")
    assert "tacho: DoesNotFit: " in told.err
    assert "\ntacho:   -> " in told.err


def test_what_does_not_fit_ends_with_4_and_says_what_would(
    tmp_path: Path, claims: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = manifest(tmp_path, engine=SMALL)
    told = call(capsys, "plan", "-f", file, "--pvc", claims, "-o", "json")
    assert told.code == 4
    document = json.loads(told.out)
    assert document["failure"]["class"] == "DoesNotFit"
    assert document["failure"]["message"]
    assert document["failure"]["nextStep"]
    assert isinstance(document["alternatives"], list)
    told = call(capsys, "plan", "-f", file, "--pvc", claims)
    assert told.code == 4
    assert told.out.startswith("smollm2: DoesNotFit, planned for this machine")
    assert f"-> {document['failure']['nextStep'][:40]}" in told.out


@pytest.mark.parametrize("output", ["json", "yaml", "table"])
def test_a_model_that_cannot_be_read_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    told = call(capsys, "plan", "-f", manifest(tmp_path), "--pvc", f"models={tmp_path}", "-o", output)
    assert told.code == 2
    assert "tacho: ModelNotFound: " in told.err
    printed: Any = yaml.safe_load(told.out)
    assert printed is None if output == "table" else printed["failure"]["class"] == "ModelNotFound"


def test_saved_nodes_are_planned_for(tmp_path: Path, claims: str, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = tmp_path / "nodes.yaml"
    node = {
        "kind": "Node",
        "metadata": {"name": "tiny"},
        "status": {
            "allocatable": {"memory": "8Mi"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    nodes.write_text(yaml.safe_dump({"kind": "List", "items": [node]}))
    file = manifest(tmp_path, engine={"name": "llamacpp"})
    told = call(capsys, "plan", "-f", file, "--pvc", claims, "--nodes", str(nodes), "-o", "json")
    assert told.code == 4
    assert "allocatable memory of node tiny" in json.loads(told.out)["failure"]["message"]


def test_the_table_is_plain_where_nobody_looks(
    tmp_path: Path, claims: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("tacho_cli.plan.hardware._described", lambda _: "2 CPUs, 8.00 GiB")
    told = call(capsys, "plan", "-f", manifest(tmp_path), "--pvc", claims)
    assert told.code == 0
    assert "\x1b" not in told.out
    assert told.out.splitlines()[0] == "smollm2: fits, planned for this machine (2 CPUs, 8.00 GiB)"
    assert "Memory of the host process (predicted)" in told.out


@pytest.fixture
def llama_8b(tmp_path: Path) -> list[str]:
    """16 GB of weights as holes behind real headers, for one GPU of the person's choice."""
    write_checkpoint(tmp_path / "claim/llama", "llama-3.1-8b")
    file = manifest(
        tmp_path,
        model={"uri": "pvc://claim/llama"},
        engine={"name": "vllm"},
        quantization={"method": "none"},
        gpu={"products": ["T4"], "count": 1},
        context={"maxModelLen": 8192, "concurrency": 4},
    )
    return ["plan", "-f", file, "--pvc", f"claim={tmp_path}/claim", "-o", "json"]


def test_a_gpu_is_planned_from_the_catalog(llama_8b: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = call(capsys, *llama_8b)
    assert told.code == 4, "16 GB of weights on 16 GB"
    refused = json.loads(told.out)
    assert refused["failure"]["class"] == "DoesNotFit"
    assert list(check(refused["predicted"], PREDICTED_SCHEMA, "predicted")) == []
    assert refused["predicted"]["weightsBytes"] > 15 * 10**9
    assert str(refused["predicted"]["budgetBytes"]) == refused["failure"]["details"]["availableBytes"]
    told = call(capsys, *llama_8b[:-2], "-o", "table")
    assert "Memory of the most loaded GPU (predicted)" in told.out
    told = call(capsys, *llama_8b, "--gpu", "H100")
    assert told.code == 0
    plan = json.loads(told.out)
    assert list(check(plan, PLAN_SCHEMA, "status.plan")) == []
    assert "H100" in plan["gpu"]["product"]
    assert plan["predicted"]["kvCacheTokens"] >= 4 * 8192
    told = call(capsys, *llama_8b, "--gpu", "A100-80GB:2")
    assert json.loads(told.out)["gpu"]["count"] == 2
    assert json.loads(told.out)["parallelism"]["tensor"] == 2


def test_another_gpu_of_the_cluster_is_named(
    tmp_path: Path, llama_8b: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def node(name: str, product: str, memory_mib: str, capability: str) -> dict[str, Any]:
        labels = {
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.memory": memory_mib,
            "nvidia.com/gpu.count": "1",
            "nvidia.com/gpu.compute.major": capability.partition(".")[0],
            "nvidia.com/gpu.compute.minor": capability.partition(".")[2],
        }
        status = {
            "allocatable": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}

    nodes = [node("a", "Tesla-T4", "15360", "7.5"), node("b", "NVIDIA-A100-SXM4-80GB", "81920", "8.0")]
    path = tmp_path / "nodes.json"
    path.write_text(json.dumps({"kind": "List", "items": nodes}))
    told = call(capsys, *llama_8b, "--nodes", str(path))
    assert told.code == 4
    assert "NVIDIA-A100-SXM4-80GB" in json.loads(told.out)["failure"]["nextStep"]
