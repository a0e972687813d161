"""Whether other programs disturbed an engine during a measurement, from two samples of the machine. Pure.

A value that cannot be read sets no flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tacho_contract.measurement import NOT_STEADY
from tacho_contract.units import counted
from tacho_runtime.machine.gpus import GpuSample
from tacho_runtime.machine.sampling import MachineSample

CONTENDED, THROTTLED = "Contended", "Throttled"
OTHER_SHARE = 0.15
"""Share of the CPUs' time used by other programs above which measured values are provisional, where CPUs are
scarce.

The engine loses about what others use. A lower share is usual on any node, and widens the interval.
"""
FEW_SHARE = 0.02
"""Share of the CPUs' time that other programs use on any machine."""
SCARCE_IDLE_SHARE = 0.10
"""Share of idle CPU time below which CPU time of other programs is taken from the engine."""
CROWDED_SHARE = 0.05
"""Share of the CPUs' time from which on other programs that use it may hold up one engine thread. All its
other threads then wait for that one."""
LOST_SHARE = 0.2
"""Share of time in which threads that wait for each other were held up, above which measured values are
provisional."""
WAITING_SHARE = 0.01
"""Share of time in which tasks waited for a CPU. Below it CPUs were not scarce."""
SHORTEST_SECONDS = 0.25
"""Shortest interval for CPU shares, in seconds. The kernel counts CPU time in 10 ms, so shares of a shorter
one are inexact.
"""
SLOWER = 2.5
"""Ratio of the calibration's time to its shortest time above which the CPU counts as disturbed.

By chance it is at most 1.35 (3,000 runs on two CPUs, with llama.cpp on both and as many other programs).
Where the CPUs share a core with the engine's threads it is 1.8, since each gets half of the core.
"""
APPEARED_BYTES = 64 * 1024**2
"""Growth of GPU memory in bytes that counts as another program, whose context alone needs more."""
BUSY_PERCENT = 20.0
"""Utilization in percent of a GPU above which another program uses it, while the engine is idle."""
WORKING_PERCENT = 50.0
"""Utilization in percent from which two readings of a GPU's clock count as taken under load."""
CLOCK_FALL = 0.10
"""Share by which a GPU's SM clock may fall under load before a flag is set; the power limit sets none."""
INVALIDATING_REASONS = ("HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
"""NVML's reasons of lower clocks that make measured values provisional: heat, and power that the machine
cannot supply. SwPowerCap is not included: data-centre cards run large batches at their own power limit all
day."""
POWER_CAP = "SwPowerCap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """The flags for disturbances between two samples of the machine. ``notes``: the cause of each flag, and
    other observations."""

    flags: tuple[str, ...] = ()
    """Flags of the disturbances, in alphabetical order, each once."""
    notes: tuple[str, ...] = ()
    loss_percent: float = 0.0
    """Loss of speed to other programs that sets no flag, in percent; it widens the confidence interval."""


def detect_contention(before: MachineSample, after: MachineSample, first: MachineSample) -> Contention:
    """The disturbances of the engine between the samples ``before`` and ``after``.

    ``first``: the sample when the engine was loaded and idle.
    """
    found = (
        *_cpu(before, after),
        *_speed(before, after, first),
        *_gpus(before, after, first),
        *_limit(before, after),
        *_late_kernels(before, after),
    )
    flags = {flag for flag, _ in found if flag}
    other = _others(before, after) or 0.0
    # What two threads that meet lose is what both of their CPUs lose together, from the first hundredths on.
    lost = max(other, min(LOST_SHARE, _held(before, after, FEW_SHARE)))
    little = lost >= FEW_SHARE and not flags & {CONTENDED}
    clause = (
        f"other processes may have taken up to {lost:.0%} of the engine's time, which the intervals include"
    )
    notes = [note for _, note in found] + [clause] * little
    return Contention(
        flags=tuple(sorted(flags)),
        notes=tuple(dict.fromkeys(notes)),
        loss_percent=100 * lost / (1 - lost) if little else 0.0,
    )


def _cpu(before: MachineSample, after: MachineSample) -> Iterator[tuple[str, str]]:
    other = _others(before, after)
    if other is not None and other >= OTHER_SHARE:
        yield (CONTENDED, f"other processes used {other:.0%} of the {after.node_cpus} CPUs and none was idle")
    elif (held := _held(before, after, CROWDED_SHARE)) >= LOST_SHARE:
        yield (
            CONTENDED,
            f"threads waited for a CPU for {held:.0%} of the time while other processes used some of the "
            f"{after.node_cpus} CPUs",
        )


def _others(before: MachineSample, after: MachineSample) -> float | None:
    """Share of CPU time of other programs while no CPU was idle; None where CPUs were idle, or unknown."""
    shares = _cpu_shares(before, after)
    if shares is None:
        return None
    other, idle = shares
    waited = _grown(before.pressure_microseconds, after.pressure_microseconds)
    none_waited = waited is not None and waited < WAITING_SHARE * _seconds(before, after) * 1e6
    return other if idle < SCARCE_IDLE_SHARE and not none_waited else None


def _cpu_shares(before: MachineSample, after: MachineSample) -> tuple[float, float] | None:
    """(share of the CPUs' time that other programs used, share of idle time); None where unknown."""
    seconds = _seconds(before, after)
    node = _grown(before.node_busy_microseconds, after.node_busy_microseconds)
    own = _grown(before.own_busy_microseconds, after.own_busy_microseconds)
    if seconds < SHORTEST_SECONDS or node is None or own is None or not after.node_cpus:
        return None
    whole = seconds * 1e6 * after.node_cpus
    return max(0.0, node - own) / whole, max(0.0, 1 - node / whole)


def _held(before: MachineSample, after: MachineSample, least: float) -> float:
    """Share of time in which other programs may have held up an engine thread, and all threads that wait for
    it at the end of a step.

    The waiting threads' CPUs are idle or spin, so idle CPUs are no sign of spare capacity. 0 where others
    used less than ``least`` of the CPUs' time, or where unknown.
    """
    shares = _cpu_shares(before, after)
    waited = _grown(before.pressure_microseconds, after.pressure_microseconds)
    if shares is None or waited is None:
        return 0.0
    other, idle = shares
    # A task that its own limit holds waits as well, but not for other programs.
    limited = _grown(before.throttled_microseconds, after.throttled_microseconds) or 0
    waiting = min(1.0, max(0, waited - limited) / (_seconds(before, after) * 1e6))
    if other < least or idle >= SCARCE_IDLE_SHARE + waiting:
        return 0.0
    return min(waiting, other * (after.node_cpus or 0))


def _speed(before: MachineSample, after: MachineSample, first: MachineSample) -> Iterator[tuple[str, str]]:
    """Flag and note where the calibration took longer than its shortest known time."""
    known = [item.calibration_ns for item in (first, before, after) if item.calibration_ns]
    now = [item.calibration_ns for item in (before, after) if item.calibration_ns]
    if now and max(now) > SLOWER * min(known):
        yield CONTENDED, f"a CPU needed {max(now) / min(known):.1f} times as long as before for the same work"


def _gpus(before: MachineSample, after: MachineSample, first: MachineSample) -> Iterator[tuple[str, str]]:
    starts = {gpu.index: gpu for gpu in before.gpus}
    firsts = {gpu.index: gpu for gpu in first.gpus}
    for gpu in after.gpus:
        unseen = GpuSample(index=gpu.index)
        earlier = firsts.get(gpu.index, unseen)
        yield from _foreign(gpu, earlier)
        yield from _clocks(gpu, starts.get(gpu.index, unseen), earlier)


def _foreign(gpu: GpuSample, first: GpuSample) -> Iterator[tuple[str, str]]:
    appeared = _grown(first.foreign_memory_bytes, gpu.foreign_memory_bytes) or 0
    if appeared >= APPEARED_BYTES:
        yield CONTENDED, f"another process allocated {appeared / 1024**2:.0f} MiB of GPU {gpu.index}"
    if (first.utilization_percent or 0) >= BUSY_PERCENT:
        yield (
            CONTENDED,
            f"GPU {gpu.index} was {first.utilization_percent:.0f} % busy before the engine had work",
        )


def _clocks(gpu: GpuSample, start: GpuSample, first: GpuSample) -> Iterator[tuple[str, str]]:
    reasons = [
        item for item in INVALIDATING_REASONS if item in {*start.throttle_reasons, *gpu.throttle_reasons}
    ]
    if reasons:
        yield THROTTLED, f"GPU {gpu.index} lowered its clocks: {', '.join(reasons)}"
    now = gpu.sm_clock_mhz
    if POWER_CAP in gpu.throttle_reasons:
        # Lower than with fewer streams, as it will be in service.
        seen = [f" at {gpu.power_watts:.0f} W" if gpu.power_watts else "", f" and {now} MHz" if now else ""]
        yield "", f"GPU {gpu.index} ran at its power limit{''.join(seen)}"
        return
    # Clocks of an idle GPU say nothing: it sleeps, or stands at a boost that no load can keep.
    fast = [item.sm_clock_mhz for item in (first, start) if item.sm_clock_mhz and _working(item)]
    if now and _working(gpu) and fast and now < (1 - CLOCK_FALL) * max(fast):
        yield THROTTLED, f"the clock of GPU {gpu.index} fell from {max(fast)} to {now} MHz under load"


def _working(gpu: GpuSample) -> bool:
    return (gpu.utilization_percent or 0) >= WORKING_PERCENT


def _limit(before: MachineSample, after: MachineSample) -> Iterator[tuple[str, str]]:
    """Notes about the CPU limit of the pod. It belongs to what is measured, and is no disturbance."""
    stood = _grown(before.throttled_microseconds, after.throttled_microseconds)
    seconds = _seconds(before, after)
    if stood and seconds > 0 and (share := stood / (seconds * 1e6)) >= WAITING_SHARE:
        yield "", f"the container's CPU limit throttled it for {share:.0%} of the time"


def _late_kernels(before: MachineSample, after: MachineSample) -> Iterator[tuple[str, str]]:
    """Flag and note of GPU kernels compiled in the measurement: requests stop for it, once per engine."""
    if compiled := _grown(before.late_kernels, after.late_kernels):
        yield NOT_STEADY, f"the engine compiled {counted(compiled, 'kernel')}"


def _seconds(before: MachineSample, after: MachineSample) -> float:
    return (after.stamp_ns - before.stamp_ns) / 1e9


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
