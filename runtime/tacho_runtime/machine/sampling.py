"""Samples of CPU and GPU use while an engine is measured, to detect disturbances."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tacho_runtime.machine import cpu_usage, gpus as nvml
from tacho_runtime.machine.cpu_usage import CpuWaits
from tacho_runtime.machine.gpus import Gpu, GpuProcess, GpuSample


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSample:
    """CPU and GPU use of the machine at one time; totals only grow. None: cannot be read here."""

    stamp_ns: int
    """Time of the sample on the monotonic clock, in nanoseconds."""
    calibration_ns: int | None = None
    """CPU time in ns of the calibration (a fixed piece of work); None: it was not run."""
    node_busy_microseconds: int | None = None
    """CPU time in microseconds that all processes of the node used on this process's CPUs, including time
    that a hypervisor took.
    """
    node_cpus: int | None = None
    """Number of CPUs that ``node_busy_microseconds`` covers."""
    own_busy_microseconds: int | None = None
    """CPU time in microseconds that this container has used, by its cgroup."""
    pressure_microseconds: int | None = None
    """Microseconds in which some task of this container waited for a CPU (PSI, ``some``).

    Where its cgroup does not report it, the sum over all threads, without the last waits of threads that
    ended.
    """
    throttled_microseconds: int | None = None
    """Microseconds in which the cgroup's CPU limit stopped its tasks."""
    gpus: tuple[GpuSample, ...] = ()
    late_kernels: int | None = None
    """Number of kernels that the engine has compiled after its start, by its log."""


WORK_PERCENT = 5.0
SETTLE_SECONDS, SETTLE_STEP_SECONDS = 1.5, 0.1
"""Longest wait in seconds for idle GPUs, and the step of that wait. NVML's utilization covers the last
second, so the engine's own loading still shows in it.
"""


def sampler(
    gpus: Sequence[Gpu] = (),
    engine: Callable[[], Sequence[int]] = tuple,
    *,
    cgroup: Path = cpu_usage.CGROUP,
) -> Callable[[bool], MachineSample]:
    """A function that samples this machine; its argument says whether to time the fixed piece of work, too.

    ``gpus``: the engine's GPUs as they were before its start. ``engine``: its processes now. Call this when
    the engine is loaded: new processes on its GPUs are then the engine's. Take the first sample while the
    engine is idle: it waits, for SETTLE_SECONDS at most, until the GPUs' utilization no longer shows the
    load.
    """
    watched = _Watched(gpus, engine)
    waits = CpuWaits(os.getpid(), cgroup=cgroup)

    def sample(calibrate: bool) -> MachineSample:
        cpus = os.sched_getaffinity(0)
        return MachineSample(
            calibration_ns=cpu_usage.calibrate() if calibrate else None,
            node_busy_microseconds=cpu_usage.node_busy(cpus),
            node_cpus=len(cpus),
            own_busy_microseconds=cpu_usage.own_busy(os.getpid(), cgroup=cgroup),
            pressure_microseconds=waits.total(),
            throttled_microseconds=cpu_usage.throttled(cgroup),
            gpus=watched.samples(),
            stamp_ns=time.monotonic_ns(),
        )

    return sample


class _Watched:
    """The GPUs of one engine, and which of their processes are its own."""

    def __init__(self, before: Sequence[Gpu], engine: Callable[[], Sequence[int]]) -> None:
        self._before, self._engine = before, engine
        self._own: dict[int, frozenset[int]] = {}
        self._settled = False
        with self._nvml() as module:
            for gpu in before if module else ():
                earlier = {process.pid for process in gpu.processes}
                now = {process.pid for process in nvml.refreshed(module, gpu).processes}
                self._own[gpu.index] = frozenset(now - earlier)

    def _nvml(self) -> Any:
        return nvml.nvml() if self._before else contextlib.nullcontext()

    def samples(self) -> tuple[GpuSample, ...]:
        with self._nvml() as module:
            if module is None:
                return ()
            found = self._samples(module)
            ends = time.monotonic() + SETTLE_SECONDS
            while not self._settled and any(map(_works, found)) and time.monotonic() < ends:
                time.sleep(SETTLE_STEP_SECONDS)
                found = self._samples(module)
            self._settled = True
            return found

    def _samples(self, module: Any) -> tuple[GpuSample, ...]:
        engine = frozenset(self._engine())
        return tuple(self._sample(module, gpu, engine) for gpu in self._before)

    def _sample(self, module: Any, gpu: Gpu, engine: frozenset[int]) -> GpuSample:
        processes = nvml.refreshed(module, gpu).processes
        pids = {process.pid for process in processes}
        # In a container NVML may number processes as the host does: then the engine's are those that came
        # since.
        own = engine & pids or self._own.get(gpu.index, frozenset())
        return replace(nvml.clocks_of(module, gpu), foreign_memory_bytes=foreign_bytes(processes, own))


def _works(gpu: GpuSample) -> bool:
    return (gpu.utilization_percent or 0.0) >= WORK_PERCENT


def foreign_bytes(processes: Sequence[GpuProcess], own: frozenset[int]) -> int | None:
    """GPU memory of processes that are not the engine's, in bytes; None where the driver does not list
    processes."""
    if not own or not any(process.pid in own for process in processes):
        return None
    sizes = [process.used_bytes for process in processes if process.pid not in own]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
