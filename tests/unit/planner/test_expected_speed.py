"""What one stream is expected to decode: as near as is claimed, and nothing where nothing was timed."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner import decode
from benchmarks.planner.models import facts
from benchmarks.planner.placements import gpu, placement
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.profile import StepTiming
from tacho_engines.registry import engine_profile
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import DeviceOption
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.search import alternative, rank
from tacho_operator.core.planner.speed import SpeedBound, expected
from tools.mock.specs import CONFIG, gpu_node, spec

CLAIMED = 0.05
"""Of docs/results/planner.md."""
BOUND = SpeedBound(decode_tokens_per_second=318, replica_tokens_per_second=318, step_weights_bytes=1)
STEPS = engine_profile("vllm").speed.steps
UNTIMED = {
    "by-hand/8b-eager",
    "by-hand/8b-w4a16-marlin",
    "matrix/moe-bf16",
    "two/llama-8b-tp2",
}


@pytest.mark.parametrize("cell", decode.cells(), ids=lambda cell: cell.name)
def test_every_cell_is_as_near_as_claimed_or_nothing_is(cell):
    if cell.name in UNTIMED:
        assert cell.expected is None
    else:
        assert abs(cell.error) <= CLAIMED
        assert cell.expected < cell.best


def test_what_is_held_back_judges_each_law():
    judged = [cell for cell in decode.cells() if cell.held_out and cell.expected is not None]
    assert len(judged) == 16
    assert {id(cell.law) for cell in judged} == {id(law) for law in STEPS}


def test_the_constants_are_what_the_other_cells_give():
    first, *others = STEPS
    traffic, layer_microseconds = decode.fitted(first)
    assert first.traffic == pytest.approx(traffic, abs=0.01)
    assert first.layer_microseconds == pytest.approx(layer_microseconds, abs=0.5)
    for law in others:
        found, _ = decode.fitted(law, layer_microseconds=law.layer_microseconds)
        assert law.traffic == pytest.approx(found, abs=0.01)


def test_each_cell_names_the_file_it_was_read_from():
    for cell in decode.cells():
        assert (decode.ROOT / cell.row["source"].split()[0]).exists()
    names = [cell.name for cell in decode.cells()]
    assert len(set(names)) == len(names)


def rate(model="llama-3.1-8b", method="none", device="H200", **more):
    found = expected(STEPS, placement("vllm", model, method, device, **{"version": "0.26.0", **more}), BOUND)
    return found and round(found.tokens_per_second)


def test_a_step_is_the_bytes_and_the_layers():
    law = StepTiming(
        methods=("none",),
        capability=(9, 0),
        since="1",
        traffic=2.0,
        layer_microseconds=100.0,
        ran="",
        source="",
    )
    assert law.seconds(0.01, 20) == pytest.approx(0.022)


def test_what_was_timed_is_expected_of_that_generation_and_later_versions():
    assert rate() == 205
    assert rate(version="0.32.0") == 205
    assert rate(device="H100") == 205, "the law, with that GPU's own bound"
    assert rate(arguments=("--max-num-seqs=8", "--kv-cache-dtype=fp8")) == 205


@pytest.mark.parametrize(
    "other",
    [
        {"device": "L4"},
        {"device": "A100-80GB"},
        {"device": "NVIDIA-H200-MIG-1g.18gb"},
        {"device": dataclasses.replace(gpu("H200"), sharers=2)},
        {"version": "0.25.1"},
        {"version": "latest"},
        {"count": 2, "tensor": 2},
        {"count": 2, "pipeline": 2},
        {"method": "gguf"},
        {"method": "bnb-int8"},
        {"method": "gptq"},
        {"model": "qwen3-moe-12-layers"},
        {"model": "qwen3-8b-block-fp8", "method": "fp8"},
        {"model": "deepseek-coder-v2"},
        {"arguments": ("--enforce-eager",)},
        {"arguments": ("--enforce-eag",)},
        {"arguments": ("-O1",)},
        {"arguments": ("--speculative_config", "{}")},
        {"arguments": ("--compilation-config.mode=0",)},
        {"arguments": ("-cc", "{}")},
        {"arguments": ("--spec-method", "ngram")},
        {"arguments": ("--config", "x.yaml")},
        {"arguments": ("--dtype", "float32")},
        {"env": {"VLLM_DISABLED_KERNELS": "MacheteLinearKernel"}},
        {"env": {"TORCHDYNAMO_DISABLE": "1"}},
    ],
    ids=str,
)
def test_nothing_is_expected_of_what_was_not_timed(other):
    assert rate(**other) is None


def test_what_changes_no_step_changes_no_expectation():
    said = {
        "arguments": ("--max_num_seqs=64", "--served-model-name", "m"),
        "env": {"VLLM_LOGGING_LEVEL": "DEBUG"},
    }
    assert rate(**said) == rate()


def test_nothing_is_expected_where_there_is_no_bound():
    assert expected(STEPS, placement("vllm", "llama-3.1-8b", "none", "H200"), None) is None


def plan(product, **more):
    asked = spec(quantization={"method": "none"}, gpu={"products": [product], "count": 1}, **more)
    return plan_model(
        asked, facts("llama-3.1-8b"), nodes=(gpu_node("node", product, 1),), history=(), config=CONFIG
    )


def test_the_plan_says_what_is_expected_and_from_what():
    found = plan("NVIDIA-H200", engine={"name": "vllm"})
    assert "Expected 205 tok/s for one stream (at best 317), as vLLM 0.26 ran models of" in found.message
    assert found.predicted.expected_decode_tokens_per_second == pytest.approx(205, abs=1)


def test_where_nothing_was_timed_the_plan_has_the_bound_alone():
    found = plan("NVIDIA-L40S", engine={"name": "vllm"})
    assert "At best" in found.message
    assert "Expected" not in found.message
    assert found.predicted.expected_decode_tokens_per_second is None


def test_the_plan_says_by_which_speed_it_chose():
    assert "of 100, then expected speed." in plan("NVIDIA-H200").message
    assert "of 100, then the bandwidth bound on speed." in plan("NVIDIA-L40S").message


def attempt(method, bound, device="H200", engine="vllm"):
    return Attempt(
        engine=engine_profile(engine),
        placement=placement(engine, "llama-3.1-8b", method, device, version="0.26.0"),
        device_option=DeviceOption(named_gpu(device)),
        speed=dataclasses.replace(BOUND, decode_tokens_per_second=bound),
    )


def test_ways_are_ranked_by_what_is_expected_where_it_is_known():
    """NF4 reads fewer bytes than FP8, and its steps take longer."""
    nf4, fp8 = attempt("bnb-nf4", 834), attempt("fp8", 557)
    assert nf4.ranked_tokens_per_second < fp8.ranked_tokens_per_second
    assert rank(nf4)[3] == -nf4.ranked_tokens_per_second == -nf4.expected.tokens_per_second
    unknown = attempt("bnb-nf4", 834, "L4")
    assert unknown.ranked_tokens_per_second == pytest.approx(834 * unknown.engine.speed.efficiency)


def test_an_alternative_says_by_which_figure_it_was_ranked():
    chosen = dataclasses.replace(attempt("none", 9999), context=object())
    known, unknown = (
        alternative(
            dataclasses.replace(attempt("none", 100, device), context=object()), chosen, is_requested=True
        )
        for device in ("H200", "L4")
    )
    assert known.message.startswith("Expected 82 tok/s for one stream, as vLLM 0.26 ran")
    assert known.expected_decode_tokens_per_second == pytest.approx(82, abs=1)
    assert unknown.message.startswith("Ranked by 70 % of the bandwidth bound of one stream")
    assert unknown.expected_decode_tokens_per_second is None


def test_transformers_come_after_what_carries_load_at_their_best_step():
    """26 ms of an 8B whose bytes take 3.1."""
    assert not dataclasses.replace(engine_profile("transformers").speed, efficiency=0.12).carries_load
    assert all(engine_profile(name).speed.carries_load for name in ("vllm", "llamacpp"))
