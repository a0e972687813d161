"""The law of FP8 with vLLM 0.32: its constant, where it applies, and how far it is off."""

from __future__ import annotations

import math
from statistics import median

import pytest

from benchmarks.gpu.pages import h200_fp8 as page
from benchmarks.planner.placements import placement
from tacho_engines.registry import engine_profile
from tacho_engines.vllm.speed import FP8_IN_TURN, IN_TURN
from tacho_operator.core.planner.expected_speed import timing
from tests.unit.planner.choosing import fitting
from tools.mock.specs import gpu_node

SPEED = engine_profile("vllm").speed


def kernel(version: str, device: str = "NVIDIA-H200", model: str = "llama-3.1-8b", **more: object):
    at = placement("vllm", model, "fp8", device, version=version, **more)
    _, found, timed = timing(SPEED, at)
    return found, timed


def test_the_constant_is_what_the_loops_of_all_hosts_give():
    assert round(page.fitted(page.HOSTS)) == FP8_IN_TURN


def test_a_host_is_judged_by_the_others_within_the_band():
    held = page.sizes(page.held_out().values())
    before = page.sizes(page.errors(host, IN_TURN) for host in page.HOSTS)
    found, _ = kernel("0.32.0")
    assert held[-1] < 100 * found.output_within < before[-1]
    assert median(held) < median(before)


@pytest.mark.parametrize(
    ("version", "launching"),
    [("0.26.0", IN_TURN), ("0.31.0", IN_TURN), ("0.32.0", FP8_IN_TURN), ("0.33.0", FP8_IN_TURN)],
)
def test_a_version_has_the_launching_of_the_latest_that_was_measured(version, launching):
    assert kernel(version)[0].launch_microseconds == launching


@pytest.mark.parametrize(
    ("version", "device", "said"),
    [
        ("0.32.0", "NVIDIA-H200", ""),
        ("0.32.4", "NVIDIA-H200", ""),
        ("0.31.0", "NVIDIA-H200", "; version 0.31.0 was not measured"),
        ("0.33.0", "NVIDIA-H200", "; version 0.33.0 was not measured"),
        ("0.32.0", "NVIDIA-H100-80GB-HBM3", "; NVIDIA-H100-80GB-HBM3 was not measured"),
    ],
)
def test_what_was_measured_is_named(version, device, said):
    found, timed = kernel(version, device)
    assert timed
    assert found.ran.partition(" on ")[2].endswith(said or "hosts")
    assert (found.output_within == 0.2) == (not said)


def test_two_differences_are_no_timing():
    assert not kernel("0.33.0", "NVIDIA-H100-80GB-HBM3")[1]


@pytest.mark.parametrize(
    ("tag", "said"), [("v0.32.1", "hosts"), ("nightly", "; the image's version was not measured")]
)
def test_an_image_whose_version_is_assumed_was_not_measured(tag, said):
    image = f"registry.example/mine:{tag}"
    found = fitting(
        "llama-3.1-8b",
        [gpu_node("h200", "NVIDIA-H200", 1)],
        engine={"name": "vllm", "image": image},
        context={"maxModelLen": 4096, "concurrency": 16},
        quantization={"method": "fp8"},
    )
    assert f"as vLLM 0.32 ran an 8B in FP8 on five H200 hosts{said.removeprefix('hosts')}" in found.message


def test_several_gpus_were_measured_with_0_26():
    found, _ = kernel("0.32.0", count=2, tensor=2)
    assert "vLLM 0.26" in found.ran
    assert found.ran.endswith("version 0.32.0 was not measured")


def test_experts_keep_their_own_law():
    found, _ = kernel("0.32.0", model="qwen3-30b-a3b")
    assert found.experts
    assert found.launch_microseconds > FP8_IN_TURN


@pytest.mark.parametrize("file", ["README.md", "docs/how-to/measure.md", "docs/design/planner.md"])
def test_figures_in_prose_are_those_of_the_loops(file):
    text = " ".join((page.RAW.parents[2] / file).read_text(encoding="utf-8").split())
    few, many = page.times()
    assert f"{few:.1f} to {many:.1f} times the tokens" in text
    assert "README" not in file or f"within {math.ceil(page.plain())} % in 16 bits" in text
    if "measure" not in file:
        assert f"within {page.sizes(page.held_out().values())[-1]:.0f} %" in text
    if "design" in file:
        assert f"FP8 with vLLM 0.32 {FP8_IN_TURN:.0f} |" in text
