"""Small specs, nodes and facts for planner tests."""

from __future__ import annotations

from typing import Any

from tacho_contract.model import (
    Architecture,
    LayerGroup,
    ModelFacts,
    ModelFiles,
    StoredQuantization,
    TensorClass,
)
from tacho_contract.uri import HubUri
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.types import Config, NodeFacts

CONFIG = Config(tacho_image="tacho:test")


def spec(**fields: Any) -> LLMDeploymentSpec:
    """A spec from camelCase fields, as a manifest has them."""
    fields.setdefault("model", {"uri": "hf://owner/name"})
    return LLMDeploymentSpec.model_validate(fields)


def cpu_node(name: str = "cpu-1", memory: str = "8Gi", **fields: Any) -> NodeFacts:
    return NodeFacts(name=name, labels={}, allocatable={"cpu": "4", "memory": memory}, **fields)


def smollm2() -> ModelFacts:
    """SmolLM2-135M-Instruct Q4_1: 30 layers, 3 of 9 heads for keys and values, 64 wide."""
    return ModelFacts(
        uri=HubUri("owner/name"),
        files=ModelFiles(
            commit="c" * 40,
            digest="c" * 40,
            globs=("*Q4_1.gguf",),
            file_count=1,
            total_bytes=98362432,
            files_digest="f" * 64,
            model_file="smollm2-135m-instruct-q4_1.gguf",
        ),
        format="gguf",
        architecture=Architecture(
            name="llama",
            hidden_size=576,
            layers=30,
            attention_heads=9,
            key_value_heads=3,
            head_dim=64,
            intermediate_size=1536,
            vocabulary=49152,
            max_positions=8192,
            layer_groups=(
                LayerGroup(kind="full", layers=30, key_value_heads=3, key_head_dim=64, value_head_dim=64),
            ),
        ),
        quantization=StoredQuantization(method="gguf", bits=4, scheme="Q4_1"),
        tensors=(
            TensorClass(
                kind="linear", dtype="Q4_1", tensors=210, parameters=106168320, stored_bytes=66355200
            ),
            TensorClass(
                kind="embedding", dtype="Q8_0", tensors=1, parameters=28311552, stored_bytes=30081024
            ),
            TensorClass(kind="norm", dtype="F32", tensors=61, parameters=35136, stored_bytes=140544),
        ),
    )


def gpu_node(
    name: str,
    product: str,
    count: int = 1,
    *,
    memory_mib: int | None = None,
    compute: str = "",
    **labels: str,
) -> NodeFacts:
    """A node as GPU Feature Discovery labels it, tainted as clusters taint GPU nodes."""
    found = {"nvidia.com/gpu.product": product, **labels}
    if memory_mib is not None:
        found["nvidia.com/gpu.memory"] = str(memory_mib)
    if compute:
        found["nvidia.com/gpu.compute.major"], found["nvidia.com/gpu.compute.minor"] = compute.split(".")
    return NodeFacts(
        name=name,
        labels=found,
        allocatable={"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": str(count)},
        taints=({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},),
    )
