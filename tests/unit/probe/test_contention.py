"""What is told of the machine between two looks, and one burner that is really there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.machine.gpus import GpuSample
from tacho_runtime.machine.sampling import MachineSample, sampler
from tacho_runtime.probe.contention import APPEARED_BYTES, INVALIDATING_REASONS, detect_contention

SECOND = 1_000_000_000
shares = st.floats(0, 1)


def sample(at: float, node: float = 0.0, own: float = 0.0, cpus: int = 2, **rest: Any) -> MachineSample:
    """``at`` in seconds; ``node`` and ``own`` in CPU seconds."""
    looked = MachineSample(
        stamp_ns=int(at * SECOND),
        node_busy_microseconds=int(node * 1e6),
        own_busy_microseconds=int(own * 1e6),
        node_cpus=cpus,
    )
    return replace(looked, **rest)


def gpu(**rest: Any) -> GpuSample:
    return replace(GpuSample(index=0, utilization_percent=95.0, sm_clock_mhz=1980), **rest)


START = sample(0)


@given(cpus=st.integers(1, 256), own=shares, noise=st.floats(0, 0.04), pressure=st.integers(0, 5_000_000))
def test_an_engine_alone_is_never_contended_however_busy_it_is(
    cpus: int, own: float, noise: float, pressure: int
) -> None:
    node = min(1.0, own + noise)
    after = sample(5, 5 * cpus * node, 5 * cpus * own, cpus)
    after = replace(after, pressure_microseconds=pressure)
    assert detect_contention(replace(START, pressure_microseconds=0), after, START).flags == ()


@given(cpus=st.integers(1, 256), other=st.floats(0.16, 1), idle=st.floats(0, 0.09))
def test_others_that_take_what_is_scarce_are_told(cpus: int, other: float, idle: float) -> None:
    other = min(other, 1 - idle)
    after = sample(5, 5 * cpus * (1 - idle), 5 * cpus * (1 - idle - other), cpus)
    assert detect_contention(START, after, START).flags == ("Contended",)


@given(cpus=st.integers(1, 256), other=st.floats(0.03, 0.14), idle=st.floats(0, 0.09))
def test_the_company_that_a_node_always_has_widens_the_interval(cpus: int, other: float, idle: float) -> None:
    after = sample(5, 5 * cpus * (1 - idle), 5 * cpus * (1 - idle - other), cpus)
    found = detect_contention(START, after, START)
    assert found.flags == ()
    assert found.loss_percent == pytest.approx(100 * other / (1 - other), rel=1e-3)
    assert f"up to {other:.0%} of the engine" in found.notes[0]


@given(cpus=st.integers(2, 256), other=shares, idle=st.floats(0.11, 1))
def test_others_beside_idle_cpus_take_nothing(cpus: int, other: float, idle: float) -> None:
    other = min(other, 1 - idle)
    after = sample(5, 5 * cpus * (1 - idle), 5 * cpus * (1 - idle - other), cpus)
    found = detect_contention(START, after, START)
    assert (found.flags, found.loss_percent) == ((), 0.0)


@pytest.mark.parametrize(
    ("node", "own", "waited", "limited", "flags", "loss_percent"),
    [
        (1.7, 1.2, 0.4, 0.0, ("Contended",), 0.0),  # one thread held for 4 of 10, its twin idle or spinning
        (1.7, 1.5, 0.12, 0.0, (), 100 * 0.12 / 0.88),
        (1.7, 1.2, 0.4, 0.3, (), 100 * 0.1 / 0.9),  # its own limit held it
        (1.2, 0.8, 0.1, 0.0, (), 0.0),  # there was room beside the others
        (1.7, 1.65, 0.4, 0.0, (), 100 * 0.05 / 0.95),  # most of it waits for itself
        (1.7, 1.67, 0.4, 0.0, (), 0.0),  # all of it
        (1.9, 1.74, 0.16, 0.0, (), 100 * 0.16 / 0.84),  # a control plane
    ],
)
def test_threads_that_meet_lose_what_one_of_them_loses(
    node: float, own: float, waited: float, limited: float, flags: tuple[str, ...], loss_percent: float
) -> None:
    """Of two CPUs, in CPU seconds of a second, while a fifth to a third of the time of both was idle."""
    start = replace(START, pressure_microseconds=0, throttled_microseconds=0)
    seconds = 5
    after = replace(
        sample(seconds, seconds * node, seconds * own),
        pressure_microseconds=int(seconds * waited * 1e6),
        throttled_microseconds=int(seconds * limited * 1e6),
    )
    found = detect_contention(start, after, start)
    assert found.flags == flags
    assert found.loss_percent == pytest.approx(loss_percent, abs=0.1)


def test_where_no_task_waited_nobody_lacked_a_cpu() -> None:
    after = sample(5, 10, 5)
    assert detect_contention(START, after, START).flags == ("Contended",), "unknown whether one waited"
    quiet = replace(START, pressure_microseconds=7)
    assert detect_contention(quiet, replace(after, pressure_microseconds=8), START).flags == ()


@given(
    hidden=st.sets(
        st.sampled_from(["node_busy_microseconds", "own_busy_microseconds", "node_cpus"]), min_size=1
    )
)
def test_what_cannot_be_read_raises_no_flag(hidden: set[str]) -> None:
    unread: dict[str, Any] = dict.fromkeys(hidden)
    after = replace(sample(5, 10, 5), **unread)
    assert detect_contention(START, after, START).flags == ()
    assert detect_contention(START, MachineSample(stamp_ns=5 * SECOND), MachineSample(stamp_ns=0)).notes == ()


def test_a_kernel_that_is_compiled_meanwhile_is_told() -> None:
    """It halts the requests, and is not compiled again: the level is measured a second time."""
    before, after = replace(START, late_kernels=2), replace(sample(5), late_kernels=3)
    assert detect_contention(before, after, START).flags == ("NotSteady",)
    assert detect_contention(before, after, START).notes == ("the engine compiled 1 kernel",)
    assert detect_contention(before, replace(after, late_kernels=2), START).flags == ()
    assert detect_contention(before, replace(after, late_kernels=None), START).flags == ()


@given(first=st.integers(1_000_000, 2_000_000), ratio=st.floats(0.7, 1.45))
def test_the_speed_of_a_cpu_may_vary_by_chance(first: int, ratio: float) -> None:
    looked = [replace(START, calibration_ns=ns) for ns in (first, max(first, int(first * ratio)))]
    assert detect_contention(looked[0], looked[1], looked[0]).flags == ()
    slow = replace(START, calibration_ns=int(first * 2.6))
    assert detect_contention(slow, looked[0], looked[0]).flags == ("Contended",), "at the start of the window"
    assert detect_contention(looked[0], slow, START).flags == ("Contended",), "nothing known of the first"


@pytest.mark.parametrize(
    ("first", "before", "after", "flags"),
    [
        ({"utilization_percent": 0.0}, {}, {}, ()),
        ({"utilization_percent": 60.0}, {}, {}, ("Contended",)),
        ({"utilization_percent": 0.0, "foreign_memory_bytes": 0}, {}, {"foreign_memory_bytes": 0}, ()),
        (
            {"utilization_percent": 0.0, "foreign_memory_bytes": 0},
            {},
            {"foreign_memory_bytes": APPEARED_BYTES},
            ("Contended",),
        ),
        ({"utilization_percent": 0.0}, {}, {"foreign_memory_bytes": APPEARED_BYTES}, ()),
        # A boost without load is no promise; a power limit lowers it with the load, as in service.
        ({"utilization_percent": 0.0}, {"sm_clock_mhz": 1500}, {"sm_clock_mhz": 1450}, ()),
        (
            {"utilization_percent": 0.0},
            {"sm_clock_mhz": 1500, "throttle_reasons": ("SwPowerCap",)},
            {"sm_clock_mhz": 1450, "throttle_reasons": ("SwPowerCap",)},
            (),
        ),
        (
            {"utilization_percent": 0.0},
            {},
            {"sm_clock_mhz": 1500, "throttle_reasons": ("SwPowerCap",)},
            (),
        ),
        ({"utilization_percent": 0.0}, {}, {"sm_clock_mhz": 1500}, ("Throttled",)),
        (
            {"utilization_percent": 0.0},
            {},
            {"sm_clock_mhz": 1500, "throttle_reasons": ("HwThermalSlowdown", "SwPowerCap")},
            ("Throttled",),
        ),
        ({"utilization_percent": 0.0}, {}, {"sm_clock_mhz": 345, "utilization_percent": 0.0}, ()),
        *(
            ({"utilization_percent": 0.0}, {}, {"throttle_reasons": (r,)}, ("Throttled",))
            for r in INVALIDATING_REASONS
        ),
        ({"utilization_percent": 0.0}, {"throttle_reasons": ("HwThermalSlowdown",)}, {}, ("Throttled",)),
    ],
)
def test_a_gpu_that_others_use_or_that_lowers_its_clocks(
    first: dict[str, object], before: dict[str, object], after: dict[str, object], flags: tuple[str, ...]
) -> None:
    looked = [replace(START, gpus=(gpu(**changed),)) for changed in (before, after, first)]
    assert detect_contention(*looked).flags == flags


def test_a_steady_power_limit_and_the_pods_own_cpu_limit_are_told_without_a_flag() -> None:
    capped = replace(
        sample(5),
        gpus=(gpu(power_watts=699.8, throttle_reasons=("SwPowerCap",)),),
        throttled_microseconds=2_000_000,
    )
    found = detect_contention(replace(START, throttled_microseconds=0), capped, START)
    assert found.flags == ()
    assert any("power limit at 700 W" in note for note in found.notes), found.notes
    assert any("throttled it for 40% of the time" in note for note in found.notes), found.notes


BURNER = "import os\nif os.fork(): os._exit(0)\nos.setsid()\nprint(os.getpid(), flush=True)\nwhile True: pass"


def test_a_burner_on_each_cpu_is_seen_from_a_process_that_wants_them_too(tmp_path: Path) -> None:
    # Here both are of one container: what is told apart is processes, as where there is no container.
    look = sampler(cgroup=tmp_path)
    first = look(True)
    assert first.calibration_ns is not None
    assert first.node_cpus == len(os.sched_getaffinity(0))
    burners: list[int] = []
    own = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(first.node_cpus)]
    try:
        for _ in range(first.node_cpus):  # they leave this process's tree: somebody else's
            told = subprocess.Popen([sys.executable, "-c", BURNER], stdout=subprocess.PIPE, text=True)
            assert told.stdout is not None
            burners.append(int(told.stdout.readline()))
            told.stdout.close()
            told.wait()
        before = look(True)
        time.sleep(1.5)
        after = look(True)
    finally:
        for pid in burners:
            os.kill(pid, 9)
        for process in own:
            process.kill()
            process.wait()
    assert after.node_busy_microseconds is not None
    assert before.node_busy_microseconds is not None
    assert after.node_busy_microseconds > before.node_busy_microseconds
    assert "Contended" in detect_contention(before, after, first).flags, (before, after)
