"""A device that holds a model: one GPU, one slice of one, or the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CPU = "CPU"
"""Product name of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU, a slice of one, or the host, as plans use it. Rates of 0.0 are unknown."""

    kind: Literal["gpu", "cpu"] = "gpu"
    product: str
    memory_bytes: int | None
    """Usable bytes of memory: of a GPU, the total by cudaMemGetInfo; of a host, the pod's. None: unknown."""
    source: str = ""
    """Where the size of the host's memory is from, for messages."""
    capability: tuple[int, int] = (0, 0)
    """CUDA compute capability, e.g. (8, 9). (0, 0): unknown."""
    bandwidth_bytes: float = 0.0
    """Memory bandwidth, in bytes per second."""
    fp16_flops: float = 0.0
    fp8_flops: float = 0.0
    fp4_flops: float = 0.0
    int8_ops: float = 0.0
    sharers: int = 1
    """Number of pods that share the device (time slicing, MPS); each gets this part of the memory."""
    node_label: str = ""
    """Value of the node label, where that is another name of the product, such as ``L4``; "": the product."""
    known: bool = True
    """Whether the GPU table lists the product; False: only node labels describe the device."""

    @property
    def on_host(self) -> bool:
        return self.kind == "cpu"

    @property
    def part_bytes(self) -> int | None:
        """Memory that one pod may use of the device, in bytes; None: unknown."""
        return None if self.memory_bytes is None else self.memory_bytes // self.sharers

    @property
    def compute_capability(self) -> str:
        return f"{self.capability[0]}.{self.capability[1]}" if self.capability != (0, 0) else ""

    @property
    def lacks_bf16(self) -> bool:
        """Whether the device is known not to compute in bfloat16. Source: vLLM platforms/cuda.py
        supported_dtypes (compute capability 8.0 and later)."""
        return (0, 0) != self.capability < (8, 0)
