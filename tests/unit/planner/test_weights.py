"""Weights against published checkpoint sizes, and against what articles and engines printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import gpu, host, placement
from tacho_contract.model import TensorClass
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.ctranslate2 import memory as ctranslate2
from tacho_engines.memory import weights
from tacho_engines.memory.weights import NF4_BITS, NF4_DOUBLE_QUANT_BITS
from tacho_engines.transformers import memory as transformers
from tacho_engines.vllm import weights as vllm
from tacho_engines.vllm.settings import planned_settings

PUBLISHED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "published_sizes.json").read_text(encoding="utf-8")
)
DRAFT_LAYERS = {"deepseek-v3": 0.0225}
"""Share of the checkpoint that is a layer for speculative decoding, which is not loaded."""


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["model"])
def test_weights_are_within_one_percent_of_the_published_checkpoint(row):
    found = facts(row["model"])
    stored = sum(t.stored_bytes for t in found.tensors)
    assert stored == pytest.approx(row["bytes"], rel=0.01)
    resident = weights.parts(found).total + DRAFT_LAYERS.get(row["model"], 0.0) * stored
    assert resident == pytest.approx(row["bytes"], rel=0.01)
    assert row["source"].count("https://huggingface.co/") == 1


def test_the_list_covers_the_families_and_methods_people_use():
    names = {row["model"] for row in PUBLISHED}
    families = (
        "llama-2",
        "llama-3.1",
        "mistral",
        "mixtral",
        "phi",
        "octocoder",
        "qwen2.5",
        "qwen3",
        "gemma-2",
    )
    families += ("gemma-3", "deepseek", "gpt-oss")
    assert all(any(name.startswith(family) for name in names) for family in families)
    assert {row["method"] for row in PUBLISHED} >= {"none", "awq", "gptq", "fp8", "mxfp4"}


@pytest.mark.parametrize(
    ("method", "double_quant", "compute_bytes", "peak_gib"),
    [("none", False, 2, 29.0), ("bnb-int8", False, 2, 15.2), ("bnb-fp4", False, 4, 9.5)],
)
def test_the_articles_memory_table_of_octocoder(method, double_quant, compute_bytes, peak_gib):
    """Hugging Face, "Optimizing your LLM in production" (2023).

    torch.cuda.max_memory_allocated of one short prompt, divided by 1024 three times. load_in_4bit was FP4
    computing in float32 without double quantization.
    """
    found = facts("octocoder")
    peak = transformers.loaded(found, method, double_quant).total
    peak += transformers.expanded_bytes(found.architecture, method, compute_bytes)
    assert peak / GIB == pytest.approx(peak_gib, rel=0.015)


def test_a_7b_model_does_not_fit_a_t4_in_16_bits_and_does_in_4():
    """The article "Deploying Large Language Models: vLLM and Quantization" (2024)."""
    t4 = int(14.56 * GIB)

    def needed(method: str) -> int:
        asked = placement("transformers", "mistral-7b-v0.2", method, "T4", double_quant=True)
        return transformers.account(asked, Context(4096, 1)).needed_bytes(1)

    assert needed("none") > t4
    assert needed("bnb-int8") < t4
    assert needed("bnb-nf4") < needed("bnb-int8")


def test_double_quantization_saves_what_the_paper_says():
    """QLoRA (arXiv:2305.14314): 0.37 bits a parameter."""
    assert pytest.approx(0.373, abs=0.003) == NF4_BITS - NF4_DOUBLE_QUANT_BITS


def test_quantization_in_flight_leaves_embedding_and_head_alone():
    found = facts("llama-3.1-8b")
    dense, packed = weights.parts(found), weights.parts(found, linear_bits=4.5)
    assert (packed.embedding, packed.head) == (dense.embedding, dense.head)
    assert packed.split == pytest.approx(dense.split * 4.5 / 16)


def test_what_bitsandbytes_skipped_in_a_checkpoint_stays_as_stored():
    """Unsloth's dynamic checkpoints have projections in 16 bits, those of images their whole tower."""
    found = facts("llama-3.1-8b-bnb-nf4")
    more = [TensorClass(kind=kind, dtype="BF16", tensors=1, parameters=GIB // 2, stored_bytes=GIB)
            for kind in ("linear", "vision")]  # fmt: skip
    both = dataclasses.replace(found, tensors=(*found.tensors, *more))
    (one, two) = (placement("vllm", each, "bnb-nf4", "NVIDIA-H200") for each in (found, both))
    settings = planned_settings(one, Context(4096, 8))
    extra = vllm.weights_bytes(two, settings) - vllm.weights_bytes(one, settings)
    assert extra == pytest.approx(2 * GIB, rel=0.01)


def test_each_tensor_class_is_read_a_fixed_number_of_times():
    """Hundreds of classes of scales took time by their square."""
    reads = 0

    class Counted(tuple):
        def __iter__(self):
            nonlocal reads
            reads += 1
            return super().__iter__()

    scales = (TensorClass(kind="scale", dtype="F16", tensors=1, parameters=1, stored_bytes=2),) * 500
    found = weights.parts(dataclasses.replace(facts("llama-2-7b"), tensors=Counted(scales)))
    assert (found.split, reads) == (1000.0, 2)


def test_ctranslate2_quantizes_embeddings_too():
    def of(method, device="L4"):
        return ctranslate2.weights_bytes(placement("ctranslate2", "llama-2-7b", method, device))

    assert of("ct2-int8-float16") == pytest.approx(6_738_415_616, rel=0.002)
    assert of("none") == 13476831232
    assert of("none", host()) == 2 * of("none")  # a CPU computes in 32 bits


def test_the_most_loaded_of_several_gpus_has_its_share_and_what_every_gpu_has():
    found = facts("llama-3.1-70b")
    parts = weights.parts(found)
    alone = weights.per_gpu(parts, found.architecture, tensor=1, pipeline=1)
    assert alone == pytest.approx(parts.total)
    for tensor in (2, 4, 8):
        share = weights.per_gpu(parts, found.architecture, tensor=tensor, pipeline=1)
        assert parts.total / tensor <= share < parts.total / tensor * 1.01
    staged = weights.per_gpu(parts, found.architecture, tensor=1, pipeline=2)
    assert parts.total / 2 <= staged < parts.total * 0.53


def test_projections_to_a_latent_are_whole_on_every_gpu():
    """Of DeepSeek V3: 7168 x (1536 + 512 + 64) of each layer, a byte each (vLLM deepseek_v2.py)."""
    found = facts("deepseek-v3")
    latent = 61 * 7168 * (1536 + 576)
    whole = weights.parts(found)
    assert sum(t.stored_bytes for t in found.tensors if t.kind == "latent") == latent
    eight = weights.per_gpu(whole, found.architecture, tensor=8, pipeline=1)
    split = dataclasses.replace(whole, split=whole.split + latent, replicated=whole.replicated - latent)
    assert eight - weights.per_gpu(split, found.architecture, tensor=8, pipeline=1) == latent * 7 // 8


def test_key_value_heads_are_replicated_once_gpus_outnumber_them():
    found = facts("qwen2.5-7b")  # 4 of 28 heads
    parts = weights.parts(found)
    four = weights.per_gpu(parts, found.architecture, tensor=4, pipeline=1) * 4
    seven = weights.per_gpu(parts, found.architecture, tensor=7, pipeline=1) * 7
    assert seven > four


def test_the_vocabulary_is_padded_for_each_gpu():
    found = facts("llama-2-7b")
    assert found.architecture is not None
    odd = type(found.architecture)(**{**_fields(found.architecture), "vocabulary": 32001})
    assert weights.per_gpu(weights.Parts(), odd, tensor=8, pipeline=1) == 2 * 4096 * (32256 - 32001) // 8


@pytest.mark.parametrize(
    ("version", "capability", "factor"),
    [
        ("0.26.0", (8, 0), 2944 * 3072),
        ("0.26.0", (8, 9), 2944 * 3072),
        ("0.26.0", (9, 0), 1.00353 * 2880**2),  # scales in 5888 and 3072 rows of 92 groups
        ("0.26.0", (10, 0), 3072 * 3072),
        ("0.32.0", (10, 3), 3072 * 3072),
        ("0.26.0", (11, 0), 2944 * 3072),
        ("0.26.0", (12, 0), 2944 * 3072),
        ("0.12.0", (9, 0), 2880 * 3072),
        ("0.12.0", (10, 0), 3072 * 3072),
        ("0.11.0", (10, 0), 3072 * 3072),
    ],
)
def test_mxfp4_experts_are_padded_as_the_kernel_of_the_gpu_wants_it(version, capability, factor):
    """gpt-oss: both sizes are 2880."""
    device = dataclasses.replace(gpu("H100"), capability=capability)
    found = facts("gpt-oss-20b")
    dense = weights.parts(found)
    asked = placement("vllm", found, "none", device, version=version)
    rest = dense.total - dense.experts + weights.rotary_bytes(found.architecture, 4096)
    settings = planned_settings(asked, Context(4096, 1))
    settings = dataclasses.replace(settings, rules=dataclasses.replace(settings.rules, whole_blocks=False))
    experts = vllm.weights_bytes(asked, settings) - rest
    assert experts / dense.experts == pytest.approx(factor / 2880**2, rel=1e-4)


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def test_the_rotary_table_of_llama_3_1_is_32_mib():
    found = facts("llama-3.1-8b")
    assert weights.rotary_bytes(found.architecture, 4096) == 32 * 2**20


def test_four_bits_are_less_than_half_and_gptq_is_slightly_above_awq():
    """The article "Deploying Llama 7B with advanced quantization" (2024), of peak memory on an L40."""
    dense, awq, gptq = (
        sum(t.stored_bytes for t in facts(f"llama-3.1-8b{method}").tensors)
        for method in ("", "-awq", "-gptq")
    )
    assert awq < gptq < awq * 1.01
    assert gptq < dense / 2
