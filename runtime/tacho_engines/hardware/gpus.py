"""Finds the GPU that a product label, a short name or a MIG slice stands for."""

from __future__ import annotations

import re
from dataclasses import replace

from tacho_contract.units import MIB
from tacho_engines.hardware.device import Device
from tacho_engines.hardware.gpu_table import GPUS, GpuProduct

RESERVE_MIB = 720
"""MiB of driver and CUDA context on an unknown product: the largest known, apart from A100 and GH200."""
_SHARED = re.compile(r"-SHARED$", re.IGNORECASE)
_MIG = re.compile(r"-MIG-(\d+)g\.(\d+)gb(?:\.\w+)*$", re.IGNORECASE)
_BRAND = re.compile(r"^(NVIDIA-)?((GEFORCE|TESLA|QUADRO)-)?")
_FOREIGN = re.compile(
    r"^(amd|intel|radeon|instinct|gaudi|mi\d)|(^|\.)(amd|intel)\.com/|^habana\.ai/", re.IGNORECASE
)
"""Names of products and resources of other vendors: MI300X, Gaudi 3, amd.com/gpu, gpu.intel.com/i915."""
_FOREIGN_GPU = re.compile(r"(amd\.com/gpu|gpu\.intel\.com/(i915|xe)|habana\.ai/gaudi)", re.IGNORECASE)
"""Resources that are GPUs of other vendors. They have network cards and keys under such names, too."""
MIG_MIB_PER_GB = 972.8
"""MiB per GB in the name of a MIG slice: 5gb has 4864 MiB, 10gb 9728, 20gb 19968 (nvidia-smi mig -lgip on
A100 and H100).
"""
MIG_NAMED_EXACTLY = (5, 6, 10, 12, 20, 24, 40, 80)
"""Sizes in GB of slices (A30, A100, H100) for which MIG_MIB_PER_GB is exact."""
MIG_LEAST_MIB_PER_GB = 910.0
"""MiB per GB for slices of all other sizes; H200's 1g.18gb has 16.00 GiB (nvidia-smi mig -lgip)."""
MIG_COMPUTE_SLICES = 7


def _mig(label: str) -> re.Match[str] | None:
    """The part of a product label that names a MIG slice; None: it names none."""
    return _MIG.search(_SHARED.sub("", label.strip()))


def normalise(name: str) -> str:
    """A product name in the form of node labels, in upper case for comparison."""
    return re.sub(r"[\s_]+", "-", name.strip()).upper()


def base_label(label: str) -> str:
    """``label`` without the suffixes GFD adds: ``-SHARED`` and ``-MIG-1g.10gb``.

    Source: k8s-device-plugin internal/lm/resource.go.
    """
    return _MIG.sub("", _SHARED.sub("", label.strip()))


def is_shared(label: str) -> bool:
    return _SHARED.search(label.strip()) is not None


def is_slice(gpu: Device) -> bool:
    """Whether several of these devices may be parts of one GPU.

    NCCL refuses two ranks on one device, and a process sees one MIG slice only.
    """
    return gpu.sharers > 1 or is_shared(gpu.product) or _mig(gpu.product) is not None


def rows_for(name: str) -> tuple[GpuProduct, ...]:
    """The GPUs of the table that ``name`` stands for: one for a label, perhaps several for a short name."""
    normalised = normalise(base_label(name))
    exact = tuple(r for r in GPUS if normalise(r.label) == normalised)
    if exact:
        return exact
    if labelled := tuple(r for r in GPUS if _bare(r.label) == _bare(normalised)):
        return labelled
    for form in (normalised.removeprefix("NVIDIA-"), _bare(normalised), f"RTX{normalised}"):
        squeezed = form.replace("-", "")
        if found := tuple(r for r in GPUS if any(squeezed == s.upper().replace("-", "") for s in r.short)):
            return found
    return ()


def _bare(label: str) -> str:
    """A product name without the vendor and the brand, in upper case."""
    return _BRAND.sub("", normalise(label))


def is_foreign(name: str) -> bool:
    """Whether a product or an extended resource is of another vendor than NVIDIA."""
    return _FOREIGN.search(name.strip()) is not None


def is_foreign_gpu(resource: str) -> bool:
    """Whether a node's resource counts GPUs of another vendor than NVIDIA."""
    return _FOREIGN_GPU.fullmatch(resource) is not None


def _slice_of(label: str) -> str:
    """The suffix of a MIG slice's product label, such as ``-MIG-1G.5GB``; "" for a whole GPU."""
    found = _mig(label)
    return found[0].upper() if found else ""


def matches(desired: str, label: str) -> bool:
    """Whether ``desired`` (a label or a short name) stands for a node's product label."""
    if normalise(desired) == normalise(label):
        return True
    if _slice_of(desired) != _slice_of(label):
        return False
    if _bare(base_label(desired)) == _bare(base_label(label)):
        return True
    return any(normalise(r.label) == normalise(base_label(label)) for r in rows_for(desired))


def gpu_from_row(row: GpuProduct, label: str = "") -> Device:
    """A GPU of the table as a device for a plan; ``label`` may have MIG or -SHARED suffixes."""
    major, minor = (int(part) for part in row.compute.split("."))
    gpu = Device(
        product=label or row.label,
        memory_bytes=int(row.usable_mib[0]) * MIB,
        capability=(major, minor),
        bandwidth_bytes=row.bandwidth_gbs[0] * 1e9,
        fp16_flops=row.fp16_tflops[0] * 1e12,
        fp8_flops=(row.fp8_tflops or (0.0,))[0] * 1e12,
        fp4_flops=(row.fp4_tflops or (0.0,))[0] * 1e12,
        int8_ops=(row.int8_tops or (0.0,))[0] * 1e12,
    )
    return _mig_slice(gpu, row, label) if _mig(label) else gpu


def _mig_slice(gpu: Device, row: GpuProduct, label: str) -> Device:
    """``gpu`` reduced to a MIG slice: its part (n of 7) of multiprocessors, and of memory and bandwidth."""
    match = _mig(label)
    if match is None:
        return gpu
    slices, gigabytes = int(match[1]), int(match[2])
    each = MIG_MIB_PER_GB if gigabytes in MIG_NAMED_EXACTLY else MIG_LEAST_MIB_PER_GB
    memory = min(int(gigabytes * each) * MIB, int(row.usable_mib[0]) * MIB)
    share = memory / (row.memory_mib[0] * MIB)
    compute = min(1.0, slices / MIG_COMPUTE_SLICES)
    return replace(
        gpu,
        memory_bytes=memory,
        bandwidth_bytes=gpu.bandwidth_bytes * min(1.0, share),
        fp16_flops=gpu.fp16_flops * compute,
        fp8_flops=gpu.fp8_flops * compute,
        fp4_flops=gpu.fp4_flops * compute,
        int8_ops=gpu.int8_ops * compute,
    )


def guessed_rates(device: Device) -> tuple[Device, float] | None:
    """(``device`` with estimated rates, the factor by which they may be wrong); None where no estimate is
    possible.

    The rates are between those of the table's GPUs of that name, else of its compute capability. None where
    the table has no such GPU, or for a MIG slice of an unknown one.
    """
    if _mig(device.product):
        return None
    alike = [
        gpu
        for row in rows_for(device.product) or GPUS
        if (gpu := gpu_from_row(row)).capability == device.capability
    ]
    if not alike:
        return None
    slow, fast = (limit(gpu.bandwidth_bytes for gpu in alike) for limit in (min, max))
    flops = [gpu.fp16_flops for gpu in alike]
    middle = replace(
        device, bandwidth_bytes=(slow * fast) ** 0.5, fp16_flops=(min(flops) * max(flops)) ** 0.5
    )
    return middle, (fast / slow) ** 0.5


def named_gpu(name: str) -> Device | None:
    """A GPU from the table alone; of several with a short name, the first, which is the usual one in pools.
    Of slices, that of the GPU with the least memory. None: unknown."""
    rows = rows_for(name)
    if not rows:
        return None
    row = min(rows, key=lambda r: r.usable_mib[0]) if _mig(name) else rows[0]
    suffix = name.strip()[len(base_label(name)) :]
    return gpu_from_row(row, f"{row.label}{suffix}" if suffix else "")


def _labelled_row(label: str) -> tuple[tuple[GpuProduct, ...], str]:
    """The GPU of a node's label, and its product as drivers name it. () where several have that short name:
    the driver's name might contradict the plan.
    """
    base = base_label(label)
    if exact := tuple(r for r in GPUS if normalise(r.label) == normalise(base)):
        return exact, label
    found = rows_for(base)
    if len(found) != 1:
        return (), label
    return found, f"{found[0].label}{label.strip()[len(base) :]}"


def labelled_gpu(
    label: str, *, memory_mib: int | None, capability: tuple[int, int] | None, sharers: int = 1
) -> Device | None:
    """A GPU as a node's labels describe it, completed from the table. None: labels say too little.

    Memory kept by the driver is the table's difference between label and usable memory, else RESERVE_MIB. A
    label with less memory than that is ignored: the driver reports 0 for GPUs that share the host's memory.
    """
    rows, product = _labelled_row(label)
    reserve = RESERVE_MIB if not rows else int(rows[0].memory_mib[0] - rows[0].usable_mib[0])
    usable = (memory_mib or 0) - (0 if rows and _mig(label) else reserve)
    if not rows:
        if usable <= 0:
            return None
        return Device(
            product=label,
            memory_bytes=usable * MIB,
            capability=capability or (0, 0),
            sharers=sharers,
            known=False,
        )
    gpu = replace(gpu_from_row(rows[0], product), node_label=label if product != label else "")
    if usable > 0:
        gpu = replace(gpu, memory_bytes=usable * MIB)
    return replace(gpu, capability=capability or gpu.capability, sharers=max(1, sharers))
