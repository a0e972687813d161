"""Whether other programs disturbed an engine while it was measured, by samples of the machine. Pure.

A value that cannot be read raises no flag.
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
"""Share of the CPUs' time used by other programs above which measured values are provisional where CPUs are
scarce: an engine loses about what others use. A lower share is usual on any node, and widens the interval."""
FEW_SHARE = 0.02
"""Others use so much on any machine."""
SCARCE_IDLE_SHARE = 0.10
"""Idle time below which others' work is at the engine's cost."""
CROWDED_SHARE = 0.05
"""Share of the CPUs' time that other programs use, from which on they may hold one engine thread while all
its other threads wait for it."""
LOST_SHARE = 0.2
"""Share of time in which threads that wait for each other were held up, above which measured values are
provisional."""
WAITING_SHARE = 0.01
"""Where no task waited for a CPU for even so much of the time, none was lacking."""
SHORTEST_SECONDS = 0.25
"""The kernel counts CPU time in hundredths of a second: in less, the shares are noise."""
SLOWER = 2.5
"""Factor over its shortest time above which the fixed work was disturbed. By chance alone it takes at most
1.35 times the shortest: 3000 tries on two CPUs, with llama.cpp on both and an equal number of programs beside
it. Where two CPUs are hardware threads of one core, it took 1.8 times as long beside the engine's own
threads, because a sibling thread takes at most half of a core."""
APPEARED_BYTES = 64 * 1024**2
"""Bytes of GPU memory; any program that computes on a GPU takes more for its context."""
BUSY_PERCENT = 20.0
"""Utilization of a GPU on which the engine has nothing to do yet."""
WORKING_PERCENT = 50.0
"""Utilization from which clocks of two moments are those of load."""
CLOCK_FALL = 0.10
"""Share by which the SM clock falls between two moments under load, where the power limit is not the
cause."""
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
    """What the engine may have lost to others beyond that, in percent of what it did: to be added to the
    interval."""


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
    """Others' share of the CPUs' time, where the engine had no idle CPU to go to; None where it had, or where
    that cannot be told."""
    shares = _cpu_shares(before, after)
    if shares is None:
        return None
    other, idle = shares
    waited = _grown(before.pressure_microseconds, after.pressure_microseconds)
    none_waited = waited is not None and waited < WAITING_SHARE * _seconds(before, after) * 1e6
    return other if idle < SCARCE_IDLE_SHARE and not none_waited else None


def _cpu_shares(before: MachineSample, after: MachineSample) -> tuple[float, float] | None:
    """(share of the CPUs' time that others used, idle share); None where that cannot be told."""
    seconds = _seconds(before, after)
    node = _grown(before.node_busy_microseconds, after.node_busy_microseconds)
    own = _grown(before.own_busy_microseconds, after.own_busy_microseconds)
    if seconds < SHORTEST_SECONDS or node is None or own is None or not after.node_cpus:
        return None
    whole = seconds * 1e6 * after.node_cpus
    return max(0.0, node - own) / whole, max(0.0, 1 - node / whole)


def _held(before: MachineSample, after: MachineSample, least: float) -> float:
    """The share of time in which others may have held a thread, and with it all that meet it at the end of
    each step: their CPUs idle or spin meanwhile, so that idle time is no sign of room. 0 where others use
    less than the share ``least`` of the CPUs' time, or where that cannot be told."""
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
    """The fixed work's time against the shortest that is known of it."""
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
    """Flags and notes about the pod's own limits: they are part of what is measured, and not contention."""
    stood = _grown(before.throttled_microseconds, after.throttled_microseconds)
    seconds = _seconds(before, after)
    if stood and seconds > 0 and (share := stood / (seconds * 1e6)) >= WAITING_SHARE:
        yield "", f"the container's CPU limit throttled it for {share:.0%} of the time"


def _late_kernels(before: MachineSample, after: MachineSample) -> Iterator[tuple[str, str]]:
    """Requests halt while a kernel is compiled, once in the life of an engine."""
    if compiled := _grown(before.late_kernels, after.late_kernels):
        yield NOT_STEADY, f"the engine compiled {counted(compiled, 'kernel')}"


def _seconds(before: MachineSample, after: MachineSample) -> float:
    return (after.stamp_ns - before.stamp_ns) / 1e9


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
