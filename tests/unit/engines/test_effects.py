"""What is accepted is done: a field changes what is started, measured or counted, or is refused by name."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from tacho_engines.registry import presets
from tests.unit.engines.rendering import Outcome, rendered
from tests.unit.planner.builders import cpu_node, gpu_node, smollm2

UNPARSED = dataclasses.replace(smollm2(), format="custom", architecture=None, tensors=())
COMMAND = ["serve", "$(TACHO_MODEL_PATH)", "$(TACHO_PORT)", "$(TACHO_MAX_MODEL_LEN)", "$(TACHO_CONCURRENCY)"]


def custom(**settings: Any) -> dict[str, Any]:
    return {
        "model": {"uri": "pvc://models/m"},
        "engine": {"name": "custom", "image": "registry.example/x:1", "custom": settings},
        "gpu": {"count": 4},
    }


BASES: dict[str, dict[str, Any]] = {
    "llamacpp": {
        "model": {"uri": "pvc://models/smollm2"},
        "engine": {"name": "llamacpp"},
        "quantization": {"method": "gguf"},
        "gpu": {"count": 0},
    },
    "a command": custom(command=COMMAND, port=8000),
    **{name: custom(preset=name) for name in presets()},
}
"""Everything that can be started without an engine's package, each as a person would write it."""

SET: dict[str, Any] = {
    "model.servedName": "other",
    "model.trustRemoteCode": True,
    "quantization.method": "fp8",
    "quantization.kvCacheDtype": "bfloat16",
    "quantization.bitsandbytes.doubleQuant": True,
    "quantization.bitsandbytes.computeDtype": "float16",
    "parallelism.tensor": 2,
    "parallelism.pipeline": 2,
    "context.maxModelLen": 1024,
    "context.concurrency": 3,
    "engine.image": "registry.example/other:2",
    "engine.extraArgs": ["--verbose"],
    "engine.env": [{"name": "A", "value": "b"}],
    "engine.resources": {"limits": {"memory": "3Gi"}},
    "gpu.resourceName": "example.com/gpu",
    "workload": {"inputTokens": 300, "outputTokens": 30},
    "probe": {"policy": "Always"},
    "startupTimeoutSeconds": 77,
    "replicas": 3,
    "podTemplate": {"spec": {"nodeSelector": {"pool": "x"}}},
}
"""A value that is not the usual one, for what may mean different things to different engines."""

NOTHING_TO_SAY = {("llamacpp", "gpu.resourceName")}
"""On the CPU there is no device whose name could matter."""


def outcome(spec: dict[str, Any]) -> Outcome:
    on_host = spec["gpu"]["count"] == 0
    nodes = (cpu_node(),) if on_host else (gpu_node("a", "NVIDIA-L4", count=4),)
    return rendered(spec, smollm2() if on_host else UNPARSED, nodes)


def with_field(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(base)
    *blocks, leaf = path.split(".")
    node = spec
    for block in blocks:
        node = node.setdefault(block, {})
    node[leaf] = copy.deepcopy(value)
    return spec


@pytest.mark.parametrize("path", SET)
@pytest.mark.parametrize("engine", BASES)
def test_a_field_has_an_effect_or_is_refused_by_name(engine: str, path: str) -> None:
    before, after = outcome(BASES[engine]), outcome(with_field(BASES[engine], path, SET[path]))
    assert before.refusals == ()
    if (engine, path) in NOTHING_TO_SAY:
        return
    if after.refusals:
        said = " ".join(after.refusals)
        assert any(word in said for word in path.split(".")[1:]), said
    else:
        assert after.parts != before.parts


@pytest.mark.parametrize(("path", "value"), [("model.trustRemoteCode", True), ("parallelism.tensor", 2)])
def test_llamacpp_refuses_what_it_has_no_switch_for(path: str, value: Any) -> None:
    said = " ".join(outcome(with_field(BASES["llamacpp"], path, value)).refusals)
    assert path in said


def test_llamacpp_is_told_the_cache_type_in_its_own_spelling() -> None:
    words = outcome(with_field(BASES["llamacpp"], "quantization.kvCacheDtype", "bfloat16")).parts["flag"]
    assert words[words.index("--cache-type-k") + 1] == words[words.index("--cache-type-v") + 1] == "bf16"
