"""NF4, W8A8 and experts with vLLM 0.32: the constants that apply, what bands hold, and larger graphs."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest

from benchmarks.gpu.pages import h200_newest_quantized as page
from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_engines.vllm.graphs import pool_bytes
from tacho_engines.vllm.speed import (
    EXPERTS_4,
    EXPERTS_8,
    EXPERTS_16,
    EXPERTS_IN_TURN,
    IN_16_BITS,
    MARLIN_EXPERTS,
    NEWEST_HOST_STEP,
    NEWEST_PROMPT_STEP,
    NEWEST_TOKENS_PER_SECOND,
    NF4,
)
from tacho_operator.core.planner.expected_speed import timing
from tests.unit.planner.test_expected_speed import expect, loop
from tests.unit.planner.test_prompt_graphs import KEPT, captured, is_set, plan

VLLM = planner_adapter("vllm")
SPEED = engine_profile("vllm").speed
JUDGED = dict(page.judged())
MOE = "qwen3-30b-a3b"
EXPERTS = {MOE: (("none", EXPERTS_16), ("fp8", EXPERTS_8)), f"{MOE}-gptq": (("gptq", EXPERTS_4),)}
WITH_EXPERTS = [(model, *of) for model, methods in EXPERTS.items() for of in methods]


def kernel(version: str, model: str, method: str, device: str = "NVIDIA-H200", **more: object):
    _, found, timed = timing(SPEED, placement("vllm", model, method, device, version=version, **more))
    return found, timed


def test_all_loops_of_the_new_folder_are_judged():
    for host, folder in page.FOLDERS.items():
        files = {file.stem for file in folder.glob("*.json")}
        assert {loop.row.name.rpartition("/")[2] for loop in page.loops() if loop.host == host} == files
    assert sum(map(len, JUDGED.values())) == len(page.loops())


@pytest.mark.parametrize("weights", JUDGED)
def test_the_bands_hold_nine_of_ten(weights):
    found = JUDGED[weights]
    steady = [each for each in found if each.steady]
    for judged in (steady, [each for each in steady if each.several]):
        assert sum(not each.holds(page.off(each)) for each in judged) <= len(judged) / 10
    assert sum(not each.holds(page.off(each)) for each in found) <= 1


def test_the_constant_of_experts_in_4_bits_is_fitted_to_these_loops():
    assert page.fit()["arithmetic"] == pytest.approx(MARLIN_EXPERTS, rel=0.01)
    loops = [each for each in JUDGED[page.IN_4_BITS] if each.several]
    assert {each.row.model for each in loops} == {MOE, "olmoe", "mixtral"}
    now, before = (
        page.sizes(errors)
        for errors in (map(page.off, loops), (each.off({"arithmetic": IN_16_BITS}) for each in loops))
    )
    assert median(now) < median(before) / 1.5
    assert now[-1] < before[-1] / 2


def test_experts_that_end_within_a_group_have_slower_kernels():
    slow, timed = kernel("0.32.0", "phi-mini-moe-as-qwen3-gptq", "gptq")
    assert timed
    assert slow.ran.startswith("as vLLM 0.32 ran several streams of one 7B whose experts end within a group")
    whole, _ = kernel("0.32.0", f"{MOE}-gptq", "gptq")
    assert slow.arithmetic < whole.arithmetic
    assert (slow.decode_within, slow.output_within) == (1, 1)
    errors = [each.off() for each in JUDGED[page.PARTIAL]]
    assert page.sizes(errors)[-1] < 5
    # Widths of 16 bits have no groups, and a whole expert of 768 has six.
    assert kernel("0.32.0", "phi-mini-moe-as-qwen3", "none")[0].partial_groups is False
    assert kernel("0.32.0", f"{MOE}-awq", "awq", count=4, tensor=4)[0].partial_groups is True
    assert kernel("0.32.0", f"{MOE}-awq", "awq", count=2, tensor=2)[0].partial_groups is False
    # Versions before have the same kernels, which were not measured.
    early, _ = kernel("0.26.0", "phi-mini-moe-as-qwen3-gptq", "gptq")
    assert early.arithmetic == slow.arithmetic
    assert early.ran.endswith("version 0.26.0 was not measured")


@pytest.mark.parametrize("changed", [{"scheme": "W8A8-fp8"}, {"group_size": -1}, {"group_size": 0}], ids=str)
def test_other_experts_have_no_partial_groups(changed):
    one = placement("vllm", "phi-mini-moe-as-qwen3-gptq", "gptq", "NVIDIA-H200", version="0.32.0")
    assert VLLM.partial_groups(one)
    stored = replace(one.facts.quantization, **changed)
    assert not VLLM.partial_groups(replace(one, facts=replace(one.facts, quantization=stored)))


@pytest.mark.parametrize(("arguments", "partial"), [
    ((), True), (("--enable-expert-parallel",), False), (("--enable_expert_parallel",), False),
    (("--enable-exp",), False), (("-ep",), False), (("-e",), False),
    (("-ep", "--no-enable-expert-parallel"), True), (("--no-enable-expert-parallel", "-ep"), False),
])  # fmt: skip
def test_experts_are_whole_however_the_switch_is_written(arguments, partial):
    """768 in groups of 128 are cut by four GPUs, unless each has whole experts."""
    fields = {"count": 4, "tensor": 4, "version": "0.32.0", "arguments": arguments}
    one = placement("vllm", f"{MOE}-gptq", "gptq", "NVIDIA-H200", **fields)
    assert VLLM.partial_groups(one) is partial
    assert any("slow kernels" in clause for clause in VLLM.fallbacks(one)) is partial


def test_larger_graphs_take_pool_where_the_version_counts_graphs():
    def more(version: str) -> int:
        """Bytes that three sizes up to 2,560 tokens take in addition to three up to 512."""
        found = []
        for largest in (512, 2560):
            one = placement("vllm", "llama-3.1-8b", "none", "NVIDIA-H200", version=version)
            words = ("--cudagraph-capture-sizes", "1", "2", str(largest))
            one = replace(one, options=replace(one.options, arguments=words))
            account = planner_adapter("vllm").account(one, Context(4096, 16))
            assert account is not None
            found.append(account.graph_bytes)
        return found[1] - found[0]

    pool = pool_bytes(facts("llama-3.1-8b").architecture, 2560)
    assert 0.3 * GIB < pool < 0.4 * GIB
    assert more("0.26.0") < pool / 2
    assert more("0.32.0") == more("0.26.0") + pool
    assert pool_bytes(facts("llama-3.1-8b").architecture, 512) == 0
    assert pool_bytes(facts("gpt-oss-20b").architecture, 1024) == 0


def test_errors_fell_beside_the_law_of_0_26():
    several = page.several_streams()
    before, after = (
        page.sizes(each) for each in zip(*((x.off_before(), page.off(x)) for x in several), strict=True)
    )
    assert median(after) < median(before)
    assert after[-1] < before[-1]


@pytest.mark.parametrize(
    ("version", "launching", "prompt_step", "overlap"),
    [("0.26.0", NF4.launch_microseconds, 0, 1), ("0.32.0", 0, NEWEST_PROMPT_STEP, 1)],
)
def test_nf4_has_the_host_of_dense_models(version, launching, prompt_step, overlap):
    found, _ = kernel(version, "llama-3.1-8b", "bnb-nf4")
    assert (found.launch_microseconds, found.prompt_step_microseconds) == (launching, prompt_step)
    assert found.overlap == overlap
    assert found.batch_unpacking == NF4.batch_unpacking


@pytest.mark.parametrize(("model", "method", "before"), WITH_EXPERTS)
def test_experts_are_launched_alike_by_0_32(model, method, before):
    old, new = (kernel(version, model, method)[0] for version in ("0.31.0", "0.32.0"))
    assert old.launch_microseconds == before.launch_microseconds
    assert old.server_tokens_per_second == float("inf")
    assert new.launch_microseconds == EXPERTS_IN_TURN
    assert new.prompt_step_microseconds == 0
    assert new.server_tokens_per_second == NEWEST_TOKENS_PER_SECOND
    assert new.host_step_microseconds == NEWEST_HOST_STEP


@pytest.mark.parametrize(
    ("model", "method", "ran", "bands"),
    [
        ("llama-3.1-8b", "bnb-nf4", "3B to 8B on H200s", (0.09, 0.25)),
        ("llama-3.1-8b-w8a8", "compressed-tensors", "3B to 8B on H200s", (0.09, 0.25)),
        (MOE, "none", "3B to 47B with experts on H200s", (0.17, 0.30)),
        (MOE, "fp8", "7B to 107B with experts on H200s", (0.17, 0.35)),
        (f"{MOE}-gptq", "gptq", "7B to 47B with experts on H200s", (0.17, 0.30)),
    ],
)
def test_what_ran_is_said_on_an_h200_alone(model, method, ran, bands):
    found, timed = kernel("0.32.0", model, method)
    assert timed
    assert found.ran == f"as vLLM 0.32 ran models of {ran}"
    assert (found.decode_within, found.output_within) == bands
    other, timed = kernel("0.32.0", model, method, "NVIDIA-H100-80GB-HBM3")
    assert timed
    assert other.ran.endswith("; NVIDIA-H100-80GB-HBM3 was not measured")
    assert other.output_within > found.output_within
    assert not kernel("0.33.0", model, method, "NVIDIA-H100-80GB-HBM3")[1]


@pytest.mark.parametrize("method", ["none", "fp8"])
def test_experts_over_several_gpus_were_not_timed(method):
    assert not kernel("0.32.0", MOE, method, count=2, tensor=2)[1]


def test_small_experts_wait_for_their_host_too():
    small = expect(model="olmoe-as-qwen3", version="0.32.0")
    assert small.ran.endswith("may wait for the host")
    assert loop("olmoe-as-qwen3", version="0.32.0").tokens_per_second(256) <= NEWEST_TOKENS_PER_SECOND


@pytest.mark.parametrize(
    "where",
    [
        {"model": "llama-3.1-8b", "method": "bnb-nf4"},
        {"model": f"{MOE}-gptq", "method": "gptq"},
        {"model": f"{MOE}-awq", "method": "awq"},
        {"model": f"{MOE}-w4a16", "method": "compressed-tensors"},
    ],
    ids=str,
)
def test_larger_graphs_may_be_set_where_they_were_measured(where):
    assert captured(**where).arguments
    assert not captured(**where, version="0.26.0").arguments
    assert not captured(**where, device="NVIDIA-H100-80GB-HBM3").arguments
    assert not captured(**where, tensor=2, count=2).arguments


@pytest.mark.parametrize(
    "where",
    [
        {"method": "bnb-nf4"},
        {"model": "llama-3.1-8b-awq", "method": "awq"},
        {"model": "llama-3.1-8b-w8a8", "method": "compressed-tensors"},
        {"model": f"{MOE}-w8a8", "method": "compressed-tensors"},
        {"model": "llama-3.1-8b", "method": "bnb-fp4"},
    ],
    ids=str,
)
def test_others_keep_the_engines_own(where):
    assert not captured(**where).arguments


@pytest.mark.parametrize(
    ("model", "method", "concurrency", "more"),
    [
        (f"{MOE}-gptq", "gptq", 16, 33),
        (f"{MOE}-gptq", "gptq", 64, 67),
        (f"{MOE}-awq", "awq", 64, 67),
        ("mixtral-as-qwen3-gptq", "gptq", 64, None),
        ("phi-mini-moe-as-qwen3-gptq", "gptq", 64, None),
        ("llama-3.1-8b", "bnb-nf4", 16, None),
        ("llama-3.1-8b", "bnb-nf4", 64, 32),
        ("qwen2.5-3b", "bnb-nf4", 16, 17),
    ],
)
def test_a_plan_sets_them_where_that_gains_much(model, method, concurrency, more):
    wish = {"model": model, "concurrency": concurrency, "quantization": {"method": method}}
    found, without = plan(**wish), plan(KEPT, **wish)
    assert is_set(found) == (more is not None)
    after, before = (each.predicted.expected_output_tokens_per_second for each in (found, without))
    assert round(100 * (after / before - 1)) == (more or 0)


def test_gains_in_prose_are_those_of_the_loops():
    text = " ".join((page.RAW.parents[2] / "docs/design/planner.md").read_text(encoding="utf-8").split())
    few, many = (page.times(MOE, "gptq", streams) for streams in (16, 64))
    assert f"{few:.1f} to {many:.1f} times" in text
    nf4 = page.span_of([page.times(page.EIGHT, page.NF4, streams) for streams in (16, 64, 256)])
    assert f"8B in NF4 gained {nf4} %" in text
    several = page.sizes(page.off(each) for each in page.several_streams())
    said = f"{len(several)} loops of several streams are {median(several):.1f} % off in the median"
    assert f"{said} and {several[-1]:.0f} % at most" in text
