"""What a vLLM server's version, switches and environment mean for memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB, MIB
from tacho_engines.base import Context
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_engines.shared.images import engine_image, image_version, lacks_plugin
from tacho_engines.shared.switches import decimal, integer, parse_arguments
from tacho_engines.vllm import kv_blocks as kv, memory as vllm
from tacho_engines.vllm.arguments import arguments
from tacho_engines.vllm.graphs import CONTEXT_BYTES, graph_sizes, largest_size, whole_share
from tacho_engines.vllm.settings import planned_settings, read_settings, switches
from tacho_engines.vllm.versions import VERSIONS, rules_for

LLAMA = facts("llama-3.1-8b")


def placed(*arguments, version="0.32.0", gpu="L4", model=LLAMA, method="none", **more):
    return placement("vllm", model, method, gpu, version=version, arguments=arguments, **more)


def settings(*arguments, length=8192, **more):
    found = placed(*arguments, **more)
    return read_settings(switches(found.options), found, length)


def memory(*arguments, length=8192, **more):
    found = placed(*arguments, **more)
    return vllm.memory(found, read_settings(switches(found.options), found, length))


@pytest.mark.parametrize(
    ("version", "utilization", "inside", "kv_size"),
    [
        ("0.6.4", 0.90, "outside", "blocks"),
        ("0.11.0", 0.90, "outside", "blocks"),
        ("0.19.1", 0.90, "outside", "blocks"),
        ("0.20.0", 0.92, "inside", "blocks"),
        ("0.21.0", 0.92, "inside", "concurrency"),
        ("0.26.0", 0.92, "outside", "concurrency"),
        ("0.32.0", 0.92, "inside", "concurrency"),
        ("99.0", 0.92, "inside", "concurrency"),
        ("", 0.92, "inside", "concurrency"),
    ],
)
def test_rules_by_version(version, utilization, inside, kv_size):
    """Read from the wheels; 0.26's runner estimates 0 for graphs (own measurement, H200)."""
    rules = rules_for(version)
    assert (rules.utilization, rules.graphs, rules.kv_size) == (utilization, inside, kv_size)


def test_the_engine_generation_can_be_chosen_while_there_were_two():
    assert rules_for("0.7.0", {"VLLM_USE_V1": "1"}).runner == "v1"
    assert rules_for("0.7.0", {}).runner == "v0"
    assert rules_for("0.9.2", {"VLLM_USE_V1": "0"}).runner == "v0"
    assert rules_for("0.32.0", {"VLLM_USE_V1": "0"}).runner == "v2"


def test_rows_are_in_order_and_say_where_they_are_from():
    versions = [tuple(map(int, row.version.split("."))) for row in VERSIONS]
    assert versions == sorted(set(versions))
    assert all(row.source for row in VERSIONS)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.26.0", "0.26.0"),
        ("registry:5000/vllm:0.9.2-cu128@sha256:aa", "0.9.2"),
        ("registry:5000/vllm", ""),
        ("vllm:latest", ""),
        ("vllm:nightly-0.9", ""),
        ("vllm:nightly-b1234", ""),
    ],
)
def test_the_version_is_the_tags(image, version):
    row = engine_profile("vllm")
    assert image_version(row, image) == version
    assert engine_image(row, image, {}) == (image, version or row.image.version)


def test_the_users_image_wins_over_the_operators_and_that_over_the_table():
    row = engine_profile("vllm")
    assert engine_image(row, "a:1.0", {"vllm": "b:2.0"})[0] == "a:1.0"
    assert engine_image(row, "", {"vllm": "b:2.0"}) == ("b:2.0", "2.0")
    assert engine_image(row, "", {})[0] == row.image.reference
    assert engine_image(row, "", {}, "bnb-nf4")[0] == row.plugins.reference
    assert lacks_plugin(row, "vllm/vllm-openai:v0.26.0", "0.26.0", "gguf")
    assert not lacks_plugin(row, "vllm/vllm-openai:v0.26.0", "0.26.0", "bnb-nf4")
    assert not lacks_plugin(row, "vllm/vllm-openai:v0.23.0", "0.23.0", "gguf")


def test_defaults_by_gpu():
    """vLLM engine/arg_utils.py: large GPUs get larger batches, the A100 does not."""
    small, large, a100 = settings(gpu="L4"), settings(gpu="H200"), settings(gpu="A100-80GB")
    assert (small.batch.tokens, small.batch.sequences) == (2048, 256)
    assert (large.batch.tokens, large.batch.sequences) == (8192, 1024)
    assert (a100.batch.tokens, a100.batch.sequences) == (2048, 256)


def test_graph_sizes_are_what_was_captured():
    """Own measurement, H200, vLLM 0.26: 51 sizes by default."""
    assert graph_sizes(largest_size(rules_for("0.26.0"), 1024, {})) == 51
    assert graph_sizes(largest_size(rules_for("0.26.0"), 4, {})) == 4


@pytest.mark.parametrize("largest", [0, 1, 3, 8, 100, 256, 272, 512, 1024])
def test_the_share_of_whole_steps_is_by_tokens(largest):
    every = [size for size in (1, 2, 4, *range(8, 256, 8), *range(256, 2048, 16)) if size <= largest]
    assert graph_sizes(largest) == len(every)
    for tokens in (1, 5, 200, 256, 300, 2048):
        share = sum(size for size in every if size <= tokens) / max(1, sum(every))
        assert whole_share(largest, tokens) == pytest.approx(share)


@pytest.mark.parametrize(
    ("version", "tokens", "sizes"), [("0.27.1", 8192, 51), ("0.28.0", 16384, 83), ("0.32.0", 16384, 83)]
)
def test_data_centre_blackwell_captures_and_batches_more_since_0_28(version, tokens, sizes):
    """Wheels 0.27.1 and 0.28.0: get_batch_defaults, _set_cudagraph_sizes."""
    found = settings(gpu="B200", version=version)
    assert (found.batch.tokens, found.graphs.sizes) == (tokens, sizes)
    workstation = settings(gpu="NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", version=version)
    assert (workstation.batch.tokens, workstation.graphs.sizes) == (8192, 51)


def test_eager_mode_captures_nothing():
    assert settings("--enforce-eager").graphs.sizes == 0
    assert settings("--enforce-eager=false").graphs.sizes > 0


def test_a_switch_is_honoured():
    plain = memory()
    assert memory("--gpu-memory-utilization", "0.5").budget_bytes == int(0.5 * plain.total_bytes)
    assert memory("--gpu_memory_utilization=0.5").budget_bytes == int(0.5 * plain.total_bytes)
    assert memory("--max-num-seqs", "8").available_bytes > plain.available_bytes
    assert memory("--max-num-batched-tokens", "16k").available_bytes < plain.available_bytes
    eager = memory("--enforce-eager")
    compiling = plain.activation_bytes - eager.activation_bytes
    assert plain.activation_bytes == 2 * 4096 * (128256 + 2 * 2048) - 8 * 2**20
    assert eager.activation_bytes == 2 * 2048 * (3 * 14336 + 4 * 4096) - 8 * 2**20
    assert eager.available_bytes == plain.available_bytes + plain.graph_bytes + compiling
    assert memory("--cpu-offload-gb", "4").weights_bytes == plain.weights_bytes - 4 * GIB
    fixed = memory("--kv-cache-memory-bytes", "2G")
    assert fixed.available_bytes == 2 * GIB
    assert memory(kv_cache_dtype="fp8").cache.tokens == pytest.approx(2 * plain.cache.tokens, abs=16)
    assert memory("--kv-cache-dtype", "fp8").cache.tokens == pytest.approx(2 * plain.cache.tokens, abs=16)


@pytest.mark.parametrize("gpu", ["L4", "NVIDIA-H200"])
@pytest.mark.parametrize("version", ["0.27.1", "0.32.0"])
def test_no_part_is_negative(version, gpu):
    """A server of few tokens has a smaller peak than the workspace of cuBLAS, which counts elsewhere: what is
    left is its sampler's, a row of logits and 16 hidden states."""
    few = memory(
        "--enforce-eager", "--max-num-seqs=1", "--max-num-batched-tokens=16", version=version, gpu=gpu
    )
    assert few.activation_bytes == 2 * (128256 + 16 * 4096)
    assert few.non_torch_bytes > few.graph_bytes == 0


def test_without_graphs_4_bits_need_no_matrix_for_them():
    assert memory("--enforce-eager", method="bnb-nf4").graph_bytes == 0
    wide, plain = memory(method="bnb-nf4"), memory()
    assert wide.graph_bytes - plain.graph_bytes == 2 * (2 * 4096 * 14336)


def test_of_models_with_experts_0_27_holds_what_0_26_had_at_its_peak():
    """The workspaces of experts and cuBLAS move from one part to the other, and count once."""
    of = {"model": facts("qwen3-30b-a3b"), "gpu": "NVIDIA-H200"}
    before, after = (memory("--max-num-seqs=256", version=version, **of) for version in ("0.26.0", "0.27.1"))
    moved = after.non_torch_bytes - before.non_torch_bytes
    assert moved == (240 - 225 + 32) * MIB + 2 * 8192 * 8 * (2048 + 2048)
    assert before.activation_bytes - after.activation_bytes == pytest.approx(moved, abs=64 * MIB)


def test_the_environment_is_honoured():
    off = memory(env={"VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS": "0"})
    assert off.available_bytes == memory().available_bytes + memory().graph_bytes


@pytest.mark.parametrize(("value", "latent"), [("", True), ("0", True), ("1", False)])
def test_a_latent_cache_that_is_switched_off_is_planned_as_whole_heads(value, latent):
    """Of DeepSeek V3 on eight GPUs it is 14 times as large."""
    assert rules_for("0.32.0", {"VLLM_MLA_DISABLE": value}).latent is latent
    found = {"model": "deepseek-v3", "method": "fp8", "gpu": "H200", "tensor": 8, "count": 8}
    pool = kv.pool(facts("deepseek-v3").architecture, settings(**found, env={"VLLM_MLA_DISABLE": value}))
    token_bytes = pool.block_bytes / pool.block_tokens
    assert token_bytes == 2 * 61 * (576 if latent else 2 * 256 * 128 / 8)


def test_parallel_sizes_divide_weights_and_cache():
    one, two = memory(gpu="H100"), memory(gpu="H100", tensor=2)
    assert one.weights_bytes / 2 < two.weights_bytes < one.weights_bytes * 0.51
    assert two.cache.request_bytes == one.cache.request_bytes / 2
    staged = memory(gpu="H100", pipeline=2)
    assert staged.cache.request_bytes == one.cache.request_bytes / 2


POD = Path(__file__).parents[3] / "benchmarks/gpu/h200/pods-longer/llama-8b-bnb-int8/resource.yaml"


def test_int8_of_bitsandbytes_takes_what_a_pod_took_for_its_products():
    """0.50 GiB less were planned, and graphs that are not captured."""
    measured = yaml.safe_load(POD.read_text())["status"]["measurements"][0]["memory"]
    found = placed(version="0.26.0", gpu="H200", method="bnb-int8")
    account = planner_adapter("vllm").account(found, Context(4096, 64))
    assert abs(account.cache_bytes - measured["actualKVCacheBytes"]) < 0.03 * GIB
    assert account.graph_bytes == 0


def test_fp8_weights_do_not_imply_an_fp8_cache():
    model = facts("llama-3.1-8b-fp8")
    assert settings(model=model).cache.element_bytes == 2.0
    declared = dataclasses.replace(
        model, quantization=dataclasses.replace(model.quantization, kv_cache_dtype="fp8")
    )
    assert settings(model=declared).cache.element_bytes == 1.0
    assert settings(model=declared, kv_cache_dtype="bfloat16").cache.element_bytes == 2.0


@pytest.mark.parametrize(
    ("model", "bytes_per_token"),
    [
        ("llama-3.1-8b", 131072),
        ("llama-2-7b", 524288),
        ("deepseek-v3", 70272),
        ("qwen2.5-7b", 57344),
        ("octocoder", 20480),
    ],
)
def test_bytes_a_token_keeps(model, bytes_per_token):
    """GQA 2 x 32 x 8 x 128 x 2; MHA; MLA 61 x 576 x 2; GQA; MQA 40 x 2 x 128 x 2."""
    found = facts(model)
    got = kv.pool(found.architecture, settings(model=found))
    assert got.block_bytes / got.block_tokens == bytes_per_token


def test_sliding_windows_keep_only_their_window():
    """gpt-oss: every second layer looks back 128 tokens."""
    found = facts("gpt-oss-20b")
    short = memory(model=found, method="none", gpu="H100", length=1024).cache
    long = memory(model=found, method="none", gpu="H100", length=131072).cache
    full_layers = 131072 * 12 * 2 * 8 * 64 * 2
    assert full_layers < long.request_bytes < full_layers * 1.3
    assert short.request_bytes < long.request_bytes / 30
    off = memory("--disable-hybrid-kv-cache-manager", model=found, gpu="H100", length=131072).cache
    assert off.request_bytes == 2 * full_layers


def test_recurrent_layers_keep_a_constant_state():
    found = facts("jamba-v0.1")
    short = memory(model=found, gpu="H200", length=1024).cache.request_bytes
    double = memory(model=found, gpu="H200", length=131072).cache.request_bytes
    attention_only = 131072 * 4 * 2 * 8 * 128 * 2
    assert double < short + attention_only * 1.02


def test_a_shared_gpu_gives_a_part_of_its_memory():
    gpu = named_gpu("L4")
    shared = type(gpu)(**{**{f: getattr(gpu, f) for f in gpu.__dataclass_fields__}, "sharers": 2})
    assert settings(gpu=shared, version="0.26.0").utilization == pytest.approx(0.46)


def test_graphs_outside_the_budget_lower_the_utilization_unless_it_is_given():
    gpu, old, context = named_gpu("L4"), "0.11.0", Context(8192, 1)
    by_default = placed("--enforce-eager", version=old)
    assert arguments(by_default, context) == ("--max-model-len", "8192")
    graphs = placed(version=old, gpu="RTX3060")
    assert arguments(graphs, context)[2] == "--gpu-memory-utilization"
    found = vllm.account(graphs, planned_settings(graphs, context))
    assert found.budget_bytes + found.graph_bytes + CONTEXT_BYTES <= graphs.device.memory_bytes
    given = placed("--gpu-memory-utilization", "0.99", version=old)
    assert arguments(given, context) == ("--max-model-len", "8192")
    found = vllm.account(given, planned_settings(given, context))
    assert found.budget_bytes == int(0.99 * gpu.memory_bytes)


def test_switches_are_read_as_the_engines_would():
    found = parse_arguments(("--a", "1", "--b_c=2", "--flag", "--neg", "-1", "stray", "--a", "3"))
    assert found == {"a": "3", "b-c": "2", "flag": "", "neg": "-1"}
    assert [integer(t) for t in ("8k", "8K", "1.5k", "x", None, "")] == [8000, 8192, 1500, None, None, None]
    assert [decimal(t) for t in ("0.9", "nan", "1e9", None)] == [0.9, None, None, None]
    assert [integer("-9" + "9" * 17), integer("9" * 20), integer("9" * 400)] == [-(10**18), None, None]
    assert [decimal("9" * 20), decimal("9" * 400)] == [None, None], "bytes beyond 63 bits"


@pytest.mark.parametrize(
    ("arguments", "more", "steps"),
    [
        ((), {}, 2),
        (("--no-async-scheduling",), {}, 1),
        ((), {"pipeline": 2}, 3),
        ((), {"pipeline": 4}, 5),
        (("--no-async-scheduling",), {"pipeline": 2}, 2),
        ((), {"pipeline": 2, "version": "0.26.0", "env": {"VLLM_USE_V2_MODEL_RUNNER": "0"}}, 2),
        ((), {"pipeline": 2, "version": "0.25.0"}, 2),
        ((), {"version": "0.25.0"}, 1),
    ],
    ids=str,
)
def test_batches_in_flight_are_one_a_stage_and_one_ahead(arguments, more, steps):
    assert settings(*arguments, gpu="H100", **more).cache.in_flight_steps == steps
