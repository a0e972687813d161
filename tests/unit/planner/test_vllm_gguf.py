"""GGUF files in vLLM: what its plugin needs beside the file, and what it keeps in memory."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.gpu.pages.recorded import ROOT, resource
from benchmarks.planner import gguf
from benchmarks.planner.models import LLAMA_IN_Q4_0, facts
from benchmarks.planner.speed import SPEED
from tacho_contract.model import InspectConfig, ModelFacts
from tacho_contract.units import GIB
from tacho_contract.uri import FileUri
from tacho_operator.core.planner.expected_speed import timing
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_runtime.hub.inspect import inspect
from tools.engines import gguf_model as gguf_file
from tools.mock.specs import CONFIG, gpu_node, smollm2, spec

H200 = gpu_node("h200", "NVIDIA-H200", 1, memory_mib=143771, compute="9.0")
POD = resource(ROOT / "benchmarks/gpu/h100/pods/llama-8b-gguf/resource.yaml")["status"]["measurements"][0]


def plan(
    model: ModelFacts, *, engine: str | None = "vllm", **engine_fields: object
) -> ModelPlan | PlanFailure:
    named = {"engine": {"name": engine, **engine_fields}} if engine else {}
    asked = spec(gpu={"products": ["H200"], "count": 1}, context={"maxModelLen": 4096}, **named)
    return plan_model(asked, model, nodes=(H200,), history=(), config=CONFIG)


def test_merged_tensors_are_in_memory_twice() -> None:
    """On an H200 vLLM 0.26 loaded 6.38 GiB of this model, whose file has 3.87."""
    model = facts(LLAMA_IN_Q4_0)
    assert sum(tensors.stored_bytes for tensors in model.tensors) / GIB == pytest.approx(3.87, abs=0.005)
    found = plan(model)
    assert isinstance(found, ModelPlan)
    assert found.predicted.weights_bytes / GIB == pytest.approx(6.38, rel=0.005)


def test_a_step_reads_each_tensor_once() -> None:
    found = plan(facts(LLAMA_IN_Q4_0))
    assert isinstance(found, ModelPlan)
    assert gguf.step("0.26.0").step_weights_bytes(1) / GIB == pytest.approx(3.79, abs=0.01)


@pytest.mark.parametrize("level", POD["curve"], ids=lambda level: level["concurrency"])
def test_what_a_pod_gave_is_expected(level: dict[str, str]) -> None:
    """On an H100 with vLLM 0.26, whose PyTorch lacks what the plugin's CUDA extension asks for."""
    found = gguf.loop("0.26.0").tokens_per_second(int(level["concurrency"]))
    assert found == pytest.approx(float(level["outputTokensPerSecond"]), rel=0.1)


@pytest.mark.parametrize("version", gguf.WAYS)
def test_the_law_says_what_the_products_take(version: str) -> None:
    step = gguf.step(version)
    kernel = timing(SPEED, step.placement)[1]
    for tokens, seconds in gguf.timed(version).items():
        assert gguf.products_seconds(step, tokens, kernel) == pytest.approx(seconds, rel=0.14), tokens
    found = gguf.fitted(version, kernel)
    for name in ("unpacking", "batch_unpacking", "arithmetic"):
        assert getattr(found, name) == pytest.approx(getattr(kernel, name), rel=0.01), name


@pytest.mark.parametrize(
    ("version", "kernels"),
    [("0.23.0", "CUDA"), ("0.24.0", "Triton"), ("0.26.1", "Triton"), ("0.27.0", "CUDA"), ("", "CUDA")],
)
def test_the_kernels_are_those_of_the_version(version: str, kernels: str) -> None:
    assert kernels in timing(SPEED, gguf.step(version).placement)[1].ran


def test_a_plan_says_what_it_is_based_on() -> None:
    found = plan(facts(LLAMA_IN_Q4_0), image="docker.io/local/tacho-vllm:v0.26.0")
    assert isinstance(found, ModelPlan)
    said = "an 8B in Q4_0 on an H100; NVIDIA-H200 was not measured"
    assert said in found.message
    assert found.predicted.decode_within_percent == 100


def test_unquantized_tensors_of_a_gguf_file_are_in_memory_once() -> None:
    model = facts(LLAMA_IN_Q4_0)
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
