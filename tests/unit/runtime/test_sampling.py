"""Looks at the machine: files as kernels write them, and NVML's answers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tacho_runtime.machine import cpu_usage, gpus, sampling
from tacho_runtime.machine.cpu_usage import CpuWaits
from tacho_runtime.supervisor.machine_check import ObservedMachine
from tacho_runtime.supervisor.observed_machine import machine_sampler
from tools.mock.nvml import GIB, FakeGpu, FakeNvml, process

STAT = """cpu  300 20 100 5000 60 7 8 40 9 9
cpu0 100 10 50 2500 30 3 4 20 9 9
cpu1 200 10 50 2500 30 4 4 20 0 0
intr 1 2 3
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_time_used_on_the_cpus_that_this_process_may_run_on(tmp_path: Path) -> None:
    write(tmp_path, {"stat": STAT})
    tick = cpu_usage.TICK_MICROSECONDS
    assert cpu_usage.node_busy({0, 1}, tmp_path) == (180 + 280) * tick
    assert cpu_usage.node_busy({1}, tmp_path) == 280 * tick
    assert cpu_usage.node_busy({0, 7}, tmp_path) is None, "a CPU that is not listed"
    assert cpu_usage.node_busy({0}, tmp_path / "no") is None


OWN = "1 (a b) S 0 1 1 0 -1 0 0 0 0 0 30 20 4 1 20 0 1 0 0 0 0\n"
CHILD = "9 (x (y) z) R 1 1 1 0 -1 0 0 0 0 0 100 0 0 0 20 0 1 0 0 0 0\n"
STRANGER = "5 (b) R 2 1 1 0 -1 0 0 0 0 0 7000 0 0 0 20 0 1 0 0 0 0\n"


@pytest.mark.parametrize(
    ("files", "microseconds"),
    [
        (
            {"cgroup.controllers": "", "cgroup.type": "domain", "cpu.stat": "usage_usec 77\nuser_usec 70\n"},
            77,
        ),
        ({"cpuacct/cpuacct.usage": "88000\n"}, 88),
        ({"cgroup.controllers": "", "cpu.stat": "usage_usec 99999999\n"}, None),
        ({"cpuacct/cpuacct.usage": "99999999000\n", "cpuacct/release_agent": ""}, None),
        ({}, None),
    ],
    ids=["v2", "v1", "machine-v2", "machine-v1", "none"],
)
def test_own_time_is_the_containers_and_else_that_of_the_own_processes(
    tmp_path: Path, files: dict[str, str], microseconds: int | None
) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    write(proc, {"1/stat": OWN, "9/stat": CHILD, "5/stat": STRANGER})
    write(cgroup, files)
    expected = 155 * cpu_usage.TICK_MICROSECONDS if microseconds is None else microseconds
    assert cpu_usage.own_busy(1, proc, cgroup) == expected
    assert cpu_usage.own_busy(1, tmp_path / "no", tmp_path / "no") is None


LINE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"


def threads(waited: dict[str, int]) -> dict[str, str]:
    """Microseconds that each thread, as PID/TID, has waited."""
    return {
        f"{name.partition('/')[0]}/task/{name.partition('/')[2]}/schedstat": f"5000 {each * 1000} 7\n"
        for name, each in waited.items()
    }


def test_waiting_is_the_containers_where_its_cgroup_tells(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    write(proc, {"1/stat": OWN, "pressure/cpu": LINE.format(55), **threads({"1/1": 300})})
    write(cgroup, {"cpu.pressure": LINE.format(33)})
    assert CpuWaits(1, proc=proc, cgroup=cgroup).total() == 300, "the machine's own cgroup is everybody's"
    write(cgroup, {"cgroup.type": "domain", "cpu.pressure": LINE.format(44)})
    assert CpuWaits(1, proc=proc, cgroup=cgroup).total() == 44


def test_what_waits_are_told_of_stays_the_same(tmp_path: Path) -> None:
    """A cgroup's total and that of threads are of different size: one less the other is no waiting."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    waits = CpuWaits(1, proc=proc, cgroup=cgroup)
    assert waits.total() is None
    cgroup_tells = {"cgroup.type": "domain", "cpu.pressure": LINE.format(44)}
    write(proc, {"1/stat": OWN, **threads({"1/1": 300})})
    assert waits.total() == 300
    write(cgroup, cgroup_tells)
    assert waits.total() is None
    (cgroup / "cpu.pressure").unlink()
    assert waits.total() == 300
    write(cgroup, cgroup_tells)
    waits = CpuWaits(1, proc=proc, cgroup=cgroup)
    assert waits.total() == 44
    (cgroup / "cpu.pressure").unlink()
    assert waits.total() is None


def test_waiting_of_others_for_the_engine_is_none_of_its_own(tmp_path: Path) -> None:
    proc = tmp_path
    write(proc, {"1/stat": OWN, "9/stat": CHILD, "5/stat": STRANGER, "pressure/cpu": LINE.format(10_000)})
    write(proc, threads({"1/1": 100, "9/9": 200, "9/12": 300, "5/5": 90_000}))
    waits = CpuWaits(1, proc=proc, cgroup=tmp_path / "no")
    first = waits.total()
    write(proc, threads({"1/1": 101, "9/9": 230, "9/12": 300, "9/13": 4}))
    write(proc, {"pressure/cpu": LINE.format(900_000)})
    second = waits.total()
    assert first is not None
    assert second == first + 1 + 30 + 4
    (proc / "9/task/12/schedstat").unlink()
    write(proc, {"pressure/cpu": LINE.format(5_900_000)})
    assert waits.total() == second, "what it waited at the end is not known"
    write(proc, threads({"9/13": 1}))
    assert waits.total() == second, "another thread has its number, and nobody waited less than before"


def test_a_kernel_that_keeps_no_account_of_threads(tmp_path: Path) -> None:
    write(tmp_path, {"1/stat": OWN, "1/task/1/schedstat": "0 0 0\n", "pressure/cpu": LINE.format(70)})
    waits = CpuWaits(1, proc=tmp_path, cgroup=tmp_path / "no")
    assert waits.total() is None, "others may have waited for the engine"
    write(tmp_path, threads({"1/1": 1}))
    assert waits.total() == 1


@pytest.mark.parametrize(
    ("files", "microseconds"),
    [
        ({"cpu.stat": "usage_usec 1\nnr_throttled 3\nthrottled_usec 4500\n"}, 4500),
        ({"cpu/cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 4500000\n"}, 4500),
        ({"cpu.stat": "usage_usec 1\n"}, None),
        ({}, None),
    ],
)
def test_time_that_the_own_limit_took(
    tmp_path: Path, files: dict[str, str], microseconds: int | None
) -> None:
    write(tmp_path, files)
    assert cpu_usage.throttled(tmp_path) == microseconds


LOADED = {
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
    "nvmlDeviceGetPowerUsage": 698_500,
    "nvmlDeviceGetCurrentClocksThrottleReasons": pynvml.nvmlClocksThrottleReasonSwPowerCap
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonApplicationsClocksSetting,
}


class ClockedNvml(FakeNvml):
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: int) -> int:
        assert kind == self.NVML_CLOCK_SM
        return 1755


@pytest.mark.parametrize("same_numbers", [True, False], ids=["pids-of-here", "pids-of-the-host"])
def test_what_a_gpu_says_of_itself_and_of_strangers(
    monkeypatch: pytest.MonkeyPatch, same_numbers: bool
) -> None:
    device = FakeGpu(nvmlDeviceGetComputeRunningProcesses=[process(7, GIB)], **LOADED)
    module = ClockedNvml(device)

    @contextlib.contextmanager
    def fake() -> Iterator[Any]:
        yield module

    monkeypatch.setattr(gpus, "nvml", fake)
    monkeypatch.setattr(sampling, "SETTLE_SECONDS", 0.0)
    before = gpus.gpus_of(module).devices
    device.answers["nvmlDeviceGetComputeRunningProcesses"] = [process(7, GIB), process(300, 90 * GIB)]
    look = sampling.sampler(before, lambda: (300,) if same_numbers else (41,))
    (seen,) = look(False).gpus
    assert (seen.utilization_percent, seen.sm_clock_mhz, seen.power_watts) == (97.0, 1755, 698.5)
    assert seen.throttle_reasons == ("SwPowerCap", "HwThermalSlowdown")
    assert seen.foreign_memory_bytes == GIB
    device.answers["nvmlDeviceGetComputeRunningProcesses"] += [process(301, 2 * GIB)]
    assert look(False).gpus[0].foreign_memory_bytes == 3 * GIB
    device.answers["nvmlDeviceGetComputeRunningProcesses"] = []
    assert look(False).gpus[0].foreign_memory_bytes is None, "a driver that tells a container nothing"
    for name in LOADED:
        device.answers[name] = None
    silent = look(True)
    assert (silent.gpus[0].utilization_percent, silent.gpus[0].power_watts) == (None, None)
    assert silent.calibration_ns


def test_the_first_look_is_not_of_the_engines_own_last_work(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeGpu(**LOADED)
    module = ClockedNvml(device)

    @contextlib.contextmanager
    def fake() -> Iterator[Any]:
        yield module

    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            device.answers["nvmlDeviceGetUtilizationRates"] = SimpleNamespace(gpu=0, memory=0)

    monkeypatch.setattr(gpus, "nvml", fake)
    monkeypatch.setattr(sampling.time, "sleep", nap)
    look = sampling.sampler(gpus.gpus_of(module).devices)
    assert look(False).gpus[0].utilization_percent == 0
    assert len(naps) == 3
    device.answers["nvmlDeviceGetUtilizationRates"] = SimpleNamespace(gpu=97, memory=0)
    assert look(False).gpus[0].utilization_percent == 97
    assert len(naps) == 3, "later ones are of the work"


def test_this_machine_without_a_gpu_of_the_engines() -> None:
    seen = sampling.sampler()(False)
    assert seen.gpus == ()
    assert seen.calibration_ns is None
    assert seen.node_busy_microseconds is not None
    assert seen.own_busy_microseconds is not None


def test_the_sample_has_the_kernels_that_the_engine_compiled_late() -> None:
    late = iter((0, 2))
    look = machine_sampler(ObservedMachine(), os.getpid(), lambda: next(late))
    assert [look(False).late_kernels, look(False).late_kernels] == [0, 2]
