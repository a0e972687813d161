"""Predicted speed, and what earlier measurements teach."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.memory import weights
from tacho_engines.shared.compatibility import stored_method
from tacho_engines.vllm.parallel import splits, tensor_problem
from tacho_operator.core.planner.history import excess_share
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.speed import DecodeStep, active_parameters, read_share
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import PastMeasurement
from tools.mock.specs import CONFIG, spec

SEEN = PastMeasurement(
    engine="vllm",
    engine_version="0.32.0",
    gpu_product="NVIDIA-L4",
    predicted_total_bytes=1000,
    actual_total_bytes=2000,
    predicted_known_bytes=900,
    actual_known_bytes=850,
)
WANTED = {"engine": "vllm", "version": "0.32.0", "product": "NVIDIA-L4", "fills": True}


def speed(model, device, *, context=1024):
    method = "awq" if model.endswith("awq") else "none"
    parts = weights.parts(facts(model))
    step = DecodeStep(
        placement=placement("vllm", model, method, device),
        weights_bytes=int(parts.total - parts.embedding),
        key_value_bytes=2.0,
        input_tokens=context,
        output_tokens=0,
    )
    return step.bound()


@pytest.mark.parametrize(
    ("model", "gpu", "tokens_per_second"),
    [
        ("llama-3.1-8b", "H200", 317),
        ("llama-3.1-8b", "L4", 19.8),
        ("llama-3.1-8b-awq", "H200", 998),
        ("llama-3.1-8b-awq", "L4", 62.4),
    ],
)
def test_one_stream_is_bound_by_bandwidth(model, gpu, tokens_per_second):
    """measurement.md, section 5, worked examples at 1024 tokens of context."""
    assert speed(model, gpu).decode_tokens_per_second == pytest.approx(tokens_per_second, rel=0.01)


def test_measured_speed_is_below_the_bound_and_not_far():
    """Own measurement, H200, vLLM 0.26, Llama-3.1-8B, one stream: 229 tok/s in 16 bits."""
    assert 0.6 * 317 < 229 < speed("llama-3.1-8b", "H200").decode_tokens_per_second


def test_active_parameters_are_the_published_ones():
    """Mixtral paper: 12.9B active; Qwen3-30B-A3B model card: 3.3B."""
    assert active_parameters(facts("mixtral-8x7b").architecture) == pytest.approx(12.9e9, rel=0.02)
    assert active_parameters(facts("qwen3-30b-a3b").architecture) == pytest.approx(3.3e9, rel=0.1)


def test_one_token_reads_its_own_experts_and_many_read_all():
    found = facts("mixtral-8x7b")
    one, many = (read_share(found, found.architecture, streams) for streams in (1, 256))
    assert one == pytest.approx(0.275, abs=0.01)
    assert 0.99 < many <= 1.0


def test_an_unknown_bandwidth_predicts_no_speed():
    unknown = dataclasses.replace(named_gpu("L4"), bandwidth_bytes=0.0)
    assert speed("llama-3.1-8b", unknown) is None


def test_nothing_seen_of_this_engine_version_and_product_teaches_nothing():
    others = [{"engine": "llamacpp"}, {"gpu_product": "NVIDIA-H200"}, {"engine_version": "0.26.0"}]
    assert excess_share((), **WANTED) == 0.0
    assert excess_share(tuple(dataclasses.replace(SEEN, **other) for other in others), **WANTED) == 0.0


@pytest.mark.parametrize(
    ("changes", "fills", "share"),
    [
        # The cache is 50 smaller than planned: the budget's rest took 50 more than its 100.
        ({}, True, 0.5),
        # An engine whose cache is as planned: what the device shows besides weights and cache.
        ({"actual_known_bytes": 900, "actual_total_bytes": 1040}, False, 0.4),
        ({"actual_known_bytes": 900, "actual_total_bytes": 1040}, True, 0.0),
        ({"actual_known_bytes": 950}, True, 0.0),
        ({"actual_known_bytes": 800}, True, 1.0),
        ({"actual_known_bytes": 799}, True, 0.0),
        ({"actual_known_bytes": 1100}, True, 0.0),
        ({"predicted_known_bytes": 1000}, True, 0.0),
    ],
)
def test_what_is_a_lesson(changes, fills, share):
    seen = dataclasses.replace(SEEN, **changes)
    assert excess_share((seen,), **{**WANTED, "fills": fills}) == pytest.approx(share)


def test_the_median_ignores_an_outlier_and_the_order():
    rows = (SEEN, SEEN, dataclasses.replace(SEEN, actual_known_bytes=900))
    assert {excess_share(order, **WANTED) for order in permutations(rows)} == {0.5}


def test_a_new_plan_uses_and_shows_what_was_learned():
    asks = spec(
        gpu={"products": ["L4"]}, engine={"name": "vllm"}, quantization={"method": "none"},
        context={"concurrency": 1},
    )  # fmt: skip
    model = facts("llama-3.1-8b")
    slightly = dataclasses.replace(SEEN, actual_known_bytes=880)
    plain, same, taught = (
        plan_model(asks, model, nodes=None, history=history, config=CONFIG)
        for history in ((), (slightly,), (SEEN,))
    )
    assert isinstance(plain, ModelPlan)
    assert isinstance(taught, ModelPlan)
    assert same == plain, "the margin covers it"
    assert taught.max_model_len < plain.max_model_len
    assert taught.predicted.weights_bytes == plain.predicted.weights_bytes
    assert (
        "Earlier measurements of vllm 0.32.0 on NVIDIA-L4 took 50 % more than predicted beside weights and "
        "cache. The plan reserves as much." in taught.message
    )
    assert "Earlier measurements" not in plain.message


numbers = st.integers(-5, 10**13)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=12), st.booleans())
def test_a_lesson_is_always_within_its_bounds(rows, fills):
    history = tuple(
        dataclasses.replace(
            SEEN, predicted_total_bytes=a, actual_total_bytes=b, predicted_known_bytes=c, actual_known_bytes=d
        )
        for a, b, c, d in rows
    )
    assert 0.0 <= excess_share(history, **{**WANTED, "fills": fills}) <= 1.0


@pytest.mark.parametrize(
    ("model", "gpus", "allowed"),
    [
        ("llama-3.1-8b", 8, ((8, 1), (4, 2), (2, 4), (1, 8))),
        ("qwen2.5-7b", 8, ((4, 2), (2, 4), (1, 8))),
        ("qwen2.5-7b", 7, ((1, 7),)),
        ("octocoder", 3, ((3, 1), (1, 3))),
    ],
)
def test_how_a_model_may_be_spread(model, gpus, allowed):
    assert splits(placement("vllm", model, "none", count=gpus)) == allowed


def test_quantization_groups_must_stay_whole():
    found = facts("llama-2-7b-gptq")
    assert found.architecture is not None
    assert tensor_problem(found.architecture, found, 2) == ""
    assert "groups of 128" in tensor_problem(found.architecture, found, 4)


@pytest.mark.parametrize(
    ("method", "scheme", "gpu", "rate"),
    [
        ("compressed-tensors", "W4A16", "H200", "fp16_flops"),  # as AWQ: the same kernel
        ("compressed-tensors", "W8A16-float", "H200", "fp16_flops"),
        ("compressed-tensors", "W8A8-int", "A100-80GB", "int8_ops"),
        ("compressed-tensors", "W8A8-float", "B300", "fp8_flops"),
        ("compressed-tensors", "W8A8-float", "A100-80GB", "fp16_flops"),  # by Marlin: weights alone
        ("compressed-tensors", "W4A4-float", "B200", "fp4_flops"),
        ("compressed-tensors", "W4A4-float", "H200", "fp16_flops"),
        ("modelopt", "NVFP4", "B200", "fp4_flops"),
        ("modelopt", "FP8", "L4", "fp8_flops"),
        ("fp8", "block-dynamic", "H200", "fp8_flops"),
    ],
)
def test_a_prompts_bound_is_of_the_units_that_the_checkpoint_asks_for(method, scheme, gpu, rate):
    base = facts("llama-3.1-8b")
    quantization = dataclasses.replace(base.quantization, method=method, bits=8, scheme=scheme)
    stored = dataclasses.replace(base, quantization=quantization)
    asked = placement("vllm", stored, stored_method(stored), gpu)
    step = DecodeStep(
        placement=asked, weights_bytes=GIB, key_value_bytes=2.0, input_tokens=512, output_tokens=0
    )
    of_the_gpu = getattr(asked.device, rate)
    assert of_the_gpu > 0
    parameters = of_the_gpu / (2 * step.bound().prefill_tokens_per_second)
    assert parameters == pytest.approx(6.98e9, rel=0.01)
