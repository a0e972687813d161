"""What an engine or a checkpoint has decided is refused by its field where something else is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import host, placement
from tacho_contract.model import ModelFacts, StoredQuantization
from tacho_engines.base import EngineRefusal
from tacho_engines.registry import planner_adapter

LLAMA = "llama-3.1-8b"
HOST = host(2**37)


def refusal(
    engine: str, method: str, model: str | ModelFacts = LLAMA, device: Any = "L4", **asked: Any
) -> str:
    count = 0 if device is HOST else 1
    found = planner_adapter(engine).refusal(placement(engine, model, method, device, count=count, **asked))
    assert found is None or isinstance(found, EngineRefusal)
    return f"{found.message} {found.next_step}" if found else ""


def stored(*, double_quant: bool) -> ModelFacts:
    kept = StoredQuantization(method="bitsandbytes", bits=4, scheme="nf4", double_quant=double_quant)
    return dataclasses.replace(facts(LLAMA), quantization=kept)


def with_dtype(dtype: str) -> ModelFacts:
    found = facts(LLAMA)
    assert found.architecture is not None
    return dataclasses.replace(found, architecture=dataclasses.replace(found.architecture, dtype=dtype))


@pytest.mark.parametrize(
    ("engine", "method", "device", "kept"),
    [
        ("transformers", "none", "L4", "bfloat16"),
        ("transformers", "bnb-nf4", HOST, "bfloat16"),
        ("transformers", "none", "T4", "float16"),
        ("ctranslate2", "none", "L4", "bfloat16"),
        ("ctranslate2", "none", "T4", "float16"),
        ("ctranslate2", "none", HOST, "float32"),
        ("ctranslate2", "ct2-int8", "L4", "float32"),
        ("ctranslate2", "ct2-int8-float16", "L4", "float16"),
        ("vllm", "none", HOST, "bfloat16"),
    ],
)
def test_a_cache_of_another_type_than_the_engine_keeps_is_refused(
    engine: str, method: str, device: Any, kept: str
) -> None:
    for kind in ("bfloat16", "fp8", "q8_0"):
        said = refusal(engine, method, device=device, kv_cache_dtype=kind)
        if kind == kept:
            assert said == ""
        else:
            assert said.endswith("Remove quantization.kvCacheDtype") or "has no KV cache of type" in said
            assert f"{kind}" in said


def test_a_model_in_half_precision_has_no_cache_in_bfloat16() -> None:
    half = with_dtype("float16")
    assert "keeps its KV cache in float16" in refusal("transformers", "none", half, kv_cache_dtype="bfloat16")
    assert "keeps its KV cache in float16" in refusal("vllm", "none", half, HOST, kv_cache_dtype="bfloat16")


def test_a_gpu_without_bfloat16_has_no_cache_of_it() -> None:
    assert "T4 has 7.5" in refusal("vllm", "none", device="T4", kv_cache_dtype="bfloat16")
    assert refusal("vllm", "none", kv_cache_dtype="bfloat16") == ""


@pytest.mark.parametrize(
    ("engine", "asked", "refused"),
    [
        ("vllm", {"double_quant": True}, ""),
        ("vllm", {"double_quant": False}, "quantization.bitsandbytes.doubleQuant false has no effect"),
        ("vllm", {"compute_dtype": "bfloat16"}, ""),
        (
            "vllm",
            {"compute_dtype": "float16"},
            "quantization.bitsandbytes.computeDtype float16 has no effect",
        ),
        (
            "vllm",
            {"compute_dtype": "float32"},
            "quantization.bitsandbytes.computeDtype float32 has no effect",
        ),
        ("transformers", {"double_quant": False}, ""),
        ("transformers", {"compute_dtype": "float32"}, ""),
    ],
)
def test_vllm_quantizes_in_one_way_only(engine: str, asked: dict[str, Any], refused: str) -> None:
    said = refusal(engine, "bnb-nf4", **asked)
    assert said.startswith(refused)
    assert bool(said) == bool(refused)


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
@pytest.mark.parametrize("doubled", [True, False])
def test_a_checkpoint_has_decided_its_double_quantization(engine: str, doubled: bool) -> None:
    checkpoint = stored(double_quant=doubled)
    assert refusal(engine, "bnb-nf4", checkpoint, double_quant=doubled) == ""
    assert "the checkpoint is already quantized" in refusal(
        engine, "bnb-nf4", checkpoint, double_quant=not doubled
    )


def test_a_checkpoint_names_itself_what_transformers_computes_in() -> None:
    said = refusal("transformers", "bnb-nf4", stored(double_quant=True), compute_dtype="float16")
    assert "quantization.bitsandbytes.computeDtype float16 has no effect" in said
