"""What the machine is, from files as kernels write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tacho_contract.launch import ENV_CPU_REQUEST, ENV_USABLE_CPUS
from tacho_runtime.machine import environment
from tacho_runtime.machine.cpu_limits import cgroup_cpus, cpu_count, thread_variables, usable_cpus
from tacho_runtime.machine.environment import cpu_model, out_of_memory_kills, read_environment
from tacho_runtime.machine.gpus import read_gpus


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC 9554\n\nprocessor\t: 1\nmodel name\t: other\n",
            "AMD EPYC 9554",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "arm 0x41 0xd0c"),
        ("", ""),
    ],
)
def test_cpu_model(cpuinfo: str, model: str) -> None:
    assert cpu_model(cpuinfo) == model


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_cpu_limit_of_both_kinds_of_cgroup(tmp_path: Path, files: dict[str, str], cpus: float | None) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    assert cgroup_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("membership", "files", "millis"),
    [
        ("0::/pods/pod1/engine\n", {"pods/pod1/engine/cpu.max": "200000 100000"}, 2000),
        (
            "0::/pods/pod1/engine\n",
            {"pods/pod1/engine/cpu.max": "max 100000", "pods/pod1/cpu.max": "150000 100000"},
            1500,
        ),
        (
            "0::/pods/pod1\n",
            {"cpu.max": "50000 100000", "pods/pod1/cpu.max": "150000 100000"},
            500,
        ),
        (
            "5:memory:/m\n4:cpu,cpuacct:/pod1/engine\n",
            {"cpu/pod1/cpu.cfs_quota_us": "25000", "cpu/pod1/cpu.cfs_period_us": "100000"},
            250,
        ),
        ("4:cpuset:/pod1\n", {"cpu/pod1/cpu.cfs_quota_us": "25000"}, 0),
        ("0::/../../elsewhere\n", {"cpu.max": "33300 100000"}, 333),
        ("0::/\n", {}, 0),
        ("nonsense", {"cpu.max": "zero one"}, 0),
        ("", {"cpu.max": "100000 0"}, 0),
    ],
)
def test_a_limit_is_the_lowest_of_the_own_cgroup_and_those_above(
    tmp_path: Path, membership: str, files: dict[str, str], millis: int
) -> None:
    cgroup, proc = tmp_path / "cgroup", tmp_path / "proc"
    write(proc, "self/cgroup", membership)
    for name, text in files.items():
        write(cgroup, name, text)
    found = read_environment(None, proc, cgroup)
    assert found.cpu_limit_millis == millis
    assert found.cpu_count == len(os.sched_getaffinity(0)), "a limit in time takes no CPU away"


def test_cpu_count_is_the_lower_of_machine_and_limit(tmp_path: Path) -> None:
    available = len(os.sched_getaffinity(0))
    assert cpu_count(tmp_path) == available
    write(tmp_path, "cpu.max", "10000 100000")
    assert cpu_count(tmp_path) == 1
    write(tmp_path, "cpu.max", "100000000 100000")
    assert cpu_count(tmp_path) == available


def test_an_engine_on_the_host_starts_a_thread_for_each_cpu_that_it_may_use(tmp_path: Path) -> None:
    available = len(os.sched_getaffinity(0))
    assert thread_variables(0, {}, available, tmp_path) == {ENV_USABLE_CPUS: str(available)}
    assert thread_variables(0, {}, available + 64, tmp_path)["OMP_NUM_THREADS"] == str(available)
    write(tmp_path, "cpu.max", "50000 100000")
    assert thread_variables(0, {}, 64, tmp_path) == {ENV_USABLE_CPUS: "1", "OMP_NUM_THREADS": "1"}
    assert "OMP_NUM_THREADS" not in thread_variables(1, {}, 64, tmp_path), "it knows better"


def test_threads_are_counted_from_the_limit_else_the_request_else_the_affinity(tmp_path: Path) -> None:
    available = len(os.sched_getaffinity(0))
    half = {ENV_CPU_REQUEST: "500"}
    assert usable_cpus(half, tmp_path) == 1
    assert usable_cpus({ENV_CPU_REQUEST: str(1000 * available)}, tmp_path) == available
    assert usable_cpus({ENV_CPU_REQUEST: "1000000"}, tmp_path) == available, "no more than it can run on"
    assert usable_cpus({}, tmp_path) == usable_cpus({ENV_CPU_REQUEST: "0"}, tmp_path) == available
    write(tmp_path, "cpu.max", f"{available * 100000} 100000")
    assert usable_cpus(half, tmp_path) == available, "what it may burst to is said"
    write(tmp_path, "cpu.max", "max 100000")
    assert usable_cpus(half, tmp_path) == 1


def test_a_request_is_as_good_as_a_limit_to_openmp(tmp_path: Path) -> None:
    assert thread_variables(0, {ENV_CPU_REQUEST: "1000"}, 64, tmp_path)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("name", "text", "kills"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("other", "", None),
    ],
)
def test_kills_for_memory(tmp_path: Path, name: str, text: str, kills: int | None) -> None:
    write(tmp_path, name, text)
    assert out_of_memory_kills(tmp_path) == kills


def test_a_kill_for_memory_that_the_engine_outlived_explains_no_later_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([4, 5, 5, 5, 5, None])
    monkeypatch.setattr(environment, "out_of_memory_kills", lambda: next(counts))
    recent = environment.RecentKills()
    assert recent.read(0) == 0, "those of an earlier engine"
    assert [recent.read(now) for now in (100, 400, 699, 700, 701)] == [1, 1, 1, 0, None]


def test_this_machine_is_described_whatever_it_has() -> None:
    environment = read_environment(read_gpus())
    assert environment.cpu_model
    assert environment.cpu_count >= 1
    assert (environment.gpu_count == 0) == (environment.gpu_product == "")
