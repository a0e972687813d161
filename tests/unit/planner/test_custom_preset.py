"""A preset from the resource to the pod: image, command, health path, and what the user sets besides."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_operator.core.revisions.identity import identity_hash
from tests.unit.engines.rendering import Outcome, rendered
from tools.harness.resources import resource
from tools.mock.specs import gpu_node, smollm2

SPEC: dict[str, Any] = {
    "model": {"uri": "pvc://models/mistral"},
    "engine": {"name": "custom", "custom": {"preset": "sglang"}},
    "gpu": {"count": 2},
    "context": {"maxModelLen": 4096, "concurrency": 8},
}
UNPARSED = dataclasses.replace(smollm2(), format="custom", architecture=None, tensors=())


def outcome(spec: dict[str, Any]) -> Outcome:
    return rendered(spec, UNPARSED, (gpu_node("a", "NVIDIA-L4", count=2),))


def test_the_pod_runs_the_presets_command_in_its_image() -> None:
    found = outcome(SPEC)
    assert found.plan is not None, found.refusals
    (engine,) = found.parts["manifest"]["spec"]["containers"]
    assert engine["image"] == found.plan.image == "lmsysorg/sglang:v0.5.23"
    assert (found.plan.engine, found.plan.engine_version) == ("custom", "0.5.23")
    words = found.parts["flag"]
    assert words[:3] == ("python3", "-m", "sglang.launch_server")
    for switch, value in {
        "--model-path": "/models/mistral",
        "--served-model-name": "smol",
        "--host": "0.0.0.0",
        "--port": "8000",
        "--context-length": "4096",
        "--max-running-requests": "8",
        "--tensor-parallel-size": "2",
    }.items():
        assert words[words.index(switch) + 1] == value


def test_port_path_interpreter_image_and_arguments_are_the_users_where_set() -> None:
    custom = {"preset": "trtllm", "port": 9000, "healthPath": "/up", "python": "/opt/python"}
    engine = {
        "name": "custom",
        "image": "registry.example/trtllm:1",
        "custom": custom,
        "extraArgs": ["--enable-tracing"],
    }
    found = outcome({**SPEC, "engine": engine})
    assert found.config is not None, found.refusals
    assert found.config.custom is not None
    assert found.config.custom.health_path == "/up"
    (container,) = found.parts["manifest"]["spec"]["containers"]
    assert container["command"][0] == "/opt/python"
    assert container["ports"][0]["containerPort"] == 9000
    assert "9000" in found.parts["flag"]
    assert found.parts["flag"][-1] == "--enable-tracing"


def test_the_health_path_is_the_presets_where_nobody_says_another() -> None:
    engine = {"name": "custom", "image": "registry.example/trtllm:1", "custom": {"preset": "trtllm"}}
    found = outcome({**SPEC, "engine": engine})
    assert found.config is not None
    assert found.config.custom is not None
    assert found.config.custom.health_path == "/health"


@pytest.mark.parametrize("custom", [{"healthPath": "/health"}, {"python": "python3"}], ids=str)
def test_saying_what_is_usual_elsewhere_is_not_what_the_preset_means(custom: dict[str, str]) -> None:
    said = {**SPEC, "engine": {"name": "custom", "image": "x", "custom": {"preset": "trtllm", **custom}}}
    left = {**SPEC, "engine": {"name": "custom", "image": "x", "custom": {"preset": "trtllm"}}}
    assert identity_hash(resource(said).spec, "smol") != identity_hash(resource(left).spec, "smol")


def test_a_command_gets_what_it_refers_to() -> None:
    command = [
        "serve",
        "$(TACHO_QUANTIZATION)",
        "$(TACHO_KV_CACHE_DTYPE)",
        "$(TACHO_TENSOR_PARALLEL)x$(TACHO_PIPELINE_PARALLEL)",
    ]
    engine = {"name": "custom", "image": "x", "custom": {"command": command, "port": 8000}}
    quantization = {"method": "fp8", "kvCacheDtype": "fp8"}
    assert outcome({**SPEC, "engine": engine}).parts["flag"] == ("serve", "none", "auto", "2x1")
    found = outcome({**SPEC, "engine": engine, "quantization": quantization, "parallelism": {"pipeline": 2}})
    assert found.parts["flag"] == ("serve", "fp8", "fp8", "1x2")
