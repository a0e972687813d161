"""Memory of the engine: sampled during load and measurement, and compared with the plan."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.measurement import DeviceMemory, Measurement, MemoryActual
from tacho_contract.units import gib
from tacho_engines.base import EngineStartup
from tacho_runtime.files import while_reading
from tacho_runtime.machine import gpus, processes
from tacho_runtime.machine.gpus import Gpu
from tacho_runtime.supervisor.machine_check import ObservedMachine, shared_gpu

log = logging.getLogger("tacho")

WEIGHTS_FACTOR = 1.25
"""Ratio of loaded to predicted weights above which the quantization was not applied.

In the 38 starts of benchmarks/planner/data/engine_logs.json with both values it was at most 1.06
(DeepSeek-R1; the next 1.03). Without the requested 8 bits it is 1.76, without 4 bits 2.8 (Llama-3.1-8B on an
H200).
"""
WEIGHTS_SLACK_BYTES = 256 * 1024**2
"""Bytes by which loaded weights may always exceed the prediction; for a small model this is more than the
factor allows.
"""


OTHER_WEIGHTS = ("float32", "speculative", "load-format", "load_format", "lora")
"""Parts of engine arguments that change the loaded weights: wider types, draft models, others, adapters."""


def quantization_failure(config: RuntimeConfig, figures: EngineStartup) -> Failure | None:
    """QuantizationNotApplied where the engine loaded far more bytes than predicted, else None.

    Some engines serve a checkpoint unquantized, without an error, where its configuration lacks a field. No
    failure where no method is set, or where the user's own arguments change what is loaded.
    """
    loaded, predicted = figures.weights_bytes, config.predicted_weights_bytes
    if loaded is None or not predicted or config.quantization_method == "none":
        return None
    if any(word in argument for argument in config.extra_args for word in OTHER_WEIGHTS):
        return None
    if loaded <= WEIGHTS_FACTOR * predicted + WEIGHTS_SLACK_BYTES:
        return None
    return Failure(
        failure_class=FailureClass.QUANTIZATION_NOT_APPLIED,
        message=f"{config.engine} loaded {gib(loaded)} of weights where {config.quantization_method} should "
        f"leave {gib(predicted)}: the quantization was not applied",
        next_step="check the checkpoint's quantization_config (a GPTQ one needs modules_in_block_to_quantize "
        "or readable safetensors headers), spec.engine.image and spec.engine.extraArgs",
        details={"loadedBytes": str(loaded), "predictedBytes": str(predicted)},
    )


PROCESS, DEVICE = "Process", "Device"
CREDIBLE = 0.5
"""Share of a GPU's growth in use that the engine's processes must explain. With less, the process ids are of
another namespace, and matches are chance.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMemorySample:
    """One sample of the memory of the engine's processes and GPUs."""

    host_bytes: int | None = None
    host_highest_bytes: int | None = None
    """Largest resident set of any one process since its start, in bytes."""
    gpus: tuple[Gpu, ...] = ()
    pids: tuple[int, ...] = ()
    """Process ids of the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMemoryUse:
    """Memory use of the engine over all samples taken."""

    source: str = ""
    used: Mapping[int, int] = field(default_factory=dict)
    """Bytes in use by GPU index, from the latest sample."""
    peak: Mapping[int, int] = field(default_factory=dict)
    host_bytes: int | None = None
    host_peak_bytes: int | None = None


def gpu_use(gpu: Gpu, before_bytes: int, pids: Sequence[int]) -> tuple[int, str] | None:
    """(bytes that the engine uses on a GPU, the source Process or Device); None where the GPU does not report
    its memory.

    Process: by the driver's list of processes, where their ids are of this namespace. Device: growth of the
    whole GPU's use since before the engine's start.
    """
    if gpu.sliced or gpu.used_bytes is None:
        return None
    grown = max(0, gpu.used_bytes - before_bytes)
    own = [item.used_bytes for item in gpu.processes if item.pid in pids]
    reported = sum(item for item in own if item is not None)
    if own and None not in own and CREDIBLE * grown <= reported <= gpu.used_bytes:
        return reported, PROCESS
    return grown, DEVICE


def with_sample(
    total: EngineMemoryUse, sample: EngineMemorySample, before: Mapping[int, int]
) -> EngineMemoryUse:
    """``total`` updated with one more sample. ``before``: bytes in use on each GPU before the engine's
    start."""
    found = {gpu.index: gpu_use(gpu, before.get(gpu.index, 0), sample.pids) for gpu in sample.gpus}
    known = {index: item for index, item in found.items() if item is not None}
    sources = {source for _, source in known.values()}
    used = {index: size for index, (size, _) in known.items()}
    peak = {index: max(size, total.peak.get(index, 0)) for index, size in {**total.peak, **used}.items()}
    resident = (total.host_peak_bytes, sample.host_bytes, sample.host_highest_bytes)
    hosts = [size for size in resident if size is not None]
    return EngineMemoryUse(
        source=(DEVICE if DEVICE in sources else PROCESS) if sources else total.source,
        used=used or total.used,
        peak=peak,
        host_bytes=sample.host_bytes if sample.host_bytes is not None else total.host_bytes,
        host_peak_bytes=max(hosts, default=None),
    )


def memory_actual(
    total: EngineMemoryUse, figures: EngineStartup, kv_cache_tokens: int | None
) -> MemoryActual:
    """The memory values to report. GPUs that the engine does not use are left out.

    ``kv_cache_tokens``: from the engine's metrics, used where its log does not say it.
    """
    devices = tuple(
        DeviceMemory(index=index, actual_bytes=total.used.get(index, 0), peak_bytes=peak)
        for index, peak in sorted(total.peak.items())
        if peak
    )
    from_log = figures.kv_cache_tokens
    return MemoryActual(
        weights_bytes=figures.weights_bytes,
        kv_cache_bytes=figures.kv_cache_bytes,
        kv_cache_tokens=from_log if from_log is not None else kv_cache_tokens,
        graph_bytes=figures.graph_bytes,
        gpu_used_bytes=max((item.actual_bytes or 0 for item in devices), default=None),
        gpu_peak_bytes=max((item.peak_bytes or 0 for item in devices), default=None),
        gpu_source=total.source if devices else "",
        gpu_devices=devices,
        host_used_bytes=total.host_bytes,
        host_peak_bytes=total.host_peak_bytes,
    )


SAMPLE_SECONDS = 1.0
"""Seconds between two samples. Each reads /proc once and queries each GPU: about 2 ms in a pod."""
RECORD_SECONDS = 30.0
"""Seconds for the last sample, after which the pod serves without it."""
SHARED_GPU = "SharedGPU"
"""Flag of a measurement on a GPU that other processes use, too."""


SAMPLING_SHARE = 0.05
"""Largest share of time for reading exact resident memory. The kernel walks page tables: 10 ms for a process
of 1 GB, a second for 100 GB.
"""


class MemoryWatch:
    """Samples the engine's memory every second while ``running``, and once more at the end."""

    def __init__(self, machine: ObservedMachine, pid: int) -> None:
        self._gpus = machine.gpus.devices if machine.gpus else ()
        self._before = {gpu.index: gpu.used_bytes or 0 for gpu in self._gpus}
        self._shared = shared_gpu(machine)
        self._pid = pid
        self._sampling: threading.Thread | None = None
        self._used = EngineMemoryUse()
        self._due = 0.0
        """Monotonic time from which exact resident memory may be read again."""
        self._shared_once = False
        """Whether the kernel reports memory with shared pages counted once."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Samples until the block is left, in a thread that nothing waits for: a driver may never answer."""
        stop = threading.Event()
        self._sampling = threading.Thread(target=self._sample_until, args=(stop,), daemon=True)
        self._sampling.start()
        try:
            yield
        finally:
            stop.set()

    def _sample_until(self, stop: threading.Event) -> None:
        with self._nvml() as module:
            self._sample(module)
            while not stop.wait(SAMPLE_SECONDS):
                self._sample(module)

    async def recorded_in(self, measurement: Measurement, figures: EngineStartup) -> Measurement:
        """``measurement`` with the memory that was sampled; the last sample counts shared pages once.

        What is known after RECORD_SECONDS counts, where the driver does not answer.
        """
        ends = time.monotonic() + RECORD_SECONDS

        def check() -> None:
            if time.monotonic() > ends:
                raise asyncio.TimeoutError

        try:
            await while_reading(self._sample_last, check)
        except (asyncio.TimeoutError, TimeoutError):
            log.warning("the last figures of the engine's memory did not come in %.0f s", RECORD_SECONDS)
        except RuntimeError as error:  # no thread can be started
            log.warning("the last figures of the engine's memory were not read: %s", error)
        memory_ = memory_actual(self._used, figures, measurement.memory.kv_cache_tokens)
        flags = {*measurement.flags, *((SHARED_GPU,) if self._shared else ())}
        return dataclasses.replace(measurement, memory=memory_, flags=tuple(sorted(flags)))

    def _sample_last(self) -> None:
        if self._sampling is not None:
            self._sampling.join()
        with self._nvml() as module:
            self._sample(module, last=True)

    def _nvml(self) -> contextlib.AbstractContextManager[Any]:
        """NVML, kept open between samples, as its start takes longer than a query."""
        return gpus.nvml() if self._gpus else contextlib.nullcontext()

    def _sample(self, module: Any, *, last: bool = False) -> None:
        pids = processes.process_tree(self._pid)
        sample = EngineMemorySample(
            host_bytes=self._host_bytes(pids, last=last),
            host_highest_bytes=processes.highest_bytes(pids),
            gpus=tuple(gpus.refreshed(module, gpu) for gpu in self._gpus) if module else (),
            pids=pids,
        )
        self._used = with_sample(self._used, sample, self._before)

    def _host_bytes(self, pids: tuple[int, ...], *, last: bool) -> int | None:
        """Resident memory of the engine's processes in bytes, with shared pages counted once if the kernel
        reports that.

        None: not read this time, because the last read took long or a process has just ended.
        """
        begun = time.monotonic()
        if begun < self._due and not last:
            return None
        found = processes.proportional_bytes(pids)
        self._due = time.monotonic() + (time.monotonic() - begun) / SAMPLING_SHARE
        if found is None and not self._shared_once:
            return processes.resident_bytes(pids)
        self._shared_once = True
        return found
