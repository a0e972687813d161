"""Memory that the engine uses, of samples taken while it loads and is measured: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tacho_contract.measurement import DeviceMemory, MemoryActual
from tacho_engines.base import EngineFigures
from tacho_runtime.machine.gpus import Gpu

PROCESS, DEVICE = "Process", "Device"
CREDIBLE = 0.5
"""Part of a GPU's growth that the engine's processes must account for. Less: their numbers are those of
another namespace, and what fits is a coincidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look."""

    host_bytes: int | None = None
    host_highest_bytes: int | None = None
    """Of any one process since it began."""
    gpus: tuple[Gpu, ...] = ()
    pids: tuple[int, ...] = ()
    """The engine's processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the samples so far come to."""

    source: str = ""
    used: Mapping[int, int] = field(default_factory=dict)
    """By GPU, of the latest sample."""
    peak: Mapping[int, int] = field(default_factory=dict)
    host_bytes: int | None = None
    host_peak_bytes: int | None = None


def used_of(gpu: Gpu, before_bytes: int, pids: Sequence[int]) -> tuple[int, str] | None:
    """(bytes in use by the engine, how that is known). None: the GPU does not say.

    By process where the driver tells processes apart by the numbers they have here; else the whole GPU, less
    what was in use before the engine's start.
    """
    if gpu.sliced or gpu.used_bytes is None:
        return None
    grown = max(0, gpu.used_bytes - before_bytes)
    own = [item.used_bytes for item in gpu.processes if item.pid in pids]
    told = sum(item for item in own if item is not None)
    if own and None not in own and CREDIBLE * grown <= told <= gpu.used_bytes:
        return told, PROCESS
    return grown, DEVICE


def added(total: Used, sample: Sample, before: Mapping[int, int]) -> Used:
    """``total`` with one more sample. ``before``: bytes in use of each GPU before the engine's start."""
    found = {gpu.index: used_of(gpu, before.get(gpu.index, 0), sample.pids) for gpu in sample.gpus}
    known = {index: item for index, item in found.items() if item is not None}
    sources = {source for _, source in known.values()}
    used = {index: size for index, (size, _) in known.items()}
    peak = {index: max(size, total.peak.get(index, 0)) for index, size in {**total.peak, **used}.items()}
    resident = (total.host_peak_bytes, sample.host_bytes, sample.host_highest_bytes)
    hosts = [size for size in resident if size is not None]
    return Used(
        source=(DEVICE if DEVICE in sources else PROCESS) if sources else total.source,
        used=used or total.used,
        peak=peak,
        host_bytes=sample.host_bytes if sample.host_bytes is not None else total.host_bytes,
        host_peak_bytes=max(hosts, default=None),
    )


def memory_actual(total: Used, figures: EngineFigures, kv_cache_tokens: int | None) -> MemoryActual:
    """What is reported. GPUs on which the engine has nothing are left out.

    ``kv_cache_tokens``: what the engine's metrics say, which counts where its log says nothing.
    """
    devices = tuple(
        DeviceMemory(index=index, used_bytes=total.used.get(index, 0), peak_bytes=peak)
        for index, peak in sorted(total.peak.items())
        if peak
    )
    from_log = figures.kv_cache_tokens
    return MemoryActual(
        weights_bytes=figures.weights_bytes,
        kv_cache_bytes=figures.kv_cache_bytes,
        kv_cache_tokens=from_log if from_log is not None else kv_cache_tokens,
        graph_bytes=figures.graph_bytes,
        gpu_used_bytes=max((item.used_bytes for item in devices), default=None),
        gpu_peak_bytes=max((item.peak_bytes for item in devices), default=None),
        gpu_source=total.source if devices else "",
        gpu_devices=devices,
        host_used_bytes=total.host_bytes,
        host_peak_bytes=total.host_peak_bytes,
    )
