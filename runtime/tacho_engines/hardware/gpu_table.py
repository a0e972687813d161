"""The data sheets of NVIDIA GPUs, read from ``gpu_table.csv``, by GPU Feature Discovery's product label.

A cell of the table is a value, its source and its confidence: sources are named in SOURCES, confidence is H,
M or L. An empty cell is a unit that the GPU does not have. Of products with one short name, the first is the
usual one: SXM before PCIe, as clouds and DGX have it. For memory and compute capability, labels on a
node come before this table; bandwidth and arithmetic rates are only here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import get_data

Figure = tuple[float, str, str]
"""A value, its source, and its confidence: H (high), M or L."""

SOURCES = {
    "ds": "NVIDIA's data sheet or architecture whitepaper of the product, dense figures",
    "smi": "nvidia-smi as printed in public issue threads; usable_mib then by the reserve of its relatives",
    "log": "total memory as vLLM and PyTorch print it in public logs (total_gpu_memory, 'total capacity of')",
    "own": "own measurement, H200, driver 580, CUDA 13.0",
    "dev": "NVIDIA/k8s-device-plugin, internal/lm/resource.go: how labels are formed",
}
"""Full names of the sources of the table's values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProduct:
    """Data sheet of one GPU product: names, memory, bandwidth and dense compute rates."""

    label: str
    short: tuple[str, ...]
    """Names accepted in gpu.products; one name may stand for several products."""
    compute: str
    """CUDA compute capability."""
    memory_mib: Figure
    """Total memory in MiB, as nvidia-smi and the label nvidia.com/gpu.memory show it."""
    usable_mib: Figure
    """Usable memory in MiB: the total of cudaMemGetInfo, without the driver's part."""
    bandwidth_gbs: Figure
    """Memory bandwidth, GB/s (10^9)."""
    fp16_tflops: Figure
    """Dense FP16 TFLOPS with 32-bit accumulation; also for bf16 from compute capability 8.0 on."""
    fp8_tflops: Figure | None = None
    """Dense FP8 TFLOPS; None where the GPU has no FP8 units. The same holds for ``fp4_tflops`` and
    ``int8_tops``."""
    fp4_tflops: Figure | None = None
    int8_tops: Figure | None = None


def _product(row: Mapping[str, str]) -> GpuProduct:
    figures = {name: _figure(cell) for name, cell in row.items() if name not in _NAMES and cell}
    names = row["short"].split()
    return GpuProduct(label=row["label"], short=tuple(names), compute=row["compute"], **figures)


def _figure(cell: str) -> Figure:
    value, source, confidence = cell.split()
    return float(value), source, confidence


_NAMES = ("label", "short", "compute")
_TABLE = get_data(__package__, "gpu_table.csv")
assert _TABLE is not None, "shipped with this package"
GPUS: tuple[GpuProduct, ...] = tuple(map(_product, csv.DictReader(_TABLE.decode().splitlines())))
"""Every GPU product that tacho knows."""
