"""Transformers: its switches, its account, and what its log says."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest

from benchmarks.planner.placements import host, placement
from tacho_contract.model import Architecture, LayerGroup
from tacho_engines.base import Context, EngineStartup, Exit
from tacho_engines.registry import planner_adapter, runtime_adapter
from tacho_engines.transformers.memory import PAGE_TOKENS, PREFILL_TOKENS, kept_bytes, shared_out
from tacho_server.errors import LoadError
from tacho_transformers import __main__ as launcher
from tacho_transformers.backend import cache_blocks
from tacho_transformers.loading import quantization_config
from tests.launching import runtime_config
from tools.mock.checkpoints import facts_of

PLAN, RUN = planner_adapter("transformers"), runtime_adapter("transformers")
HOST = host(2**36)
FAULTS = Path(__file__).parents[3] / "benchmarks/engines/h200/faults"


def of(method: str = "bnb-nf4", device=HOST, **more):
    return placement("transformers", "llama-3.1-8b", method, device, count=0 if device is HOST else 1, **more)


@pytest.mark.parametrize("method", ["none", "bnb-int8", "bnb-nf4", "bnb-fp4"])
@pytest.mark.parametrize("more", [{}, {"double_quant": False}, {"compute_dtype": "float32"}])
def test_the_launcher_takes_every_switch_of_the_plan(method, more):
    words = PLAN.arguments(of(method, trust_remote_code=True, **more), Context(1000, 3))
    config = runtime_config(
        revision="r",
        plan_key="k",
        engine="transformers",
        entrypoint=("python3", "-m", "tacho_transformers"),
        model_path="/m",
        served_name="n",
        max_model_len=1000,
        concurrency=3,
        extra_args=(*words, "--page-tokens", "128"),
    )
    taken = launcher.parser().parse_args(RUN.command(config, "/m")[3:])
    assert (taken.model, taken.max_model_len, taken.max_batch, taken.page_tokens) == ("/m", 1000, 3, 128)
    assert (taken.device, taken.quantization, taken.trust_remote_code) == ("cpu", method, True)
    if method in ("bnb-nf4", "bnb-fp4"):
        assert taken.double_quant is more.get("double_quant", True)
        assert taken.compute_dtype == more.get("compute_dtype", "bfloat16")


def test_plan_and_launcher_have_the_same_defaults():
    taken = launcher.parser().parse_args(
        ["--model", "m", "--served-model-name", "n", "--max-model-len", "1", "--max-batch", "1"]
    )
    assert (taken.page_tokens, taken.prefill_tokens) == (PAGE_TOKENS, PREFILL_TOKENS)


@pytest.mark.parametrize(("length", "batch", "page"), [(1, 1, 64), (64, 2, 64), (65, 2, 64), (1000, 7, 256)])
def test_the_cache_that_is_planned_is_the_one_that_is_asked_for(length, batch, page):
    asked = of(arguments=("--page-tokens", str(page)))
    account = PLAN.account(asked, Context(length, batch))
    assert account is not None
    assert account.cache_tokens == cache_blocks(length, batch, page) * page >= length * batch


def test_layers_that_share_a_cache_get_one_of_their_own():
    """As Gemma 3n's: a block of the cache is for every layer of the model."""
    asked = of()
    shape = asked.architecture
    (full,) = shape.layer_groups
    shared = (dataclasses.replace(full, layers=20), LayerGroup(kind="none", layers=shape.layers - 20))
    fewer = dataclasses.replace(asked, architecture=dataclasses.replace(shape, layer_groups=shared))
    of_all, of_few = (PLAN.account(each, Context(1000, 2)) for each in (asked, fewer))
    assert of_all.cache_bytes == of_few.cache_bytes


def test_kinds_of_attention_share_the_cache_in_sectors():
    """By Transformers 5.19 for 64 blocks: ``cache_tensor.numel()``, ``max_tokens_read``, and two masks of
    (512, 30208) in 16 bits.
    """
    alike = LayerGroup(kind="full", layers=34, key_value_heads=2, key_head_dim=16, value_head_dim=16)
    uniform = Architecture(
        layers=34, hidden_size=64, attention_heads=4, head_dim=16, vocabulary=300, layer_groups=(alike,)
    )
    windowed = dataclasses.replace(alike, kind="sliding", layers=29, window_tokens=32)
    mixed = dataclasses.replace(uniform, layer_groups=(dataclasses.replace(alike, layers=5), windowed))
    whole, account = (
        PLAN.account(dataclasses.replace(of("none"), architecture=shape), Context(1024, 4))
        for shape in (uniform, mixed)
    )
    assert account.cache_bytes == 21_381_120
    assert shared_out(mixed, 4096, 64)[1] == 29_696
    read = 2 * 2 * (4 + 2) * 16
    more = 2 * 2 * 512 * 30_208 - 2 * 512 * (4096 + 512) + read * (29_696 - 4096)
    assert account.activation_bytes - whole.activation_bytes == more


@pytest.mark.parametrize(
    ("name", "own_image", "loads"),
    [
        ("Qwen2_5_VLForConditionalGeneration", False, False),
        ("Qwen2_5_VLForConditionalGeneration", True, True),
        ("Gemma3ForConditionalGeneration", False, True),
        ("Gemma3nForConditionalGeneration", False, False),
        ("LlamaForCausalLM", False, True),
        ("FalconForCausalLM", False, False),
        ("StableLmForCausalLM", False, False),
        ("NemotronForCausalLM", False, False),
        ("BloomForCausalLM", False, False),
        ("OpenAIGPTLMHeadModel", False, False),
        ("GPTJForCausalLM", True, False),
    ],
)
def test_a_model_whose_language_model_is_not_loaded_by_itself(name, own_image, loads):
    """transformers: "Unrecognized configuration class ... for AutoModelForCausalLM"."""
    asked = of(own_image=own_image)
    model = dataclasses.replace(asked, architecture=dataclasses.replace(asked.architecture, name=name))
    refusal = PLAN.refusal(model)
    assert (refusal is None) is loads
    assert refusal is None or refusal.failure_class == "EngineNotSupported"


def test_attention_without_sdpa_keeps_its_scores():
    """As GPT-OSS in 16 bits. Source: transformers integrations/eager_paged.py."""
    asked = of("none")
    eager = dataclasses.replace(asked.architecture, name="GptOssForCausalLM")
    with_sdpa, without = (
        PLAN.account(each, Context(4096, 8)).activation_bytes
        for each in (asked, dataclasses.replace(asked, architecture=eager))
    )
    assert without - with_sdpa == 8 * 32 * 512 * (8 * 4096 + 512)


def test_a_t4_computes_in_half_precision():
    words = PLAN.arguments(of(device="T4"), Context(1024, 1))
    assert words[words.index("--dtype") + 1] == words[words.index("--compute-dtype") + 1] == "float16"


@pytest.mark.parametrize("word", ["--quantization=bnb-nf4", "--max_batch=9", "--device", "--port"])
def test_switches_that_the_plan_has_decided_are_refused(word):
    found = PLAN.refusal(of(arguments=(word,)))
    assert found is not None
    assert found.failure_class == "InvalidConfig"
    assert PLAN.refusal(of(arguments=("--threads", "4"))) is None


EXPERTS = {
    "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 512,
    "moe_intermediate_size": 768, "num_experts": 32, "num_experts_per_tok": 2, "num_hidden_layers": 8,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 49152,
    "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
LOADED_IN_NF4 = 657_542_400
"""By Transformers 5.19 with bitsandbytes 0.50: 604 million bytes of experts, as they are stored."""


def test_experts_are_counted_as_they_are_stored_and_told():
    asked = placement("transformers", facts_of(EXPERTS), "bnb-nf4", HOST, count=0, double_quant=False)
    account = PLAN.account(asked, Context(512, 2))
    assert account is not None
    assert account.weights_bytes == pytest.approx(LOADED_IN_NF4, rel=1e-6)
    (told,) = PLAN.fallbacks(asked)
    assert "experts stay as stored" in told
    assert PLAN.fallbacks(of()) == ()
    assert PLAN.fallbacks(placement("transformers", facts_of(EXPERTS), "none", HOST, count=0)) == ()


@pytest.mark.parametrize("method", ["awq", "gptq"])
@pytest.mark.parametrize("device", [HOST, "L4"])
def test_checkpoints_that_need_gptqmodel_are_refused_with_the_engine_that_loads_them(method, device):
    asked = placement(
        "transformers", f"llama-3.1-8b-{method}", "none", device, count=0 if device is HOST else 1
    )
    found = PLAN.refusal(asked)
    assert found is not None
    assert found.failure_class == "UnsupportedQuantization"
    assert f"loads {method} checkpoints with the package gptqmodel" in found.message
    assert "vllm" in found.next_step
    assert ("gpu.count" in found.next_step) == (device is HOST)


@pytest.mark.parametrize("stored", ["awq", "gptq"])
@pytest.mark.parametrize(
    ("method", "device", "says"),
    [
        ("none", "L4", ""),
        ("none", HOST, "transformers runs {} on GPUs only"),
        ("bnb-nf4", "L4", "the checkpoint is already quantized"),
    ],
)
def test_an_image_of_the_user_may_have_gptqmodel(stored, method, device, says):
    count = 0 if device is HOST else 1
    asked = placement("transformers", f"llama-3.1-8b-{stored}", method, device, count=count, own_image=True)
    found = PLAN.refusal(asked)
    assert found is None if not says else found is not None and says.format(stored) in found.message


def test_layers_that_its_batching_has_no_cache_for_are_refused():
    asked = of()
    groups = (dataclasses.replace(asked.architecture.layer_groups[0], kind="mamba"),)
    architecture = dataclasses.replace(asked.architecture, layer_groups=groups)
    found = PLAN.refusal(dataclasses.replace(asked, architecture=architecture))
    assert found is not None
    assert (found.failure_class, "mamba" in found.message) == ("EngineNotSupported", True)


def test_keys_and_values_of_several_shapes_are_refused():
    """As Gemma 4's: "'head_dim' is a per-layer attribute and may vary across layers"."""
    asked = of()
    (full,) = asked.architecture.layer_groups
    half = dataclasses.replace(full, layers=full.layers // 2)
    for other in (
        {"key_head_dim": 512, "value_head_dim": 512},
        {"key_value_heads": 2},
        {"value_head_dim": 64},
    ):
        wider = dataclasses.replace(half, kind="sliding", window_tokens=512, **other)
        shape = dataclasses.replace(asked.architecture, layer_groups=(half, wider))
        found = PLAN.refusal(dataclasses.replace(asked, architecture=shape))
        assert found is not None
        assert (found.failure_class, found.next_step) == ("EngineNotSupported", "Set engine.name to vllm")
    same = dataclasses.replace(half, kind="sliding", window_tokens=512)
    shape = dataclasses.replace(asked.architecture, layer_groups=(half, same))
    assert PLAN.refusal(dataclasses.replace(asked, architecture=shape)) is None


def test_of_several_loads_the_last_counts():
    found = EngineStartup()
    for size in (2000, 1000):
        found = RUN.read(found, f"transformers-server: weights {size} bytes, loaded in {size}.0 s")
        found = RUN.read(found, f"transformers-server: kv cache {size} bytes, {size} tokens")
    assert found == EngineStartup(weights_bytes=1000, kv_cache_bytes=1000, kv_cache_tokens=1000)


def test_figures_are_read_off_the_log():
    found = EngineStartup()
    for line in (
        "transformers-server: weights 116413312 bytes, loaded in 9.250 s",
        "transformers-server: kv cache 97320960 bytes, 4096 tokens, mask 4718592 bytes",
        "transformers-server: chat: no (the model's tokenizer has no chat template)",
        "transformers-server: falls back: 8-bit products in float16",
        "weights 1 bytes",
    ):
        found = RUN.read(found, line)
    assert found == EngineStartup(
        weights_bytes=116413312,
        kv_cache_bytes=97320960,
        kv_cache_tokens=4096,
        fallbacks=("no chat: the model's tokenizer has no chat template", "8-bit products in float16"),
    )


@pytest.mark.parametrize(
    ("line", "failure_class"),
    [
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
            "HostOutOfMemory",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "GPUOutOfMemory"),
        ("ImportError: 4-bit quantization requires bitsandbytes: `pip install bitsandbytes`", "ImportFailed"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "ModelInvalid"),
        ("transformers-server: error: unrecognized arguments: --nonesuch", "InvalidConfig"),
        ("MemoryError: std::bad_alloc", "HostOutOfMemory"),
        ("OSError: [Errno 12] Cannot allocate memory", "HostOutOfMemory"),
        ("  what():  std::bad_alloc", "HostOutOfMemory"),
        ("NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory", "EngineCrashed"),
        ("retrying after std::bad_alloc", "EngineCrashed"),
        ("something else", "EngineCrashed"),
    ],
)
def test_last_words(line, failure_class):
    assert RUN.classify(Exit(code=1), ["before", line, "after"]).failure_class == failure_class


@pytest.mark.parametrize(
    ("cell", "failure_class"),
    [
        ("memory-taken", "GPUOutOfMemory"),
        ("illegal-address", "GPUFault"),
        # An assertion of a kernel is a defect of the program, and a trap may be: what helps is a new start.
        ("device-assert", "EngineCrashed"),
        ("trap", "EngineCrashed"),
    ],
)
@pytest.mark.parametrize("served", [True, False])
def test_what_an_h200_did_to_an_engine_that_served(cell, failure_class, served):
    log = (FAULTS / f"{cell}.log").read_text()
    lines = [line for line in log.splitlines() if not line.startswith("tacho-runtime")]
    assert RUN.classify(Exit(code=1, served=served), lines).failure_class == failure_class


def test_a_method_without_bitsandbytes_is_refused():
    """This Python has none."""
    with pytest.raises(LoadError, match="bitsandbytes is not installed") as raised:
        quantization_config(argparse.Namespace(quantization="bnb-nf4"), None, None)
    assert raised.value.failure_class == "UnsupportedQuantization"


@pytest.mark.parametrize(
    ("method", "tied", "on_host", "tables"),
    [
        ("none", False, False, 1),
        ("none", True, False, 0),
        ("bnb-int8", False, False, 2),
        ("bnb-int8", True, False, 1),
        ("bnb-nf4", False, False, 0),
        ("none", False, True, 0),
        ("bnb-int8", False, True, 0),
    ],
)
def test_which_tables_loading_leaves_in_the_allocator(method, tied, on_host, tables):
    shape = Architecture(hidden_size=8, vocabulary=100, tied_embeddings=tied)
    assert kept_bytes(shape, method, on_host=on_host) == tables * 2 * 8 * 100
