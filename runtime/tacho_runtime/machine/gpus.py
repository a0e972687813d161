"""Reads the GPUs of this machine through NVML: memory, processes, clocks."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

DEVICE_NODES = (
    *("nvidia[0-9]*", "nvgpu", "nvhost-*"),  # NVIDIA's, and Tegra's
    "dxg",  # WSL's
    *("kfd", "dri/renderD*"),  # AMD's, Intel's
    *("accel[0-9]*", "accel/accel*", "hl[0-9]*"),  # the kernel's compute accelerators; Habana's older driver
)
"""Patterns of device files under /dev of a container with a GPU. NVML covers only NVIDIA's and WSL's."""
LIBRARY_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/lib/wsl/lib")
"""Folders of the driver's libraries that some platforms do not register with the dynamic loader."""
LIBRARY = "libnvidia-ml.so.1"
SLOWING = {
    "SwPowerCap": 0x04,
    "HwSlowdown": 0x08,
    "SwThermalSlowdown": 0x20,
    "HwThermalSlowdown": 0x40,
    "HwPowerBrakeSlowdown": 0x80,
}
"""Bits of NVML's reasons for lower clocks, without those for a setting or a lack of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that uses memory of a GPU. ``pid`` is its id in the PID namespace of NVML."""

    pid: int
    used_bytes: int | None
    """GPU memory in bytes; None: the driver does not report it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU. A value that its driver does not report is None or empty."""

    index: int
    uuid: str = ""
    product: str = ""
    """Product name in the form of node labels: with dashes."""
    capability: tuple[int, int] | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    """GPU memory in use in bytes, without the driver's own part where the driver reports it separately."""
    sliced: bool = False
    """Whether the GPU is in MIG mode: name and memory are then those of the whole GPU, not of the slice in
    use."""
    processes: tuple[GpuProcess, ...] = ()
    fault: str = ""
    """Description of the GPU's fault, as a clause; "": none known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """GPUs and driver as NVML reports them."""

    devices: tuple[Gpu, ...] = ()
    driver_version: str = ""


@contextlib.contextmanager
def nvml() -> Iterator[Any]:
    """Yields NVML's functions, initialised; None without library, driver or permission."""
    try:
        module: Any = importlib.import_module("pynvml")
    except ImportError:
        yield None
        return
    if not _initialised(module):
        yield None
        return
    try:
        yield module
    finally:
        with contextlib.suppress(module.NVMLError):
            module.nvmlShutdown()


def _initialised(module: Any) -> bool:
    try:
        module.nvmlInit()
    except module.NVMLError_LibraryNotFound:
        return _from_folders(module)
    except module.NVMLError:
        return False
    return True


def _from_folders(module: Any) -> bool:
    for folder in LIBRARY_FOLDERS:
        with contextlib.suppress(OSError, module.NVMLError):
            module.nvmlLib = ctypes.CDLL(f"{folder}/{LIBRARY}")
            module.nvmlInit()
            return True
    module.nvmlLib = None
    return False


def read_gpus() -> Gpus | None:
    """GPUs as NVML reports them now; None without NVML. Takes up to seconds where no other process uses the
    GPU."""
    with nvml() as module:
        return None if module is None else gpus_of(module)


def gpus_of(module: Any) -> Gpus:
    """Every GPU that the initialised NVML ``module`` lists."""
    count = _query(module, module.nvmlDeviceGetCount) or 0
    return Gpus(
        devices=tuple(gpu for index in range(count) if (gpu := _gpu(module, index)) is not None),
        driver_version=str(_query(module, module.nvmlSystemGetDriverVersion) or ""),
    )


def _query(module: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of NVML's ``function``; None where this driver or GPU does not support it."""
    try:
        return function(*arguments)
    except module.NVMLError:
        return None


def _gpu(module: Any, index: int) -> Gpu | None:
    """One GPU; None: NVML counts it, but this container may not open it, as it belongs to another pod."""
    try:
        handle = module.nvmlDeviceGetHandleByIndex(index)
        name = module.nvmlDeviceGetName(handle)
    except module.NVMLError_NoPermission:
        return None
    except module.NVMLError as error:
        return Gpu(index=index, fault=f"NVML cannot reach it: {error}")
    memory = memory_of(module, handle)
    mig = _query(module, module.nvmlDeviceGetMigMode, handle)
    remapped = _query(module, module.nvmlDeviceGetRemappedRows, handle)
    return Gpu(
        index=index,
        uuid=str(_query(module, module.nvmlDeviceGetUUID, handle) or ""),
        product=str(name).replace(" ", "-"),
        capability=_query(module, module.nvmlDeviceGetCudaComputeCapability, handle),
        total_bytes=int(memory.total) if memory else None,
        free_bytes=int(memory.free) if memory else None,
        used_bytes=int(memory.used) if memory else None,
        sliced=bool(mig and mig[0]),
        processes=processes_of(module, handle),
        fault="a row of its memory could not be remapped" if remapped and remapped[3] else "",
    )


def refreshed(module: Any, gpu: Gpu) -> Gpu:
    """``gpu`` with its present memory and processes; where the GPU is lost, its memory is unknown."""
    handle = _query(module, module.nvmlDeviceGetHandleByIndex, gpu.index)
    memory = None if handle is None else memory_of(module, handle)
    if memory is None:
        return replace(gpu, free_bytes=None, used_bytes=None, processes=())
    free, used = int(memory.free), int(memory.used)
    return replace(gpu, free_bytes=free, used_bytes=used, processes=processes_of(module, handle))


def memory_of(module: Any, handle: Any) -> Any:
    """NVML's memory values of a GPU; if the driver supports it, with its own share as a separate value."""
    newer = _query(module, module.nvmlDeviceGetMemoryInfo, handle, getattr(module, "nvmlMemory_v2", None))
    return newer or _query(module, module.nvmlDeviceGetMemoryInfo, handle)


def processes_of(module: Any, handle: Any) -> tuple[GpuProcess, ...]:
    """Processes that compute on a GPU; empty where the driver does not show them to a container."""
    return tuple(
        GpuProcess(
            pid=int(item.pid),
            used_bytes=None if item.usedGpuMemory is None else int(item.usedGpuMemory),
        )
        for item in _query(module, module.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """Load and clocks of one GPU at one time. None: the driver does not report the value."""

    index: int
    foreign_memory_bytes: int | None = None
    """GPU memory of processes that are not the engine's, in bytes."""
    utilization_percent: float | None = None
    """Share of the last second in which any kernel ran; None for a MIG slice."""
    sm_clock_mhz: int | None = None
    power_watts: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    """Reasons that slow the clocks down, by NVML's names: SwPowerCap, HwThermalSlowdown, …"""


def clocks_of(module: Any, gpu: Gpu) -> GpuSample:
    """The present load and clocks of ``gpu``; all None where it is lost."""
    handle = _query(module, module.nvmlDeviceGetHandleByIndex, gpu.index)
    if handle is None:
        return GpuSample(index=gpu.index)
    rates = _query(module, module.nvmlDeviceGetUtilizationRates, handle)
    milliwatts = _query(module, module.nvmlDeviceGetPowerUsage, handle)
    reasons = _query(module, module.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
    return GpuSample(
        index=gpu.index,
        utilization_percent=float(rates.gpu) if rates and not gpu.sliced else None,
        sm_clock_mhz=_query(module, module.nvmlDeviceGetClockInfo, handle, module.NVML_CLOCK_SM),
        power_watts=milliwatts / 1000 if milliwatts is not None else None,
        throttle_reasons=tuple(name for name, bit in SLOWING.items() if reasons & bit),
    )


def device_nodes(dev: Path = Path("/dev")) -> bool:
    """Whether this container has device files of a GPU, whether or not NVML works."""
    return any(next(dev.glob(pattern), None) is not None for pattern in DEVICE_NODES)


def visible_gpus(gpus: Gpus, environment: Mapping[str, str]) -> Gpus:
    """The GPUs that CUDA_VISIBLE_DEVICES selects, in its order; NVML itself ignores that variable.

    CUDA counts only devices that the container may open. NVML lists whole GPUs, so a MIG slice in the
    variable selects all of them.
    """
    selected = environment.get("CUDA_VISIBLE_DEVICES", "").strip()
    if not selected:
        return gpus
    named = [item.strip() for item in selected.split(",")]
    if any(name.startswith("MIG-") for name in named):
        return gpus
    found = [
        gpu
        for name in named
        for number, gpu in enumerate(gpus.devices)
        if name == str(number) or (name.startswith("GPU-") and gpu.uuid.startswith(name))
    ]
    return Gpus(devices=tuple(found), driver_version=gpus.driver_version)
