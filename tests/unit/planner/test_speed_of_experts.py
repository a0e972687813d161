"""Speed of models with experts: kernels of their own, and what launching them costs."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.planner.speed_rows import _step
from tacho_contract.launch import ServiceLevel
from tacho_engines.registry import engine_profile
from tacho_operator.core.planner.expected_speed import KNEE_WITHIN, UNTIMED_WITHIN, expected_speed, timing

SPEED = engine_profile("vllm").speed
assert SPEED.law is not None
LAW = SPEED.law


def step_of(model, method="none"):
    cell = {"model": model, "method": method, "version": "0.26.0", "args": [], "maxModelLen": 4096}
    return _step(json.dumps(cell), 512, 200)


def expect(model, method="none", streams=64, slots=1024, step=None):
    level, step = ServiceLevel(), step or step_of(model, method)
    return expected_speed(SPEED, step, concurrency=streams, slots=slots, level=level, front_ends=None)


def test_a_step_within_the_cuda_graphs_launches_no_kernel():
    step = step_of("llama-3.1-8b")
    assert step.launch_seconds(1, 1, LAW.kernels[0]) == 0
    assert step.launch_seconds(2, 1, LAW.kernels[0]) > 0
    short = dataclasses.replace(step, input_tokens=100)
    assert short.launch_seconds(100, 4, LAW.kernels[0]) == 0
    kernel = timing(SPEED, step_of("gpt-oss-20b").placement)[1]
    assert step.launch_seconds(256, 1, kernel) == 0 < step.launch_seconds(256, 2, kernel)


@pytest.mark.parametrize(("model", "slower"), [("llama-3.1-8b", True), ("gpt-oss-20b", False)])
def test_cuda_graphs_are_captured_for_twice_the_requests_at_once(model, slower):
    """But for gpt-oss. Prompts are short, so that a step with one has a graph where many requests may run."""
    step = dataclasses.replace(step_of(model), input_tokens=100)
    many, few = (expect(model, streams=16, slots=slots, step=step) for slots in (256, 16))
    assert (few.output_tokens_per_second < many.output_tokens_per_second) is slower
    step = dataclasses.replace(step, input_tokens=10)
    many, few = (expect(model, streams=16, slots=slots, step=step) for slots in (256, 16))
    assert few.output_tokens_per_second == many.output_tokens_per_second, "26 tokens are fewer than 32"


@pytest.mark.parametrize(
    ("model", "method", "within"),
    [
        ("qwen3-30b-a3b", "none", 0.17),
        ("qwen3-30b-a3b-gptq", "gptq", 0.10),
        ("qwen3-30b-a3b-w4a16", "compressed-tensors", 0.10),
        ("qwen3-30b-a3b", "fp8", 0.25),
        ("gpt-oss-20b", "none", UNTIMED_WITHIN),
    ],
)
def test_experts_have_kernels_of_their_own(model, method, within):
    """In 16, 8 and 4 bits they were timed. Of MXFP4 one stream was."""
    dense, found = expect("llama-3.1-8b"), expect(model, method)
    assert found.decode_within == within
    assert found.output_within > dense.output_within
    assert found.ran not in ("", dense.ran)
    assert (dense.capacity_within, found.capacity_within) == (KNEE_WITHIN, UNTIMED_WITHIN)


def test_a_form_without_kernels_of_its_own_for_experts_has_those_of_dense_models():
    """In NF4 as in a dense model, which is slower than in 16 bits under load. Nothing of it was timed."""
    found = expect("qwen3-30b-a3b", "bnb-nf4")
    assert timing(SPEED, step_of("qwen3-30b-a3b", "bnb-nf4").placement)[1].methods == ("bnb-nf4",)
    assert (found.decode_within, found.ran) == (UNTIMED_WITHIN, "")
    assert found.output_tokens_per_second < expect("qwen3-30b-a3b").output_tokens_per_second


def test_gpt_oss_loses_throughput_where_its_steps_have_no_cuda_graph():
    few, many = (expect("gpt-oss-20b", streams=streams) for streams in (64, 256))
    assert many.output_tokens_per_second < few.output_tokens_per_second


@pytest.mark.parametrize(
    ("model", "lengths"),
    [("qwen3-30b-a3b", (300, 10)), ("llama-3.1-8b", (300, 10)), ("qwen3-30b-a3b", (200, 200))],
)
def test_the_knee_is_beyond_the_dip_where_steps_outgrow_the_cuda_graphs(model, lengths):
    """It was at the dip, with a fifth of what the plan itself expects of as many streams as fit."""
    step = dataclasses.replace(step_of(model), input_tokens=lengths[0], output_tokens=lengths[1])
    found = expect(model, streams=1024, step=step)
    dip = expect(model, streams=13 if lengths[1] == 10 else 200, step=step)
    assert dip.output_tokens_per_second < found.capacity_tokens_per_second
    assert found.output_tokens_per_second < 1.2 * found.capacity_tokens_per_second
