"""Predicted speed, and what earlier measurements teach."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.memory import weights
from tacho_engines.vllm.parallel import splits, tensor_problem
from tacho_operator.core.planner.correction import correction_for
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.speed import DecodeStep, active_parameters, read_share
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.types import PastMeasurement
from tools.mock.specs import CONFIG, spec

SEEN = PastMeasurement(
    engine="vllm",
    engine_version="0.32.0",
    quantization_method="none",
    gpu_product="NVIDIA-L4",
    predicted_bytes=1000,
    actual_bytes=1100,
    predicted_kv_cache_tokens=1000,
    actual_kv_cache_tokens=900,
)
WANTED = {"engine": "vllm", "version": "0.32.0", "method": "none", "product": "NVIDIA-L4"}


def speed(model, device, *, streams=1, context=1024):
    method = "awq" if model.endswith("awq") else "none"
    step = DecodeStep(
        placement=placement("vllm", model, method, device),
        weights_bytes=int(weights.parts(facts(model)).total),
        key_value_bytes=2.0,
        context_tokens=context,
    )
    return step.bound(streams)


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


def test_many_streams_are_bound_by_arithmetic_in_the_end():
    few, many = speed("llama-3.1-8b", "L4", streams=2), speed("llama-3.1-8b", "L4", streams=4096, context=1)
    assert few.replica_tokens_per_second == pytest.approx(2 * few.decode_tokens_per_second, rel=0.02)
    bound = named_gpu("L4").fp16_flops / (2 * active_parameters(facts("llama-3.1-8b").architecture))
    assert many.replica_tokens_per_second == pytest.approx(bound, rel=0.001)


def test_active_parameters_are_the_published_ones():
    """Mixtral paper: 12.9B active; Qwen3-30B-A3B model card: 3.3B."""
    assert active_parameters(facts("mixtral-8x7b").architecture) == pytest.approx(12.9e9, rel=0.02)
    assert active_parameters(facts("qwen3-30b-a3b").architecture) == pytest.approx(3.3e9, rel=0.1)


def test_one_token_reads_its_own_experts_and_many_read_all():
    found = facts("mixtral-8x7b")
    one, many = (read_share(found, found.architecture, streams) for streams in (1, 256))
    assert one == pytest.approx(0.275, abs=0.01)
    assert 0.99 < many < 1.0


def test_an_unknown_bandwidth_predicts_no_speed():
    unknown = dataclasses.replace(named_gpu("L4"), bandwidth_bytes=0.0)
    assert speed("llama-3.1-8b", unknown) is None


def test_nothing_seen_teaches_nothing():
    assert correction_for((), **WANTED).message() == ""
    other = dataclasses.replace(SEEN, engine="llamacpp")
    far = dataclasses.replace(SEEN, gpu_product="NVIDIA-H200")
    assert correction_for((other, far), **WANTED).bytes_factor == 1.0


def test_one_measurement_counts_half():
    found = correction_for((SEEN,), **WANTED)
    assert (found.bytes_factor, found.tokens_factor) == (pytest.approx(1.05), pytest.approx(0.95))
    assert found.message() == (
        " Corrected by 1 earlier measurement (vllm 0.32.0, none, NVIDIA-L4): "
        "memory x1.05, KV-cache tokens x0.95."
    )


def test_many_measurements_count_almost_fully_and_the_median_ignores_one_outlier():
    odd = dataclasses.replace(SEEN, actual_bytes=1900)
    found = correction_for((SEEN,) * 18 + (odd,), **WANTED)
    assert found.bytes_factor == pytest.approx(1.095)


def test_a_broken_measurement_is_no_lesson():
    broken = dataclasses.replace(SEEN, actual_bytes=5000, actual_kv_cache_tokens=None)
    negative = dataclasses.replace(SEEN, actual_bytes=-5, predicted_bytes=0, actual_kv_cache_tokens=0)
    found = correction_for((broken, negative), **WANTED)
    assert (found.bytes_factor, found.tokens_factor, found.samples) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("predicted", "actual", "factor"),
    [
        (1000, 500, 0.75),
        (1000, 499, 1.0),
        (1000, 2000, 1.5),
        (1000, 2001, 1.0),
        (1, 2, 1.5),
        (0, 1000, 1.0),
        (1000, 0, 1.0),
        (None, 1000, 1.0),
        (-1000, -900, 1.0),
    ],
)
def test_what_is_a_lesson(predicted, actual, factor):
    seen = dataclasses.replace(SEEN, predicted_bytes=predicted, actual_bytes=actual)
    assert correction_for((seen,), **WANTED).bytes_factor == pytest.approx(factor)


def test_the_closest_group_is_used():
    old = dataclasses.replace(SEEN, engine_version="0.26.0", actual_bytes=1400)
    other = dataclasses.replace(SEEN, quantization_method="awq", actual_bytes=600)
    assert correction_for((SEEN, old, other), **WANTED).bytes_factor == pytest.approx(1.05)
    assert correction_for((old, other), **WANTED).bytes_factor == pytest.approx(1.2)
    assert correction_for((other,), **WANTED).bytes_factor == pytest.approx(0.8)


def test_the_order_does_not_matter():
    rows = (SEEN, dataclasses.replace(SEEN, actual_bytes=1500), dataclasses.replace(SEEN, actual_bytes=700))
    assert len({correction_for(order, **WANTED) for order in permutations(rows)}) == 1


def test_a_new_plan_uses_and_shows_what_was_learned():
    asks = spec(
        gpu={"products": ["L4"]}, engine={"name": "vllm"}, quantization={"method": "none"},
        context={"concurrency": 1},
    )  # fmt: skip
    model = facts("llama-3.1-8b")
    plain = plan_model(asks, model, nodes=None, history=(), config=CONFIG)
    taught = plan_model(asks, model, nodes=None, history=(SEEN,) * 9, config=CONFIG)
    assert isinstance(plain, ModelPlan)
    assert isinstance(taught, ModelPlan)
    assert taught.max_model_len < plain.max_model_len
    bytes_only = dataclasses.replace(SEEN, actual_kv_cache_tokens=None)
    tokens_only = dataclasses.replace(SEEN, actual_bytes=None)
    for seen in (bytes_only, tokens_only):
        partly = plan_model(asks, model, nodes=None, history=(seen,) * 9, config=CONFIG)
        assert isinstance(partly, ModelPlan)
        assert taught.max_model_len < partly.max_model_len < plain.max_model_len
    assert "Corrected by 9 earlier measurements" in taught.message
    assert "Corrected" not in plain.message


@pytest.mark.parametrize(("actual", "shorter"), [(900, False), (1100, True)])
def test_short_requests_teach_nothing_against_full_ones_of_an_engine_that_grows(actual, shorter):
    """Transformers reads as much of its cache at once as its requests fill, and a measurement's are short."""
    asks = spec(
        gpu={"products": ["L4"]}, engine={"name": "transformers"}, quantization={"method": "bnb-int8"},
        context={"concurrency": 4},
    )  # fmt: skip
    seen = dataclasses.replace(
        SEEN, engine="transformers", quantization_method="bnb-int8", actual_bytes=actual,
        actual_kv_cache_tokens=None,
    )  # fmt: skip
    model = facts("llama-3.1-8b")
    plain = plan_model(asks, model, nodes=None, history=(), config=CONFIG)
    taught = plan_model(asks, model, nodes=None, history=(seen,) * 9, config=CONFIG)
    assert isinstance(plain, ModelPlan)
    assert isinstance(taught, ModelPlan)
    assert (taught.max_model_len < plain.max_model_len) == shorter
    assert (taught.max_model_len == plain.max_model_len) != shorter


@given(st.lists(st.tuples(st.integers(-5, 10**13), st.integers(-5, 10**13)), max_size=12))
def test_a_correction_is_always_within_its_bounds(pairs):
    rows = tuple(dataclasses.replace(SEEN, predicted_bytes=p, actual_bytes=a) for p, a in pairs)
    assert 0.5 <= correction_for(rows, **WANTED).bytes_factor <= 2.0


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
