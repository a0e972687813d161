"""What is accepted is done: a field changes what is started, measured or counted, or is refused by name."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from benchmarks.planner import models
from tacho_engines.registry import presets
from tests.unit.api.leaves import LEAVES
from tests.unit.engines.rendering import Outcome, rendered
from tools.mock.specs import cpu_node, gpu_node, smollm2

UNPARSED = dataclasses.replace(smollm2(), format="custom", architecture=None, tensors=())
QWEN = models.facts("qwen2.5-0.5b")
COMMAND = ["serve", "$(TACHO_MODEL_PATH)", "$(TACHO_PORT)", "$(TACHO_MAX_MODEL_LEN)", "$(TACHO_CONCURRENCY)"]


def custom(**settings: Any) -> dict[str, Any]:
    return {
        "model": {"uri": "pvc://models/m"},
        "engine": {"name": "custom", "image": "registry.example/x:1", "custom": settings},
        "gpu": {"count": 4},
    }


def of(engine: str, method: str, gpus: int) -> dict[str, Any]:
    return {
        "model": {"uri": "pvc://models/m"},
        "engine": {"name": engine},
        "quantization": {"method": method},
        "gpu": {"count": gpus},
        "context": {"maxModelLen": 2048, "concurrency": 2},
    }


BASES: dict[str, dict[str, Any]] = {
    "llamacpp": of("llamacpp", "gguf", 2),
    "llamacpp on the host": of("llamacpp", "gguf", 0),
    "vllm": of("vllm", "none", 4),
    "vllm on the host": of("vllm", "none", 0),
    "vllm with nf4": of("vllm", "bnb-nf4", 1),
    "transformers": of("transformers", "none", 1),
    "transformers with nf4": of("transformers", "bnb-nf4", 0),
    "transformers with int8": of("transformers", "bnb-int8", 1),
    "ctranslate2": of("ctranslate2", "none", 1),
    "ctranslate2 on the host": of("ctranslate2", "ct2-int8", 0),
    "a command": custom(command=COMMAND, port=8000),
    **{name: custom(preset=name) for name in presets()},
}
"""Every engine, each as a person would write it, on both kinds of device where it runs on both."""

VALUES: tuple[tuple[str, Any], ...] = (
    ("model.uri", "pvc://models/other"),
    ("model.servedName", "other"),
    ("model.revision", "main"),
    ("model.hub", {"endpoint": "https://hub.example"}),
    ("model.tokenSecretRef", {"name": "hub", "key": "token"}),
    ("model.verification", "Full"),
    ("model.trustRemoteCode", True),
    ("quantization.method", "fp8"),
    ("quantization.method", "awq"),
    ("quantization.method", "bnb-fp4"),
    ("quantization.method", "ct2-int8-float16"),
    ("quantization.kvCacheDtype", "bfloat16"),
    ("quantization.kvCacheDtype", "fp8"),
    ("quantization.kvCacheDtype", "q8_0"),
    ("quantization.bitsandbytes.doubleQuant", True),
    ("quantization.bitsandbytes.doubleQuant", False),
    ("quantization.bitsandbytes.computeDtype", "bfloat16"),
    ("quantization.bitsandbytes.computeDtype", "float16"),
    ("quantization.bitsandbytes.computeDtype", "float32"),
    ("parallelism.tensor", 2),
    ("parallelism.pipeline", 2),
    ("parallelism.pipeline", 4),
    ("context.maxModelLen", 1024),
    ("context.concurrency", 3),
    ("engine.image", "registry.example/other:2"),
    ("engine.extraArgs", ["--verbose"]),
    ("engine.env", [{"name": "A", "value": "b"}]),
    ("engine.resources", {"limits": {"memory": "30Gi"}}),
    ("engine.resources", {"requests": {"cpu": "3"}}),
    ("engine.custom.healthPath", "/other"),
    ("engine.custom.port", 9001),
    ("engine.custom.python", "/opt/python3"),
    ("engine.volumeMounts", [{"name": "scratch", "mountPath": "/scratch"}]),
    ("gpu.products", ["NVIDIA-L40S"]),
    ("cache", {"persistentVolumeClaim": {"claimName": "kept"}}),
    ("endpoint", {"allowedNamespaces": ["web"]}),
    ("slo", {"ttftMilliseconds": 500, "tpotMilliseconds": 50, "percentile": 95}),
    ("autoscaling", {"minReplicas": 2, "maxReplicas": 3}),
    ("cost", {"pricePerGPUHour": "1.20", "currency": "USD"}),
    ("rollout", {"scheduleTimeoutSeconds": 60}),
    ("gpu.count", 3),
    ("gpu.resourceName", "example.com/gpu"),
    ("gpu.scheduleTimeoutSeconds", 60),
    ("workload", {"inputTokens": 300, "outputTokens": 30}),
    ("probe", {"policy": "Always"}),
    ("startupTimeoutSeconds", 77),
    ("replicas", 3),
    ("podTemplate", {"spec": {"nodeSelector": {"pool": "x"}}}),
)
"""Values that are not the usual ones, for what may mean different things to different engines."""

SAID_BEFORE = {"engine.name", "engine.custom.preset", "engine.custom.command", "model.files"}
"""What makes the engines of this table, and what selects the files that are known when a plan is made."""

SAYS_WHAT_IS = {
    ("llamacpp", "parallelism.pipeline", 2),
    ("vllm", "parallelism.pipeline", 2),
    ("vllm with nf4", "quantization.bitsandbytes.doubleQuant", True),
    ("vllm with nf4", "quantization.bitsandbytes.computeDtype", "bfloat16"),
    ("transformers", "quantization.kvCacheDtype", "bfloat16"),
    ("transformers with nf4", "quantization.kvCacheDtype", "bfloat16"),
    ("transformers with nf4", "quantization.bitsandbytes.doubleQuant", True),
    ("transformers with nf4", "quantization.bitsandbytes.computeDtype", "bfloat16"),
    ("transformers with int8", "quantization.kvCacheDtype", "bfloat16"),
    ("transformers with int8", "quantization.bitsandbytes.doubleQuant", False),
    ("ctranslate2", "quantization.kvCacheDtype", "bfloat16"),
}
"""What is done without being asked for: another value of the same field is refused or has an effect."""


def anything_to_say(engine: str, path: str) -> bool:
    """On the host there is no device whose name could matter."""
    return path != "gpu.resourceName" or BASES[engine]["gpu"]["count"] > 0


def outcome(engine: str, spec: dict[str, Any]) -> Outcome:
    known = {"llamacpp": smollm2(), "custom": UNPARSED}
    nodes = [cpu_node(memory="64Gi")]
    for name, resource in (("a", "nvidia.com/gpu"), ("b", "example.com/gpu")):
        node = gpu_node(name, "NVIDIA-L4", pool="x")
        nodes.append(dataclasses.replace(node, allocatable={**node.allocatable, resource: "4"}))
    return rendered(spec, known.get(BASES[engine]["engine"]["name"], QWEN), tuple(nodes))


def with_field(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(base)
    *blocks, leaf = path.split(".")
    node = spec
    for block in blocks:
        node = node.setdefault(block, {})
    node[leaf] = copy.deepcopy(value)
    return spec


@pytest.mark.parametrize(("path", "value"), VALUES, ids=[f"{path}={value}" for path, value in VALUES])
@pytest.mark.parametrize("engine", BASES)
def test_a_field_has_an_effect_or_is_refused_by_name(engine: str, path: str, value: Any) -> None:
    asked = with_field(BASES[engine], path, value)
    before, after = outcome(engine, BASES[engine]), outcome(engine, asked)
    assert before.refusals == ()
    if after.refusals:
        said = " ".join(after.refusals)
        assert any(word in said for word in path.split(".")[1:] or [path]), said
    else:
        same = (engine, path, str(value)) in {(*key[:2], str(key[2])) for key in SAYS_WHAT_IS}
        assert (after.parts == before.parts) == (same or not anything_to_say(engine, path))


@pytest.mark.parametrize(("engine", "path", "value"), sorted(SAYS_WHAT_IS, key=repr))
def test_another_value_than_what_is_done_is_not_the_same(engine: str, path: str, value: Any) -> None:
    others = [other for field, other in VALUES if field == path and other != value]
    before = outcome(engine, BASES[engine])
    found = [outcome(engine, with_field(BASES[engine], path, other)) for other in others]
    assert found
    assert all(after.refusals or after.parts != before.parts for after in found)


def test_every_field_is_in_the_table() -> None:
    tried = {path for path, _ in VALUES} | SAID_BEFORE
    assert [
        leaf
        for leaf in LEAVES
        if not any(leaf == path or leaf.startswith((f"{path}.", f"{path}[")) for path in tried)
    ] == []
    assert set(LEAVES) >= SAID_BEFORE


@pytest.mark.parametrize("engine", BASES)
def test_no_engine_runs_a_models_code_without_trust(engine: str) -> None:
    """Whoever writes to a shared cache may put Python files beside the weights."""
    trusted = outcome(engine, with_field(BASES[engine], "model.trustRemoteCode", True))
    parts = outcome(engine, BASES[engine]).parts
    assert "trust" not in str(parts).lower()
    assert trusted.refusals or "trust" in str(trusted.parts).lower()


@pytest.mark.parametrize(("path", "value"), [("model.trustRemoteCode", True), ("parallelism.tensor", 2)])
def test_llamacpp_refuses_what_it_has_no_switch_for(path: str, value: Any) -> None:
    on_host = "llamacpp on the host"
    said = " ".join(outcome(on_host, with_field(BASES[on_host], path, value)).refusals)
    assert path in said


def test_llamacpp_is_told_the_cache_type_in_its_own_spelling() -> None:
    asked = with_field(BASES["llamacpp"], "quantization.kvCacheDtype", "bfloat16")
    words = outcome("llamacpp", asked).parts["flag"]
    assert words[words.index("--cache-type-k") + 1] == words[words.index("--cache-type-v") + 1] == "bf16"
