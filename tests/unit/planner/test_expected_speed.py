"""What is expected of a plan's speed: as near as is published, with a band that holds, and never an error."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from benchmarks.planner.placements import gpu, placement
from tacho_contract.launch import ServiceLevel
from tacho_contract.model import Architecture, StoredQuantization
from tacho_engines.base import Context
from tacho_engines.hardware.gpu_table import GPUS
from tacho_engines.hardware.gpus import gpu_from_row
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import DeviceOption
from tacho_operator.core.planner.expected_speed import (
    UNTIMED_WITHIN,
    ExpectedSpeed,
    Loop,
    expected_speed,
    timing,
)
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.search import alternative, rank
from tacho_operator.core.planner.speed import DecodeStep
from tools.mock.specs import CONFIG, gpu_node, spec

SPEED = engine_profile("vllm").speed
assert SPEED.law is not None
LAW = SPEED.law


# --- what a plan says --------------------------------------------------------------------------------------
def expect(model="llama-3.1-8b", method="none", device="H200", level=None, streams=64, **more):
    found = placement("vllm", model, method, device, **{"version": "0.26.0", **more})
    return expected_speed(
        SPEED,
        step_of(found),
        concurrency=streams,
        slots=1024,
        level=level or ServiceLevel(),
        front_ends=None,
    )


def step_of(found, input_tokens=512, output_tokens=200):
    account = planner_adapter("vllm").account(found, Context(4096, 1))
    return DecodeStep(
        placement=found,
        weights_bytes=account.read_bytes * max(1, found.tensor * found.pipeline),
        key_value_bytes=2.0,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def loop(model="llama-3.1-8b", method="none", ceiling=float("inf"), version="0.26.0", **lengths):
    found = placement("vllm", model, method, "H200", version=version)
    law, kernel, _ = timing(SPEED, found)
    return Loop(step=step_of(found, **lengths), law=law, kernel=kernel, ceiling=ceiling)


@pytest.mark.parametrize(("streams", "measured"), [(1, 11.7), (8, 86.6), (48, 482), (256, 2200)])
def test_int8_of_bitsandbytes_is_as_slow_as_it_was_measured(streams, measured):
    """The levels of benchmarks/lab/h200/longer/llama-8b-bnb-int8; by its bytes alone it was 253 tok/s."""
    found = loop(method="bnb-int8")
    assert found.tokens_per_second(streams) == pytest.approx(measured, rel=0.05)
    assert expect(method="bnb-int8").decode_within == 1.0


def test_a_stored_checkpoint_in_int8_is_as_slow_as_one_that_bitsandbytes_made():
    """Two pods on an H100 decoded 6.0 and 6.6 tok/s of one stream, of which 200 were expected."""
    stored = StoredQuantization(method="bitsandbytes", bits=8, scheme="int8")
    model = dataclasses.replace(facts("llama-3.1-8b"), quantization=stored)
    found = expect(model=model, method="bnb-int8", device="NVIDIA-H100-80GB-HBM3", streams=202)
    band = 1 + found.decode_within
    assert 6.6 * band > found.decode_tokens_per_second > 6.0 / band
    assert 1280 * band > found.output_tokens_per_second > 1280 / band
    assert "LLM.int8()" in found.ran


def test_what_was_timed_is_expected_of_later_releases_of_that_version():
    first = expect()
    assert round(first.decode_tokens_per_second) == 204
    assert (first.decode_within, first.output_within) == (0.09, 0.2)
    assert expect(version="0.26.3") == first
    assert expect(arguments=("--max-num-seqs=8", "--kv-cache-dtype=fp8")).ran == first.ran
    assert expect(arguments=("--max_num_seqs=64",), env={"VLLM_LOGGING_LEVEL": "DEBUG"}) == first


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"version": "0.31.0"}, "version 0.31.0"),
        ({"device": "NVIDIA-H100-NVL"}, "NVIDIA-H100-NVL"),
        ({"device": "H200-NVL"}, "NVIDIA-H200-NVL"),
    ],
    ids=str,
)
def test_another_version_or_gpu_of_the_generation_has_a_wider_band_and_is_named(other, named):
    first, found = expect(), expect(**other)
    assert found.decode_tokens_per_second == pytest.approx(first.decode_tokens_per_second, rel=0.3)
    assert first.decode_within < found.decode_within < UNTIMED_WITHIN
    assert first.output_within < found.output_within < UNTIMED_WITHIN
    assert found.ran == f"{first.ran}; {named} was not measured"
    nf4 = expect(method="bnb-nf4", **other)
    assert 0.1 < nf4.decode_within < nf4.output_within < UNTIMED_WITHIN


def test_an_h100_was_timed_in_16_bits_and_fp8_alone():
    for method, within in (("none", 0.09), ("fp8", 0.08)):
        found = expect(device="NVIDIA-H100-80GB-HBM3", method=method)
        assert found.decode_within == within
        assert found.ran.endswith("B on an H100")
    nf4 = expect(device="NVIDIA-H100-80GB-HBM3", method="bnb-nf4")
    assert nf4.ran.endswith("NVIDIA-H100-80GB-HBM3 was not measured")


def test_a_first_token_comes_after_two_steps_and_its_prompt():
    found = loop()
    first = 1e3 * found.first_token(32)
    computed = 2 * found.gap(32) + found.step.prompt_seconds(LAW, LAW.kernels[0])
    assert 1e3 * computed < first < 1e3 * (computed + found.step.launch_seconds(32, 1, LAW.kernels[0]))
    assert found.keeps(32, ServiceLevel(ttft_milliseconds=math.ceil(first)))
    assert not found.keeps(32, ServiceLevel(ttft_milliseconds=math.floor(first)))
    alone = found.step.seconds(1, LAW, LAW.kernels[0]) + found.step.prompt_seconds(LAW, LAW.kernels[0])
    assert found.first_token(1) == pytest.approx(alone)


def test_8_bits_are_as_fast_as_the_units_that_a_gpu_has_for_them():
    """An A100 has units for INT8, twice as fast as those for 16 bits, and none for FP8: then the weights
    alone are in 8 bits, and nothing else is quantized."""
    plain, fp8 = (expect(device="A100-80GB", method=method, streams=256) for method in ("none", "fp8"))
    int8 = expect("llama-3.1-8b-w8a8", "compressed-tensors", "A100-80GB", streams=256)
    assert int8.output_tokens_per_second > 1.4 * plain.output_tokens_per_second
    assert fp8.output_tokens_per_second > plain.output_tokens_per_second


@pytest.mark.parametrize(
    "other",
    [
        {"device": "L4"},
        {"device": "A100-80GB"},
        {"device": "NVIDIA-H200-MIG-1g.18gb"},
        {"device": dataclasses.replace(gpu("H200"), sharers=2)},
        {"version": "0.25.1"},
        {"version": "latest"},
        {"version": "0.33.0", "device": "NVIDIA-H100-PCIe"},
        {"count": 2, "pipeline": 2},
        {"method": "gptq"},
        {"model": "qwen3-moe-12-layers", "method": "bnb-nf4"},
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
def test_of_what_was_not_timed_a_factor_of_two_is_said(other):
    found = expect(**other)
    assert found.decode_tokens_per_second > 0
    assert (found.decode_within, found.output_within, found.ran) == (1.0, 1.0, "")


def test_a_gpu_that_only_its_labels_describe_is_between_those_of_its_generation():
    unknown = dataclasses.replace(gpu("L4"), product="Z9", bandwidth_bytes=0.0, fp16_flops=0.0, known=False)
    found = expect(device=unknown)
    alike = [gpu_from_row(row) for row in GPUS if row.compute == "8.9"]
    rates = [expect(device=device).decode_tokens_per_second for device in alike]
    assert min(rates) < found.decode_tokens_per_second < max(rates)
    assert found.decode_within > 1.0
    assert found.decode_tokens_per_second * (1 + found.decode_within) > max(rates)
    assert found.decode_tokens_per_second / (1 + found.decode_within) < min(rates)
    assert expect(device=dataclasses.replace(unknown, capability=(0, 0))) is None


def test_guessed_rates_were_never_timed():
    """An H20 has the capability of an H200 and another bandwidth; a slice has a part of its GPU's."""
    labelled = dataclasses.replace(gpu("H200"), product="NVIDIA-H20", bandwidth_bytes=0.0, known=False)
    found = expect(device=labelled)
    assert min(found.decode_within, found.output_within) >= UNTIMED_WITHIN
    assert found.ran == ""
    assert expect(device=dataclasses.replace(labelled, product="NVIDIA-H20-MIG-1g.12gb")) is None


def test_no_more_requests_run_than_the_engine_admits():
    engine = {"name": "vllm", "extraArgs": ["--max-num-seqs=4"]}
    bounded, few = (
        plan("NVIDIA-H200", engine=engine, context={"maxModelLen": 2048, "concurrency": n}).predicted
        for n in (16, 4)
    )
    assert bounded.expected_output_tokens_per_second == few.expected_output_tokens_per_second
    assert bounded.expected_capacity_concurrency == few.expected_capacity_concurrency == 4


def test_a_gpu_without_units_of_8_bits_computes_in_16():
    old = gpu("A100-80GB")
    step = step_of(placement("vllm", "llama-3.1-8b", "fp8", old, version="0.26.0"))
    kernel = timing(SPEED, step.placement)[1]
    assert kernel.arithmetic == LAW.kernels[0].arithmetic < LAW.kernels[1].arithmetic


def plan(product, **more):
    asked = spec(quantization={"method": "none"}, gpu={"products": [product], "count": 1}, **more)
    return plan_model(
        asked, facts("llama-3.1-8b"), nodes=(gpu_node("node", product, 1),), history=(), config=CONFIG
    )


def test_the_plan_says_all_three_rates_their_bands_and_from_what():
    found = plan("NVIDIA-H200", engine={"name": "vllm"}, slo={"tpotMilliseconds": 25})
    told = found.predicted
    assert told.expected_decode_tokens_per_second == pytest.approx(204, abs=1)
    assert told.expected_output_tokens_per_second == pytest.approx(2350, rel=0.05)
    assert told.expected_capacity_tokens_per_second == pytest.approx(7798, rel=0.05)
    assert told.expected_capacity_concurrency == pytest.approx(185, rel=0.1)
    assert (told.decode_within_percent, told.output_within_percent) == (9, 25)
    assert "Expected 204 tok/s for one stream (within 9 %; at best 317), " in found.message
    ran = "as vLLM 0.32 ran models of 1B to 32B on seven H200 hosts and an 8B on an H100."
    assert f" streams at capacity (within 38 %), {ran}" in found.message
    assert told.capacity_within_percent == 38


def test_a_capacity_is_known_less_well_where_a_step_takes_hardly_longer_for_more_streams():
    """One stream takes 4.9 ms a token: at 6 ms an error of 20 % decides between few streams and many."""
    timed = {"engine": {"name": "vllm", "image": "vllm/vllm-openai:v0.26.0"}}
    near, far = (plan("NVIDIA-H200", slo={"tpotMilliseconds": bound}, **timed).predicted for bound in (6, 25))
    assert near.output_within_percent == far.output_within_percent == 20
    assert far.capacity_within_percent < 40
    assert near.capacity_within_percent > 100
    free = plan("NVIDIA-H200", **timed).predicted
    assert (free.output_within_percent, free.capacity_within_percent) == (20, 65)


def test_where_nothing_was_timed_the_plan_says_so():
    found = plan("NVIDIA-L40S", engine={"name": "vllm"})
    assert "(a factor of 2 up or down); its steps were not measured on such a GPU." in found.message
    assert found.predicted.decode_within_percent == 100


def test_an_impossible_service_level_is_said():
    found = plan("NVIDIA-L4", engine={"name": "vllm"}, slo={"tpotMilliseconds": 5})
    assert "not even one stream within the service level" in found.message
    assert found.predicted.expected_capacity_concurrency == 0


# --- the law -----------------------------------------------------------------------------------------------
lengths = st.integers(1, 8192)


@given(st.sampled_from(["none", "fp8", "bnb-nf4"]), st.integers(2, 1000), lengths, lengths)
def test_more_streams_give_more_tokens_and_each_waits_longer(method, streams, input_tokens, output_tokens):
    found = loop(method=method, input_tokens=input_tokens, output_tokens=output_tokens)
    assert found.tokens_per_second(streams + 1) > found.tokens_per_second(streams) > 0
    assert found.gap(streams + 1) > found.gap(streams)


@given(st.integers(1, 1000), st.integers(1, 2000), st.integers(50, 99), st.integers(1, 512))
def test_the_capacity_keeps_the_service_level_and_a_little_more_breaks_it(tpot, ttft, percentile, slots):
    level = ServiceLevel(tpot_milliseconds=tpot, ttft_milliseconds=ttft, percentile=percentile)
    found = loop()
    streams = found.capacity(slots, level)
    assert 0 <= streams <= slots
    if streams:
        assert found.keeps(streams, level)
    if streams < slots:
        assert not found.keeps(max(streams + 1, min(slots, int(1.04 * streams))), level)


def test_the_capacity_of_a_loose_service_level_is_found_by_few_looks(monkeypatch):
    looks, keeps = [], Loop.keeps
    monkeypatch.setattr(Loop, "keeps", lambda *asked: looks.append(1) or keeps(*asked))
    assert loop().capacity(4096, ServiceLevel(ttft_milliseconds=1_800_000)) == 4096
    assert len(looks) <= 10, "one by one they took a plan more than the 10 s that it has"


def test_without_a_service_level_the_capacity_is_where_more_streams_add_little():
    found = loop()
    streams = found.capacity(1024, ServiceLevel())
    assert found.tokens_per_second(round(1.25 * streams)) < 1.02 * found.tokens_per_second(streams)
    assert found.capacity(8, ServiceLevel()) == 8
    nf4 = loop(method="bnb-nf4")
    assert nf4.capacity(1024, ServiceLevel()) > 100, "several streams begin slower than one"


def test_one_front_end_bounds_the_rate():
    free, bounded = loop("qwen3-0.6b"), loop("qwen3-0.6b", ceiling=LAW.front_end_tokens_per_second)
    assert free.tokens_per_second(256) > 20_000
    assert bounded.tokens_per_second(256) == 17_000
    assert bounded.tokens_per_second(8) == free.tokens_per_second(8)
    gap = math.ceil(1e3 * free.gap(256))
    assert free.keeps(256, ServiceLevel(tpot_milliseconds=gap, percentile=50))
    assert not free.keeps(256, ServiceLevel(tpot_milliseconds=gap - 1, percentile=50))
    assert not bounded.keeps(256, ServiceLevel(tpot_milliseconds=13))
    assert free.keeps(256, ServiceLevel(tpot_milliseconds=13))


sizes = st.sampled_from([0, 1, 7, 64, 4096])


@given(
    weights=st.integers(0, 10**12),
    architecture=st.builds(
        Architecture,
        hidden_size=sizes,
        layers=sizes,
        attention_heads=sizes,
        key_value_heads=sizes,
        head_dim=sizes,
        intermediate_size=sizes,
        vocabulary=sizes,
        experts=sizes,
        experts_per_token=sizes,
        moe_intermediate_size=sizes,
        tied_embeddings=st.booleans(),
    ),
    streams=st.integers(1, 512),
    engine=st.sampled_from(["vllm", "transformers", "llamacpp", "ctranslate2"]),
)
def test_odd_shapes_are_no_error(weights, architecture, streams, engine):
    found = placement("vllm", "llama-3.1-8b", "none", "H200", version="0.26.0")
    odd = dataclasses.replace(
        found,
        architecture=architecture,
        facts=dataclasses.replace(found.facts, architecture=architecture, tensors=found.facts.tensors[:1]),
    )
    step = DecodeStep(
        placement=odd, weights_bytes=weights, key_value_bytes=2.0, input_tokens=0, output_tokens=1
    )
    told = expected_speed(
        engine_profile(engine).speed,
        step,
        concurrency=streams,
        slots=streams,
        level=ServiceLevel(tpot_milliseconds=20),
        front_ends=1,
    )
    assert (told is None) == (step.bound() is None)
    assert told is None or min(told.decode_tokens_per_second, told.output_tokens_per_second) > 0


# --- ranking -----------------------------------------------------------------------------------------------
def attempt(method, device="H200"):
    found = placement("vllm", "llama-3.1-8b", method, device, version="0.26.0")
    return Attempt(
        engine=engine_profile("vllm"),
        placement=found,
        device_option=DeviceOption(found.device),
        expected=expect(method=method, device=device),
    )


def test_ways_are_ranked_by_what_is_expected():
    """NF4 reads fewer bytes than FP8, and its steps take longer."""
    nf4, fp8 = attempt("bnb-nf4"), attempt("fp8")
    assert isinstance(nf4.expected, ExpectedSpeed)
    assert rank(nf4)[3] == -nf4.expected.decode_tokens_per_second > rank(fp8)[3]
    assert rank(dataclasses.replace(nf4, expected=None))[3] == 0.0


def test_an_alternative_says_by_which_figure_it_was_ranked():
    chosen = dataclasses.replace(attempt("fp8"), context=object())
    known, guessed, unknown = (
        alternative(dataclasses.replace(found, context=object()), chosen, is_requested=True)
        for found in (
            attempt("fp8"),
            attempt("fp8", "L4"),
            dataclasses.replace(attempt("fp8"), expected=None),
        )
    )
    assert known.message.startswith("Expected 289 tok/s for one stream, as vLLM 0.26 ran")
    assert guessed.message.endswith("its steps were not measured on such a GPU.")
    assert unknown.message == "Would fit; its speed is not known."


def test_transformers_come_after_what_carries_load_at_their_best_step():
    """26 ms of an 8B whose bytes take 3.1."""
    assert not dataclasses.replace(engine_profile("transformers").speed, efficiency=0.12).carries_load
    assert all(engine_profile(name).speed.carries_load for name in ("vllm", "llamacpp"))
