"""GGUF files in vLLM: what its plugin needs beside the file, and what it keeps in memory."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from tacho_contract.model import InspectConfig, ModelFacts, StoredQuantization, TensorClass
from tacho_contract.units import GIB
from tacho_contract.uri import FileUri
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_runtime.hub.inspect import inspect
from tests.unit.hub.test_gguf import smollm2 as gguf_file
from tools.mock.specs import CONFIG, gpu_node, smollm2, spec

H200 = gpu_node("h200", "NVIDIA-H200", 1, memory_mib=143771, compute="9.0")
LLAMA = facts("llama-3.1-8b")
BLOCK_BITS, VOCABULARY, HIDDEN = 4.5, 49152, 4096


def llama_in_q4_0() -> ModelFacts:
    """benchmarks.llamacpp.random_gguf's llama-3.1-8b: Q4_0 but for the norms, 49,152 tokens."""
    assert LLAMA.architecture
    linear = 32 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * 1024 + 3 * HIDDEN * 14336)
    sizes = {"linear": linear, "embedding": VOCABULARY * HIDDEN, "lm_head": VOCABULARY * HIDDEN}
    tensors = [
        TensorClass(
            kind=kind, dtype="Q4_0", tensors=1, parameters=size, stored_bytes=int(size * BLOCK_BITS / 8)
        )
        for kind, size in sizes.items()
    ]
    norms = TensorClass(
        kind="norm", dtype="F32", tensors=65, parameters=65 * HIDDEN, stored_bytes=65 * HIDDEN * 4
    )
    return dataclasses.replace(
        LLAMA,
        format="gguf",
        architecture=dataclasses.replace(LLAMA.architecture, name="llama"),
        quantization=StoredQuantization(method="gguf", bits=4, scheme="Q4_0"),
        tensors=(*tensors, norms),
        gguf_companions=True,
    )


def plan(
    model: ModelFacts, *, engine: str | None = "vllm", **engine_fields: object
) -> ModelPlan | PlanFailure:
    named = {"engine": {"name": engine, **engine_fields}} if engine else {}
    asked = spec(gpu={"products": ["H200"], "count": 1}, context={"maxModelLen": 4096}, **named)
    return plan_model(asked, model, nodes=(H200,), history=(), config=CONFIG)


def test_merged_tensors_are_in_memory_twice() -> None:
    """On an H200 vLLM 0.26 loaded 6.38 GiB of this model, whose file has 3.87."""
    model = llama_in_q4_0()
    assert sum(tensors.stored_bytes for tensors in model.tensors) / GIB == pytest.approx(3.87, abs=0.005)
    found = plan(model)
    assert isinstance(found, ModelPlan)
    assert found.predicted.weights_bytes / GIB == pytest.approx(6.38, rel=0.005)


def test_unquantized_tensors_of_a_gguf_file_are_in_memory_once() -> None:
    model = llama_in_q4_0()
    stored = dataclasses.replace(model.quantization, bits=16, scheme="F16")
    found = plan(dataclasses.replace(model, quantization=stored))
    assert isinstance(found, ModelPlan)
    assert found.predicted.weights_bytes / GIB == pytest.approx(3.87, abs=0.06)


def test_without_config_json_llamacpp_takes_it() -> None:
    bare = dataclasses.replace(smollm2(), gguf_companions=False)
    refused = plan(bare)
    assert isinstance(refused, PlanFailure)
    assert refused.failure.failure_class == "ModelInvalid"
    assert "config.json" in refused.failure.message
    assert "llamacpp" in (refused.failure.next_step or "")
    found = plan(bare, engine=None)
    assert isinstance(found, ModelPlan)
    assert found.engine == "llamacpp"


@pytest.mark.parametrize(
    "fields",
    [
        {"extraArgs": ["--hf-config-path=/models/of", "--tokenizer=/models/of"]},
        {"image": "vllm/vllm-openai:v0.23.0"},
    ],
)
def test_a_configuration_elsewhere_or_a_vllm_that_needs_none_is_not_refused(
    fields: dict[str, object],
) -> None:
    assert isinstance(plan(dataclasses.replace(smollm2(), gguf_companions=False), **fields), ModelPlan)


def test_what_was_not_looked_for_is_not_refused() -> None:
    assert isinstance(plan(dataclasses.replace(smollm2(), gguf_companions=None)), ModelPlan)


@pytest.mark.parametrize(
    ("files", "found_there"),
    [
        ((), False),
        (("config.json",), False),
        (("tokenizer.json",), False),
        (("config.json", "tokenizer.json"), True),
    ],
)
def test_inspection_looks_beside_the_file(files: tuple[str, ...], found_there: bool, tmp_path) -> None:
    (tmp_path / "m.gguf").symlink_to(gguf_file())
    for name in files:
        (tmp_path / name).write_text("{}")
    found = inspect(InspectConfig(uri=FileUri(f"{tmp_path}"), engine="vllm")).facts
    assert found is not None
    assert found.gguf_companions is found_there


def test_a_file_that_is_named_alone_is_not_looked_around(tmp_path) -> None:
    found = inspect(InspectConfig(uri=FileUri(f"{gguf_file()}"), engine="vllm")).facts
    assert found is not None
    assert found.gguf_companions is None
