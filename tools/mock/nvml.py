"""A module that answers as pynvml does: the functions that are asked, its errors by its own numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1024**3


def process(pid: int, used_bytes: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


class FakeGpu:
    """One GPU; a figure that is None is NVML's "not supported"."""

    def __init__(self, name: str = "NVIDIA H200", **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "nvmlDeviceGetName": name,
            "nvmlDeviceGetUUID": "GPU-1234",
            "nvmlDeviceGetCudaComputeCapability": (9, 0),
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetRemappedRows": (0, 0, 0, 0),
            "nvmlDeviceGetComputeRunningProcesses": [],
            "memory": (140 * GIB, 139 * GIB, 0),
            "reserved": True,
            "asked": 0,
            **answers,
        }


class FakeNvml:
    """Stand-in for the module ``pynvml`` on a machine with these GPUs."""

    NVMLError = pynvml.NVMLError
    NVMLError_NoPermission = type(pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION))
    nvmlMemory_v2 = pynvml.nvmlMemory_v2

    def __init__(self, *gpus: FakeGpu, driver: str = "580.95.05", cuda: int = 13000) -> None:
        self.gpus, self.driver, self.cuda = gpus, driver, cuda
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return self.cuda

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        gpu = self.gpus[index]
        if gpu.answers.get("lost"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if gpu.answers.get("denied"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        return gpu

    def nvmlSystemGetProcessName(self, pid: int) -> str:
        return f"program-{pid}"

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> SimpleNamespace:
        gpu.answers["asked"] += 1
        if version and not gpu.answers["reserved"]:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        total, free, used = gpu.answers["memory"]
        return SimpleNamespace(total=total, free=free, used=used)

    def __getattr__(self, name: str) -> Any:
        getattr(pynvml, name)  # a function that pynvml does not have must not be asked for

        def query(gpu: FakeGpu) -> Any:
            answer = gpu.answers[name]
            if answer is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answer

        return query
