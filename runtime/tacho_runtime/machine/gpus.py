"""The GPUs of this machine, as NVML shows them."""

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
"""Under /dev: what a container is given that may use a GPU. NVML knows the first kind alone, and WSL's."""
LIBRARY_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/lib/wsl/lib")
"""Where some platforms mount the driver without telling the loader."""
LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """Somebody who has memory of a GPU. Its number is the one of NVML's process namespace."""

    pid: int
    used_bytes: int | None
    """None: the driver does not say."""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU. What its driver does not say is None, or empty."""

    index: int
    uuid: str = ""
    product: str = ""
    """As node labels have it: with dashes."""
    capability: tuple[int, int] | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    """Without what the driver keeps for itself, where it tells the two apart."""
    sliced: bool = False
    """In MIG mode: name and memory are those of the whole GPU, not of the slice that is used."""
    processes: tuple[GpuProcess, ...] = ()
    fault: str = ""
    """What is broken, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What NVML sees."""

    devices: tuple[Gpu, ...] = ()
    driver_version: str = ""
    cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver has itself."""


@contextlib.contextmanager
def nvml() -> Iterator[Any]:
    """NVML's functions while they may be called; None without library, driver or permission."""
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
    """What NVML says now; None where there is none. Takes up to seconds where nothing else uses the GPU."""
    with nvml() as module:
        return None if module is None else gpus_of(module)


def gpus_of(module: Any) -> Gpus:
    """Every GPU that ``module``, which is initialised, answers for."""
    count = _asked(module, module.nvmlDeviceGetCount) or 0
    cuda = _asked(module, module.nvmlSystemGetCudaDriverVersion)
    return Gpus(
        devices=tuple(gpu for index in range(count) if (gpu := _gpu(module, index)) is not None),
        driver_version=str(_asked(module, module.nvmlSystemGetDriverVersion) or ""),
        cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
    )


def _asked(module: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What ``function`` answers; None where this driver or GPU has no answer."""
    try:
        return function(*arguments)
    except module.NVMLError:
        return None


def _gpu(module: Any, index: int) -> Gpu | None:
    """None: it is counted, but this container may not open it: it was given to somebody else."""
    try:
        handle = module.nvmlDeviceGetHandleByIndex(index)
        name = module.nvmlDeviceGetName(handle)
    except module.NVMLError_NoPermission:
        return None
    except module.NVMLError as error:
        return Gpu(index=index, fault=f"NVML cannot reach it: {error}")
    memory = memory_of(module, handle)
    mig = _asked(module, module.nvmlDeviceGetMigMode, handle)
    remapped = _asked(module, module.nvmlDeviceGetRemappedRows, handle)
    return Gpu(
        index=index,
        uuid=str(_asked(module, module.nvmlDeviceGetUUID, handle) or ""),
        product=str(name).replace(" ", "-"),
        capability=_asked(module, module.nvmlDeviceGetCudaComputeCapability, handle),
        total_bytes=int(memory.total) if memory else None,
        free_bytes=int(memory.free) if memory else None,
        used_bytes=int(memory.used) if memory else None,
        sliced=bool(mig and mig[0]),
        processes=processes_of(module, handle),
        fault="a row of its memory could not be remapped" if remapped and remapped[3] else "",
    )


def latest(module: Any, gpu: Gpu) -> Gpu:
    """``gpu`` with its memory and processes as they are now; unchanged but for unknown memory when lost."""
    handle = _asked(module, module.nvmlDeviceGetHandleByIndex, gpu.index)
    memory = None if handle is None else memory_of(module, handle)
    if memory is None:
        return replace(gpu, free_bytes=None, used_bytes=None, processes=())
    free, used = int(memory.free), int(memory.used)
    return replace(gpu, free_bytes=free, used_bytes=used, processes=processes_of(module, handle))


def memory_of(module: Any, handle: Any) -> Any:
    """NVML's memory figures: the kind that keeps the driver's own share apart, where the driver has it."""
    newer = _asked(module, module.nvmlDeviceGetMemoryInfo, handle, getattr(module, "nvmlMemory_v2", None))
    return newer or _asked(module, module.nvmlDeviceGetMemoryInfo, handle)


def processes_of(module: Any, handle: Any) -> tuple[GpuProcess, ...]:
    """Who computes on it; empty where the driver does not tell a container."""
    return tuple(
        GpuProcess(
            pid=int(item.pid),
            used_bytes=None if item.usedGpuMemory is None else int(item.usedGpuMemory),
            name=str(_asked(module, module.nvmlSystemGetProcessName, item.pid) or ""),
        )
        for item in _asked(module, module.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """How hard one GPU works now, and what slows it. None: the driver does not say."""

    utilization_percent: float | None = None
    """Share of the last moments in which any kernel ran."""
    sm_mhz: int | None = None
    power_watts: float | None = None
    reasons: int = 0
    """NVML's bits for why its clocks are not higher."""


def clocks_of(module: Any, index: int) -> Clocks:
    """Of the GPU that NVML counts as ``index``; all unknown where it is lost."""
    handle = _asked(module, module.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return Clocks()
    rates = _asked(module, module.nvmlDeviceGetUtilizationRates, handle)
    milliwatts = _asked(module, module.nvmlDeviceGetPowerUsage, handle)
    return Clocks(
        utilization_percent=float(rates.gpu) if rates else None,
        sm_mhz=_asked(module, module.nvmlDeviceGetClockInfo, handle, module.NVML_CLOCK_SM),
        power_watts=milliwatts / 1000 if milliwatts is not None else None,
        reasons=_asked(module, module.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0,
    )


def device_nodes(dev: Path = Path("/dev")) -> bool:
    """Whether this container was given a GPU at all, whatever NVML says."""
    return any(next(dev.glob(pattern), None) is not None for pattern in DEVICE_NODES)


def usable(gpus: Gpus, environment: Mapping[str, str]) -> Gpus:
    """Those that CUDA_VISIBLE_DEVICES leaves, in its order: NVML does not read it.

    CUDA numbers what the container may open. NVML lists whole GPUs, so a slice that is named leaves them all.
    """
    asked = environment.get("CUDA_VISIBLE_DEVICES", "").strip()
    if not asked:
        return gpus
    named = [item.strip() for item in asked.split(",")]
    if any(name.startswith("MIG-") for name in named):
        return gpus
    found = [
        gpu
        for name in named
        for number, gpu in enumerate(gpus.devices)
        if name == str(number) or (name.startswith("GPU-") and gpu.uuid.startswith(name))
    ]
    return Gpus(devices=tuple(found), driver_version=gpus.driver_version, cuda=gpus.cuda)
