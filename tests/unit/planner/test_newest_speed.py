"""The law of dense models with vLLM 0.32: its constants, where it applies, and how far it is off."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest

from benchmarks.gpu.pages import dense_law as page, h200_fp8 as fp8
from benchmarks.planner.placements import placement
from tacho_contract.launch import ServiceLevel
from tacho_engines.registry import engine_profile
from tacho_engines.vllm.speed import IN_16, IN_TURN, NEWEST_PROMPT_STEP, newest
from tacho_operator.core.planner.expected_speed import ON_HOST_WITHIN, timing
from tests.unit.planner.choosing import fitting
from tests.unit.planner.test_expected_speed import expect, loop
from tools.mock.specs import gpu_node

SPEED = engine_profile("vllm").speed
NEWEST = newest(IN_16)
RAN = "as vLLM 0.32 ran models of 1B to 32B on seven H200 hosts and an 8B on an H100"


def kernel(version: str, device: str = "NVIDIA-H200", model: str = "llama-3.1-8b", **more: object):
    method = more.pop("method", "fp8")
    _, found, timed = timing(SPEED, placement("vllm", model, method, device, version=version, **more))
    return found, timed


def test_the_constants_are_what_the_loops_of_all_hosts_give():
    for name, value in page.fitted(page.steady(), **page.A_STEP).items():
        assert getattr(NEWEST, name) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("held", [page.by_host, page.by_model], ids=["host", "model"])
def test_what_is_left_out_is_nearer_than_by_the_law_of_0_26(held):
    groups = held()
    found = [pair for pairs in groups.values() for pair in pairs if pair[0].several]
    after = page.sizes(error for _, error in found)
    before = page.sizes(loop.off_before() for loop, _ in found)
    assert median(after) < median(before)
    assert after[-1] < before[-1] / 2
    assert sum(each > 20 for each in after) < sum(each > 20 for each in before) / 3


def test_the_bands_hold_nine_of_ten():
    well = page.timed_well()
    assert page.beyond(well, 100 * NEWEST.output_within) <= len(well) / 10
    held = [loop for pairs in page.by_host().values() for loop, error in pairs if not loop.holds(error)]
    assert len(held) <= len(page.steady()) / 50
    alone = [each for each in page.loops() if not each.several and not page.waits_for_host(each)]
    assert page.beyond(alone, 100 * NEWEST.decode_within) <= len(alone) / 10


def test_h100s_are_within_the_band():
    one, several = page.on_h100()
    assert several
    assert (
        page.beyond(one, 100 * NEWEST.decode_within) == page.beyond(several, 100 * NEWEST.output_within) == 0
    )


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("llama-3.1-8b", "none"),
        ("llama-3.1-8b", "fp8"),
        ("llama-3.1-8b-awq", "awq"),
        ("qwen2.5-7b-gptq", "gptq"),
        ("llama-3.1-8b-w8a8", "compressed-tensors"),
    ],
)
@pytest.mark.parametrize(
    ("version", "launching", "prompt_step"),
    [
        ("0.26.0", IN_TURN, 0),
        ("0.31.0", IN_TURN, 0),
        ("0.32.0", 0, NEWEST_PROMPT_STEP),
        ("0.33.0", 0, NEWEST_PROMPT_STEP),
    ],
)
def test_a_version_has_the_host_of_the_latest_that_was_measured(
    version, launching, prompt_step, model, method
):
    found, _ = kernel(version, model=model, method=method)
    assert (found.launch_microseconds, found.prompt_step_microseconds) == (launching, prompt_step)


@pytest.mark.parametrize(
    ("version", "device", "said"),
    [
        ("0.32.0", "NVIDIA-H200", ""),
        ("0.32.4", "NVIDIA-H200", ""),
        ("0.31.0", "NVIDIA-H200", "; version 0.31.0 was not measured"),
        ("0.33.0", "NVIDIA-H200", "; version 0.33.0 was not measured"),
        ("0.32.0", "NVIDIA-H100-80GB-HBM3", ""),
        ("0.32.0", "NVIDIA-H100-NVL", "; NVIDIA-H100-NVL was not measured"),
    ],
)
def test_what_was_measured_is_named(version, device, said):
    found, timed = kernel(version, device)
    assert timed
    assert found.ran.endswith(said or "H100")
    assert (found.output_within == (0.2 if version == "0.31.0" else 0.25)) == (not said)


def test_two_differences_are_no_timing():
    assert not kernel("0.33.0", "NVIDIA-H100-NVL")[1]


@pytest.mark.parametrize(
    ("tag", "said"), [("v0.32.1", "."), ("nightly", "; the image's version was not measured.")]
)
def test_an_image_whose_version_is_assumed_was_not_measured(tag, said):
    found = fitting(
        "llama-3.1-8b",
        [gpu_node("h200", "NVIDIA-H200", 1)],
        engine={"name": "vllm", "image": f"registry.example/mine:{tag}"},
        context={"maxModelLen": 4096, "concurrency": 16},
        quantization={"method": "fp8"},
    )
    assert RAN + said in found.message


def test_several_gpus_were_measured_with_0_26():
    found, _ = kernel("0.32.0", count=2, tensor=2)
    assert "vLLM 0.26" in found.ran
    assert found.ran.endswith("version 0.32.0 was not measured")
    assert found.prompt_step_microseconds == found.host_step_microseconds == 0
    assert found.server_tokens_per_second == float("inf")


def test_a_gpu_without_units_of_8_bits_waits_for_its_host_once():
    old, plain = (kernel("0.32.0", "NVIDIA-A100-SXM4-80GB", method=method)[0] for method in ("fp8", "none"))
    assert (old.launch_microseconds, old.prompt_step_microseconds) == (0, NEWEST_PROMPT_STEP)
    assert plain.prompt_step_microseconds == NEWEST_PROMPT_STEP


def test_a_model_whose_steps_wait_for_the_host_has_a_wide_band_and_says_so():
    small, large = expect(model="llama-3.2-1b", version="0.32.0"), expect(version="0.32.0")
    assert (small.decode_within, small.output_within) == (ON_HOST_WITHIN, ON_HOST_WITHIN)
    assert small.ran == RAN + "; steps of under 2.9 ms may wait for the host"
    assert large.ran == RAN
    assert (large.decode_within, large.output_within) == (0.09, 0.25)
    assert expect(model="llama-3.2-1b").decode_within < ON_HOST_WITHIN


def test_a_server_carries_no_more_by_more_front_ends():
    few, many = (
        loop("llama-3.2-1b", version="0.32.0", ceiling=17_000 * front_ends).tokens_per_second(256)
        for front_ends in (1, 4)
    )
    assert few == many == NEWEST.server_tokens_per_second
    bounded = loop("llama-3.2-1b", version="0.32.0")
    free = replace(bounded, kernel=replace(bounded.kernel, server_tokens_per_second=float("inf")))
    for level in (ServiceLevel(tpot_milliseconds=20), ServiceLevel(ttft_milliseconds=40)):
        assert bounded.capacity(1024, level) < free.capacity(1024, level)


@pytest.mark.parametrize("file", ["docs/design/planner.md"])
def test_figures_in_prose_are_those_of_the_loops(file):
    text = " ".join((page.RAW.parents[2] / file).read_text(encoding="utf-8").split())
    least, most = fp8.times()
    assert f"{least:.1f} to {most:.1f} times the tokens" in text
    by_host = page.several(page.by_host())
    assert f"{median(by_host):.1f} % off in the median" in text
    far = sum(each > 20 for each in by_host)
    assert f"{far} of {len(by_host)} " in text
    assert f"{by_host[-1]:.0f} %" in text
    assert f"{page.sizes(each.off() for each in page.plain_eight())[-1]:.0f} % too" in text
