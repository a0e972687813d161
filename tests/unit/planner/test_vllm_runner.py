"""vLLM 0.26: which runner a model has, what compiling takes, and what several GPUs take beside the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.planner.cases import Case, cases, predict, started
from benchmarks.planner.placements import placement
from benchmarks.planner.starts import starts
from tacho_contract.model import Architecture, LayerGroup
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.vllm import memory
from tacho_engines.vllm.graphs import BEFORE_BYTES, CONTEXT_BYTES, before_bytes, graph_bytes
from tacho_engines.vllm.settings import captured_bytes, planned_settings
from tacho_engines.vllm.versions import rules_of
from tacho_engines.vllm.weights import experts_in_one_kernel

DENSE = Architecture(name="LlamaForCausalLM")
EXPERTS = Architecture(name="Qwen3MoeForCausalLM", experts=128)
LISTED = Architecture(name="Qwen2MoeForCausalLM", experts=60)
RECURRENT = Architecture(layer_groups=(LayerGroup(kind="mamba", layers=1, state_bytes=1),))


def case(name: str) -> Case:
    return next(found for found in cases() if found.name == name)


@pytest.mark.parametrize(
    ("version", "architecture", "env", "runner"),
    [
        ("0.26.0", DENSE, {}, "v2"),
        ("0.26.0", EXPERTS, {}, "v1"),
        ("0.26.0", LISTED, {}, "v2"),
        ("0.26.0", RECURRENT, {}, "v1"),
        ("0.26.0", EXPERTS, {"VLLM_USE_V2_MODEL_RUNNER": "1"}, "v2"),
        ("0.26.0", DENSE, {"VLLM_USE_V2_MODEL_RUNNER": "0"}, "v1"),
        ("0.25.0", DENSE, {"VLLM_USE_V2_MODEL_RUNNER": "1"}, "v1"),
        ("0.29.0", EXPERTS, {}, "v2"),
    ],
)
def test_the_runner(version, architecture, env, runner):
    rules = rules_of(version, architecture, env)
    assert rules.runner == runner
    if version == "0.26.0":
        assert rules.graphs == ("inside" if runner == "v1" else "outside")


def test_experts_keep_their_workspace_while_the_sampler_runs():
    """Qwen3-30B-A3B with 12 layers: 8192 tokens x 8 experts x 2 x 2048 x 2 bytes of workspace, the hidden
    states, 14 bytes of 1024 x 151936 logits, and 132 rows of the top-k kernel."""
    found = case("h200-qwen3-moe-12-layers-bf16")
    workspace, hidden = 8192 * 8 * 2 * 2048 * 2, 8192 * 2048 * 2
    assert predict(found).activation_bytes == workspace + hidden + (14 * 1024 + 4 * 132) * 151936
    asked, settings = started(found)
    spread = replace(settings, tensor=2)
    whole = memory.activation_bytes(asked.architecture, settings)
    assert (
        memory.activation_bytes(asked.architecture, spread) == whole
    )  # the hidden size is the larger of both


def test_the_embedding_is_copied_while_the_model_is_compiled():
    found = case("h200-llama31-8b-batch-2048")
    assert predict(found).activation_bytes == 2 * 4096 * (128256 + 2 * 2048) + memory.COMBINED_BYTES
    asked, settings = started(found)
    plain, fp8 = (memory.activation_bytes(asked.architecture, settings, fp8=fp8) for fp8 in (False, True))
    assert fp8 - plain == 2048 * 4096, "what kernels multiply is there in eight bits as well"
    eager = Case({**found.row, "args": [*found.row["args"], "--enforce-eager"]}, found.held_out)
    assert predict(eager).activation_bytes < predict(found).activation_bytes / 3
    later = Case({**found.row, "version": "0.29.0"}, found.held_out)
    held = 32 * 2**20  # the workspace of cuBLAS, which counts elsewhere from 0.27 on
    assert predict(later).activation_bytes == 2 * 4096 * (128256 + 2 * 2048) - held


def test_a_forward_pass_has_the_vectors_of_the_mlp_and_four_hidden_states():
    """And what Inductor clears the GPU's L2 cache with, while it compiles."""
    shape = Architecture(hidden_size=3840, intermediate_size=10240, attention_heads=32, head_dim=120)
    _, settings = started(case("h200-llama31-8b-bf16"))
    eager = replace(settings, compiled=False)
    assert memory.activation_bytes(shape, eager) == 2 * 8192 * (3 * 10240 + 4 * 3840)
    assert memory.activation_bytes(shape, settings) == memory.activation_bytes(shape, eager) + 60 * 2**20
    written = memory.activation_bytes(shape, eager, four_bit=True) - memory.activation_bytes(shape, eager)
    assert written == 2 * 3840 * 10240, "bitsandbytes writes out a matrix of four bits"
    copied = memory.activation_bytes(shape, eager, int8=True) - memory.activation_bytes(shape, eager)
    assert copied == 8192 * 10240, "W8A8 copies a vector before it is multiplied"
    experts = replace(shape, experts=128, experts_per_token=1, moe_intermediate_size=768)
    assert memory.activation_bytes(experts, eager, int8=True) == memory.activation_bytes(experts, eager)
    plain, quantized = (memory.activation_bytes(experts, eager, four_bit=four) for four in (False, True))
    assert quantized - plain == 2 * 3 * 128 * 768 * 3840, "and all experts of a layer"
    beside = replace(shape, name="PhiForCausalLM", key_value_heads=32)
    queries = 3 * 32 * 120
    assert memory.activation_bytes(beside, eager) == 2 * 8192 * (10240 + 4 * 3840 + queries)


def test_collectives_are_beside_the_budget():
    found = case("h200-llama31-8b-tp2")
    alone = case("h200-llama31-8b-bf16")
    assert predict(found).non_torch_bytes == predict(alone).non_torch_bytes
    older = Case({**found.row, "version": "0.25.0"}, found.held_out)
    assert predict(older).non_torch_bytes > predict(found).non_torch_bytes
    rules = rules_of("0.26.0", DENSE)
    assert before_bytes(rules, 2) == BEFORE_BYTES
    assert before_bytes(rules, 1) == 0


def test_a_plan_leaves_room_for_them():
    context = Context(2048, 1)
    two = placement("vllm", "llama-3.2-1b", "none", "T4", count=2, tensor=2, version="0.26.0")
    settings = planned_settings(two, context)
    total = two.device.memory_bytes or 0
    graphs = captured_bytes(two, settings)
    assert (1 - settings.utilization) * total >= CONTEXT_BYTES + BEFORE_BYTES + graphs


def test_graphs_are_split_in_part():
    rules, shape = rules_of("0.26.0", DENSE), Architecture(layers=32, hidden_size=4096)
    one, two = graph_bytes(shape, rules, 51), graph_bytes(shape, rules, 51, tensor=2)
    assert one / 2 < two < one
    assert two / GIB == pytest.approx(0.72, abs=0.01)
    assert graph_bytes(shape, rules, 51, pipeline=2) < one


@pytest.mark.parametrize("asked", [["-O1"], ["-O", "1"], ["-O=1"], ["--optimization-level=1"]])
def test_the_first_level_captures_no_whole_steps(asked):
    found = case("h200-llama31-8b-bf16")
    first = predict(Case({**found.row, "args": asked}, found.held_out))
    assert first.graph_bytes / GIB == pytest.approx(0.35, abs=0.02)
    assert first.activation_bytes == predict(found).activation_bytes
    older = Case({**found.row, "args": asked, "version": "0.25.0"}, found.held_out)
    assert predict(older) == predict(Case({**older.row, "args": []}, found.held_out))


def test_whole_steps_are_captured_up_to_the_most_sequences():
    """An 8B with --max-num-seqs=256 on an H200 and on an H100, with 512, and as it is on smaller GPUs."""
    found = case("h200-llama31-8b-bf16")
    few = predict(Case({**found.row, "args": ["--max-num-seqs=256"]}, found.held_out)).graph_bytes
    assert few / GIB == pytest.approx(0.585, abs=0.01)
    many = predict(Case({**found.row, "args": ["--max-num-seqs=512"]}, found.held_out)).graph_bytes
    assert many == predict(found).graph_bytes
    # Such a step has several tokens of a request.
    guessing = ["--max-num-seqs=256", '--speculative-config={"num_speculative_tokens": 3}']
    assert predict(Case({**found.row, "args": guessing}, found.held_out)).graph_bytes == many
    smaller = Case({**found.row, "gpu": "NVIDIA-L40S", "totalGiB": None}, found.held_out)
    assert predict(smaller).graph_bytes == few


def test_gpt_oss_captures_more_sizes_and_its_experts_keep_no_workspace():
    """Logs of H200s and H100s: 83 sizes up to 1,024 in 1.03 GiB, 2.87 GiB at the sampler's peak."""
    oss = next(start for start in starts() if start.name == "pods-longer/gpt-oss-20b").case
    found = predict(oss)
    assert found.graph_bytes / GIB == pytest.approx(1.03, rel=0.1)
    assert found.activation_bytes / GIB == pytest.approx(2.87, rel=0.02)
    fewer = Case({**oss.row, "args": ["--max-cudagraph-capture-size=512"]}, True)
    assert predict(fewer).graph_bytes < 0.7 * found.graph_bytes
    # Without Hopper's Triton kernels Marlin has a workspace.
    assert experts_in_one_kernel(*started(oss))
    assert not experts_in_one_kernel(
        *started(Case({**oss.row, "gpu": "NVIDIA-L40S", "totalGiB": None}, True))
    )
    _, newer = started(Case({**oss.row, "version": "0.29.0"}, True))
    assert newer.graphs.sizes == 83  # as a log of 0.32 on an H200 says


@pytest.mark.parametrize("asked", [["-O0"], ["--enforce-eager"], ["-O2", "--optimization-level=0"]])
def test_the_lowest_level_captures_nothing(asked):
    found = case("h200-llama31-8b-bf16")
    assert predict(Case({**found.row, "args": asked}, found.held_out)).graph_bytes == 0


@pytest.mark.parametrize("asked", [["-O2"], ["-O0", "-O2"], ["-O0", "--optimization-level=2"]])
def test_the_last_of_several_levels_counts(asked):
    found = case("h200-llama31-8b-bf16")
    assert predict(Case({**found.row, "args": asked}, found.held_out)) == predict(found)


def test_older_versions_levels_are_not_read():
    found = case("h200-llama31-8b-bf16")
    older = Case({**found.row, "args": ["-O0"], "version": "0.25.0"}, found.held_out)
    assert predict(older) == predict(Case({**older.row, "args": []}, found.held_out))


def test_with_expert_parallelism_each_gpu_has_whole_experts():
    asked, settings = started(case("h200-qwen3-moe-12-layers-bf16"))
    wide = replace(asked.architecture, moe_intermediate_size=4 * asked.architecture.hidden_size)
    asked = replace(asked, architecture=wide)
    split = replace(settings, tensor=2)
    whole = replace(split, expert_parallel=True)
    assert memory.expert_workspace_bytes(asked, whole) > memory.expert_workspace_bytes(asked, split)
