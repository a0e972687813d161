"""Memory of GPUs and host: as NVML answers, as /proc tells, and what is made of the samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest
from hypothesis import given, strategies as st

from tacho_contract.measurement import DeviceMemory, MemoryActual
from tacho_engines.base import EngineStartup
from tacho_runtime.machine import gpus, processes
from tacho_runtime.machine.gpus import Gpu, GpuProcess, Gpus, gpus_of, read_gpus, refreshed, visible_gpus
from tacho_runtime.supervisor.engine_memory import (
    EngineMemorySample,
    EngineMemoryUse,
    gpu_use,
    memory_actual,
    with_sample,
)
from tools.mock.nvml import GIB, FakeGpu, FakeNvml, process


def test_a_gpu_is_described_as_nvml_answers() -> None:
    busy = FakeGpu(nvmlDeviceGetComputeRunningProcesses=[process(7, 3 * GIB), process(8, None)])
    found = gpus_of(FakeNvml(busy))
    assert found == Gpus(
        devices=(
            Gpu(
                index=0,
                uuid="GPU-1234",
                product="NVIDIA-H200",
                capability=(9, 0),
                total_bytes=140 * GIB,
                free_bytes=139 * GIB,
                used_bytes=0,
                processes=(
                    GpuProcess(pid=7, used_bytes=3 * GIB),
                    GpuProcess(pid=8, used_bytes=None),
                ),
            ),
        ),
        driver_version="580.95.05",
    )


@pytest.mark.parametrize("reserved", [True, False])
def test_what_a_gpu_cannot_say_is_unknown(reserved: bool) -> None:
    silent = FakeGpu(
        nvmlDeviceGetMigMode=None,
        nvmlDeviceGetRemappedRows=None,
        nvmlDeviceGetComputeRunningProcesses=None,
        nvmlDeviceGetCudaComputeCapability=None,
        reserved=reserved,
    )
    (gpu,) = gpus_of(FakeNvml(silent, cuda=12040)).devices
    assert (gpu.capability, gpu.processes, gpu.sliced, gpu.fault) == (None, (), False, "")
    assert gpu.total_bytes == 140 * GIB


def test_faults_are_told() -> None:
    lost, worn = FakeGpu(lost=True), FakeGpu(nvmlDeviceGetRemappedRows=(0, 1, 0, 1))
    first, second = gpus_of(FakeNvml(lost, worn)).devices
    assert "lost" in first.fault.lower()
    assert "remapped" in second.fault


def test_a_gpu_that_the_container_may_not_open_is_not_its_own() -> None:
    """A node's every GPU is counted where NVML is mounted, the pod's device is one of them."""
    own = FakeGpu(nvmlDeviceGetUUID="GPU-own")
    found = gpus_of(FakeNvml(FakeGpu(denied=True), own, FakeGpu(denied=True)))
    assert [(gpu.index, gpu.uuid, gpu.fault) for gpu in found.devices] == [(1, "GPU-own", "")]
    assert visible_gpus(found, {"CUDA_VISIBLE_DEVICES": "0"}) == found, "CUDA counts from 0 what it may open"


def test_a_gpu_is_asked_again_for_its_memory_alone() -> None:
    gpu = FakeGpu()
    module = FakeNvml(gpu)
    (first,) = gpus_of(module).devices
    gpu.answers["memory"] = (140 * GIB, 40 * GIB, 100 * GIB)
    assert (refreshed(module, first).used_bytes, refreshed(module, first).product) == (
        100 * GIB,
        "NVIDIA-H200",
    )
    gpu.answers["lost"] = True
    assert refreshed(module, first).used_bytes is None


def test_nvml_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module = FakeNvml(FakeGpu())
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert read_gpus() == gpus_of(module)
    assert module.open == 0


def test_without_a_driver_there_is_no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(FakeNvml):
        NVMLError_LibraryNotFound = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND).__class__
        nvmlLib: Any = None  # noqa: N815 - its name there

        def nvmlInit(self) -> None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(gpus, "LIBRARY_FOLDERS", ("/nowhere",))
    monkeypatch.setitem(sys.modules, "pynvml", Missing())
    assert read_gpus() is None


@pytest.mark.parametrize(
    ("asked", "indexes"),
    [
        ("", (0, 1)),
        ("1", (1,)),
        ("1,0", (1, 0)),
        ("GPU-b", (1,)),
        ("7", ()),
        ("-1", ()),
        ("GPU-", (0, 1)),
        ("MIG-c", (0, 1)),
    ],
)
def test_visible_devices_are_those_that_cuda_shows(asked: str, indexes: tuple[int, ...]) -> None:
    both = Gpus(devices=(Gpu(index=0, uuid="GPU-a"), Gpu(index=1, uuid="GPU-b")))
    found = visible_gpus(both, {"CUDA_VISIBLE_DEVICES": asked})
    assert tuple(gpu.index for gpu in found.devices) == indexes


def test_the_containers_devices_are_seen(tmp_path: Path) -> None:
    assert not gpus.device_nodes(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not gpus.device_nodes(tmp_path), "the driver's, not a GPU"
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri" / "card0").touch()
    assert not gpus.device_nodes(tmp_path), "a display"


@pytest.mark.parametrize(
    "node",
    ["nvidia0", "dxg", "kfd", "dri/renderD128", "accel0", "accel/accel0", "hl0", "nvgpu", "nvhost-gpu"],
)
def test_gpus_of_every_maker_have_a_device(tmp_path: Path, node: str) -> None:
    (tmp_path / node).parent.mkdir(exist_ok=True)
    (tmp_path / node).touch()
    assert gpus.device_nodes(tmp_path)


# --- samples --------------------------------------------------------------------------------------
def gpu(used: int | None, *processes: tuple[int, int | None], index: int = 0) -> Gpu:
    found = tuple(GpuProcess(pid=pid, used_bytes=size) for pid, size in processes)
    return Gpu(index=index, used_bytes=used, processes=found)


@pytest.mark.parametrize(
    ("seen", "before", "used"),
    [
        (gpu(100, (7, 90), (5, 10)), 10, (90, "Process")),
        (gpu(100, (7, 50), (8, 45)), 0, (95, "Process")),
        (gpu(100), 10, (90, "Device")),  # the driver does not tell a container who computes
        (gpu(100, (5, 90)), 10, (90, "Device")),  # numbers of another namespace
        (gpu(100, (7, 10), (5, 90)), 10, (90, "Device")),  # one of which is ours by chance
        (gpu(100, (7, None)), 10, (90, "Device")),
        (gpu(5), 10, (0, "Device")),  # what was there has gone
        (gpu(None), 0, None),
    ],
)
def test_whose_memory_it_is(seen: Gpu, before: int, used: tuple[int, str] | None) -> None:
    assert gpu_use(seen, before, (7, 8)) == used


def test_peak_and_steady_of_every_gpu_and_of_the_host() -> None:
    total, before = EngineMemoryUse(), {0: 1, 1: 1}
    for first, second, host in ((11, 1, 5), (91, 31, 50), (71, 41, 40)):
        sample = EngineMemorySample(
            host_bytes=host, host_highest_bytes=60, gpus=(gpu(first), gpu(second, index=1)), pids=(7,)
        )
        total = with_sample(total, sample, before)
    figures = EngineStartup(weights_bytes=30, kv_cache_bytes=20, kv_cache_tokens=10, graph_bytes=2)
    assert memory_actual(total, figures, 99) == MemoryActual(
        weights_bytes=30,
        kv_cache_bytes=20,
        kv_cache_tokens=10,
        graph_bytes=2,
        gpu_used_bytes=70,
        gpu_peak_bytes=90,
        gpu_source="Device",
        gpu_devices=(
            DeviceMemory(index=0, actual_bytes=70, peak_bytes=90),
            DeviceMemory(index=1, actual_bytes=40, peak_bytes=40),
        ),
        host_used_bytes=40,
        host_peak_bytes=60,
    )


def test_what_was_not_seen_is_not_told() -> None:
    assert memory_actual(EngineMemoryUse(), EngineStartup(), None) == MemoryActual()
    assert memory_actual(EngineMemoryUse(), EngineStartup(), 99) == MemoryActual(kv_cache_tokens=99)
    idle = with_sample(EngineMemoryUse(), EngineMemorySample(gpus=(gpu(3),), pids=()), {0: 3})
    assert memory_actual(idle, EngineStartup(), None).gpu_devices == (), "the engine has nothing on it"


@given(
    samples=st.lists(
        st.tuples(st.integers(0, 100), st.none() | st.integers(0, 100), st.none() | st.integers(0, 100)),
        min_size=1,
        max_size=8,
    ),
    before=st.integers(0, 50),
)
def test_no_figure_is_above_its_peak(samples: list[tuple[int, int | None, int | None]], before: int) -> None:
    total = EngineMemoryUse()
    for used, own, host in samples:
        seen = gpu(used, (7, own))
        total = with_sample(total, EngineMemorySample(host_bytes=host, gpus=(seen,), pids=(7,)), {0: before})
    found = memory_actual(total, EngineStartup(), None)
    assert (found.gpu_used_bytes or 0) <= (found.gpu_peak_bytes or 0) <= 100
    assert (found.host_used_bytes or 0) <= (found.host_peak_bytes or 0)
    assert (found.host_used_bytes is None) == all(host is None for _, _, host in samples)


# --- /proc ----------------------------------------------------------------------------------------
ALLOCATES = (
    "import os, sys, time\n"
    "block = bytearray(os.urandom(1) * (64 << 20))\n"
    "if os.fork() == 0:\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
    "time.sleep(60)\n"
)


def test_a_real_process_and_its_child() -> None:
    with subprocess.Popen([sys.executable, "-c", ALLOCATES], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            pids = processes.process_tree(parent.pid)
            assert len(pids) == 2
            assert pids[0] == parent.pid
            each, both = processes.resident_bytes(pids[:1]), processes.resident_bytes(pids)
            together = processes.proportional_bytes(pids)
            assert each is not None
            assert both is not None
            assert together is not None
            assert each > 64 << 20
            assert both > 128 << 20, "the block counts in each"
            assert 64 << 20 < together < 110 << 20, "and once where the kernel is asked"
            assert (processes.highest_bytes(pids) or 0) >= each
        finally:
            subprocess.run(["kill", "-9", *map(str, processes.process_tree(parent.pid))], check=False)
    assert processes.resident_bytes((parent.pid,)) is None
    assert processes.proportional_bytes((parent.pid,)) is None
    assert processes.process_tree(parent.pid) == (parent.pid,)


def test_a_name_with_parentheses_is_no_trap(tmp_path: Path) -> None:
    for pid, parent in ((1, 0), (2, 1), (3, 2), (4, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) (c) S {parent} 0 0")
    assert processes.process_tree(2, tmp_path) == (2, 3)
    assert set(processes.process_tree(1, tmp_path)) == {1, 2, 3, 4}
