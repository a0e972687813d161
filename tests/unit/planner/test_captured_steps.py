"""CUDA graphs of the sizes that a user names: their memory, and the speed that a plan expects of them."""

from __future__ import annotations

import dataclasses
from statistics import median

import pytest
import yaml

from benchmarks.gpu.pages import h200_graphs as page
from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.units import GIB
from tacho_engines.memory.account import CapturedSteps
from tacho_engines.shared.switches import parse_arguments
from tacho_engines.vllm import memory as vllm
from tacho_engines.vllm.compatibility import settings_refusal
from tacho_engines.vllm.graphs import default_sizes
from tacho_engines.vllm.recorded import spelled_out
from tacho_engines.vllm.settings import ESTIMATES, read_settings, switches
from tacho_operator.api.status.plan import Predicted
from tests.unit.planner.choosing import fitting
from tools.mock.specs import gpu_node

SIZES = page.sizes()
LISTED = ("--cudagraph-capture-sizes", *map(str, SIZES))
NAMED = (page.switch(),)


def placed(*arguments, model="llama-3.1-8b", method="none", version="0.26.0", **more):
    return placement("vllm", facts(model), method, "H200", version=version, arguments=arguments, **more)


def graphs(*arguments, **more):
    found = placed(*arguments, **more)
    return read_settings(switches(found.options), found, 4096).graphs


@pytest.mark.parametrize(
    "arguments", [LISTED, NAMED, (page.switch().replace("--compilation-config", "-cc"),)]
)
def test_named_sizes_are_those_that_are_captured(arguments):
    found = graphs(*arguments)
    assert (found.sizes, found.captured) == (83, CapturedSteps(2560, usual=True))
    fewer = graphs(*arguments, "--max-num-batched-tokens=1024", "--max-num-seqs=64")
    assert fewer.captured == CapturedSteps(1024, usual=True)
    assert graphs(*arguments, "--enforce-eager").sizes == 0


def test_a_list_ends_with_the_next_switch_and_other_switches_take_one_value():
    found = graphs("--cudagraph-capture-sizes", "4", "2", "4", "--max-num-seqs", "8")
    assert (found.sizes, found.captured) == (2, CapturedSteps(4, usual=False))
    words = ("--max-num-seqs", "8", "9", "--cudagraph-cap", "1", "2")
    assert parse_arguments(spelled_out(words)) == {"max-num-seqs": "8", "cudagraph-capture-sizes": "1 2"}
    assert graphs("--cudagraph-cap", "1", "2", "512").sizes == 3


def test_a_largest_size_means_the_same_as_its_sizes():
    listed = ",".join(map(str, default_sizes(2560)))
    assert graphs("--max-cudagraph-capture-size=2560") == graphs(
        f"--compilation-config.cudagraph_capture_sizes=[{listed}]"
    )
    assert graphs().captured is None
    assert graphs("--max-cudagraph-capture-size=100000").captured == CapturedSteps(8192, usual=True)
    most = 9 * 10**17  # of a number of sizes that fits into no memory
    huge = graphs(f"--max-cudagraph-capture-size={most}", f"--max-num-batched-tokens={most}")
    assert huge.captured == CapturedSteps(most, usual=True)
    assert default_sizes(512) == tuple(SIZES[:51])


def test_layers_alone_have_no_graphs_of_whole_steps():
    assert graphs(*NAMED, "-O1").whole == 0
    guessing = graphs(*NAMED, "--speculative-config.num_speculative_tokens=3")
    assert guessing.whole == pytest.approx(sum(SIZES) / 83 / 206)
    assert graphs(*NAMED).whole == pytest.approx(sum(size for size in SIZES if size <= 1024) / 83 / 206)


@pytest.mark.parametrize("name", page.MODELS)
def test_the_memory_of_graphs_is_what_a_start_took(name):
    """Within 0.2 GiB, of which each pod keeps more: 0.5 GiB are missing where the sizes are not counted."""
    _, model, method = page.MODELS[name]
    for arguments, log in (((), name), (NAMED, name + page.CAPTURED)):
        found = placed(*arguments, model=model, method=method)
        predicted = vllm.memory(found, read_settings(switches(found.options), found, 4096)).graph_bytes
        assert predicted / GIB == pytest.approx(float(page.logged(log, page.GRAPHS)), abs=0.2), log


def test_an_estimate_of_28_gib_is_refused_with_what_turns_it_off():
    """vLLM 0.26 reserved 27.97 GiB for a Qwen3-30B-A3B; it took 1.35."""
    assert float(page.logged("qwen3-30b-a3b-captured", r"Estimated CUDA graph memory: ([\d.]+) GiB")) > 20
    refusal = settings_refusal(placed(*NAMED, model="qwen3-30b-a3b"))
    assert refusal is not None
    assert ESTIMATES in refusal.next_step
    assert settings_refusal(placed(model="qwen3-30b-a3b")) is None
    assert settings_refusal(placed(*NAMED)) is None
    for fitting_too in (
        ("--max-cudagraph-capture-size=1024",),
        (*NAMED, "--enforce-eager"),
        (*NAMED, "--kv-cache-memory-bytes=50G"),
        (*NAMED, "--max-num-batched-tokens=512", "--max-num-seqs=64"),
    ):
        assert settings_refusal(placed(*fitting_too, model="qwen3-30b-a3b")) is None
    assert settings_refusal(placed(*NAMED, version="0.25.0")) is None
    assert settings_refusal(placed(*NAMED, model="qwen3-30b-a3b", version="0.32.0")) is None
    off = placed(*NAMED, model="qwen3-30b-a3b")
    off = dataclasses.replace(off, options=dataclasses.replace(off.options, env={ESTIMATES: "0"}))
    assert settings_refusal(off) is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--cudagraph-capture-sizes",), "takes whole numbers"),
        (("--cudagraph-capture-sizes", "all"), "takes whole numbers"),
        (("--cudagraph-capture-sizes", "1k"), "takes whole numbers"),
        (("--cudagraph-capture-sizes", "1,2"), "takes whole numbers"),
        (("--compilation-config.cudagraph_capture_sizes=1 2",), "takes whole numbers"),
        (("-cc.cudagraph_capture_sizes=[]",), "takes whole numbers"),
        (("-cc.cudagraph_capture_sizes=[1, 2]",), ""),
        (("--cudagraph-capture-sizes", "4096", "--max-num-batched-tokens=2048"), ""),
        (("--cudagraph-capture-sizes", "1", "512", "--max-cudagraph-capture-size=2560"), "is the largest of"),
        (("--cudagraph-capture-sizes", "1", "512", "--max-cudagraph-capture-size=512"), ""),
        (("--cudagraph-capture-sizes", "1", "1024", "20000", "--max-cudagraph-capture-size=1024"), ""),
        (("--cudagraph-capture-sizes", "1", "20000", "--max-cudagraph-capture-size=20000"), "is the largest"),
        (("--max-cudagraph-capture-size=0",), "is 1 at least"),
        (("--max-cudagraph-capture-size=0", "--enforce-eager"), ""),
        (("--cudagraph-capture-sizes", "all", "-O0"), ""),
    ],
)
def test_sizes_that_vllm_refuses(arguments, reason):
    """Read from config/vllm.py of the wheel 0.26.0, _set_cudagraph_sizes: eager mode reads none."""
    found = settings_refusal(placed(*arguments))
    assert reason in found.message if reason and found else (not reason and found is None)


def test_no_size_within_a_step_captures_nothing():
    assert graphs("--cudagraph-capture-sizes", "4096", "--max-num-batched-tokens=2048").sizes == 0


def predicted(*arguments: str, model: str = "qwen2.5-3b") -> Predicted:
    engine = {"name": "vllm", "image": "vllm/vllm-openai:v0.26.0", "extraArgs": list(arguments)}
    node = gpu_node("h200", "NVIDIA-H200", 1)
    found = fitting(model, [node], engine=engine, context={"maxModelLen": 4096, "concurrency": 64})
    return found.predicted


def test_a_step_with_a_graph_is_not_launched_kernel_by_kernel():
    default, captured = predicted(), predicted(*NAMED)
    gain = captured.expected_output_tokens_per_second / default.expected_output_tokens_per_second
    measured = page.gain("qwen2.5-3b", 64)
    assert measured is not None
    assert gain == pytest.approx(1 + measured, abs=0.15)
    assert captured.output_within_percent == default.output_within_percent
    assert captured.expected_decode_tokens_per_second == default.expected_decode_tokens_per_second


@pytest.mark.parametrize(
    ("arguments", "within"),
    [
        (("--max-cudagraph-capture-size=2560",), 20),
        (("--max-cudagraph-capture-size=512",), 20),
        (("--max-cudagraph-capture-size=32",), 100),
        (("--max-cudagraph-capture-size=128", "--max-num-seqs=64"), 20),
        (("--cudagraph-capture-sizes", "1", "2560"), 100),
    ],
)
def test_fewer_graphs_than_by_default_were_not_timed(arguments, within):
    assert predicted(*arguments).output_within_percent == within


def test_a_step_that_is_padded_is_not_launched_kernel_by_kernel():
    padded = predicted(page.switch().replace(",496,", ","))
    assert padded.expected_output_tokens_per_second == predicted(*NAMED).expected_output_tokens_per_second
    assert padded.output_within_percent == 100


def test_the_page_shows_a_switch_that_a_plan_reads():
    text = (page.RAW.parents[2] / "benchmarks/lab/h200/graphs.md").read_text(encoding="utf-8")
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert graphs(*example["spec"]["engine"]["extraArgs"]).sizes == len(SIZES)


@pytest.mark.parametrize("file", ["docs/design/planner.md"])
def test_gains_in_prose_are_those_of_the_loops(file):
    text = " ".join((page.RAW.parents[2] / file).read_text(encoding="utf-8").split())
    experts, small, *eights = (page.gains(name) for name in page.MODELS)
    for found in (experts, small, [gain for each in eights for gain in each]):
        assert f"{min(found):.0f} to {max(found):.0f} %" in text
    if "planner" in file:
        errors = [100 * error for error in page.errors(page.MOST_TOKENS)]
        assert f"{median(errors):.1f} % off in the median, {errors[-1]:.1f} % at most" in text
