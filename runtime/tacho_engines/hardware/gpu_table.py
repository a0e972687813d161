"""NVIDIA GPUs by the product label of GPU Feature Discovery (nvidia.com/gpu.product). Data, not code.

Every figure is (value, source, confidence): sources are named in SOURCES, confidence is H, M or L. Labels on
a node win over memory and compute capability here; bandwidth and arithmetic rates come from here only.
"""

from __future__ import annotations

from dataclasses import dataclass

Figure = tuple[float, str, str]
"""A value, where it is from, and how sure it is: H, M or L."""

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
    """Dense, 32-bit accumulate; also bf16 from compute capability 8.0 on."""
    fp8_tflops: Figure | None = None
    """Dense FP8 TFLOPS; None where the GPU has no FP8 units. The same holds for ``fp4_tflops`` and
    ``int8_tops``."""
    fp4_tflops: Figure | None = None
    int8_tops: Figure | None = None


# fmt: off
GPUS: tuple[GpuProduct, ...] = (
    GpuProduct(label="Tesla-T4", short=("T4",), compute="7.5",
           memory_mib=(15360, "smi", "H"), usable_mib=(14909, "log", "H"), bandwidth_gbs=(320, "ds", "H"),
           fp16_tflops=(65, "ds", "H"), int8_tops=(130, "ds", "H")),
    GpuProduct(label="Tesla-V100-SXM2-16GB", short=("V100", "V100-16GB"), compute="7.0",
           memory_mib=(16384, "smi", "H"), usable_mib=(16148, "log", "H"), bandwidth_gbs=(900, "ds", "H"),
           fp16_tflops=(125, "ds", "H")),
    GpuProduct(label="Tesla-V100-SXM2-32GB", short=("V100", "V100-32GB"), compute="7.0",
           memory_mib=(32768, "smi", "H"), usable_mib=(32492, "smi", "M"), bandwidth_gbs=(900, "ds", "H"),
           fp16_tflops=(125, "ds", "H")),
    GpuProduct(label="Tesla-V100-PCIE-16GB", short=("V100",), compute="7.0",
           memory_mib=(16384, "smi", "M"), usable_mib=(16148, "smi", "M"), bandwidth_gbs=(900, "ds", "M"),
           fp16_tflops=(112, "ds", "M")),
    GpuProduct(label="Tesla-V100-PCIE-32GB", short=("V100",), compute="7.0",
           memory_mib=(32768, "smi", "M"), usable_mib=(32492, "smi", "M"), bandwidth_gbs=(900, "ds", "M"),
           fp16_tflops=(112, "ds", "M")),
    GpuProduct(label="NVIDIA-GeForce-RTX-3060", short=("RTX3060",), compute="8.6",
           memory_mib=(12288, "smi", "M"), usable_mib=(11909, "log", "H"), bandwidth_gbs=(360, "ds", "M"),
           fp16_tflops=(25.5, "ds", "M"), int8_tops=(102, "ds", "M")),
    GpuProduct(label="NVIDIA-GeForce-RTX-3090", short=("RTX3090",), compute="8.6",
           memory_mib=(24576, "smi", "H"), usable_mib=(24146, "log", "H"), bandwidth_gbs=(936, "ds", "H"),
           fp16_tflops=(71, "ds", "H"), int8_tops=(284, "ds", "H")),
    GpuProduct(label="NVIDIA-GeForce-RTX-4060-Laptop-GPU", short=("RTX4060-LAPTOP",), compute="8.9",
           memory_mib=(8188, "smi", "L"), usable_mib=(7803, "smi", "L"), bandwidth_gbs=(256, "ds", "L"),
           fp16_tflops=(30, "ds", "L"), fp8_tflops=(60, "ds", "L"), int8_tops=(120, "ds", "L")),
    GpuProduct(label="NVIDIA-GeForce-RTX-4090", short=("RTX4090",), compute="8.9",
           memory_mib=(24564, "smi", "H"), usable_mib=(24115, "log", "H"), bandwidth_gbs=(1008, "ds", "H"),
           fp16_tflops=(165, "ds", "H"), fp8_tflops=(330, "ds", "H"), int8_tops=(660, "ds", "H")),
    GpuProduct(label="NVIDIA-GeForce-RTX-5090", short=("RTX5090",), compute="12.0",
           memory_mib=(32607, "smi", "M"), usable_mib=(32113, "log", "H"), bandwidth_gbs=(1792, "ds", "M"),
           fp16_tflops=(210, "ds", "M"), fp8_tflops=(419, "ds", "M"), fp4_tflops=(1676, "ds", "M"),
           int8_tops=(838, "ds", "M")),
    GpuProduct(label="NVIDIA-A10", short=("A10",), compute="8.6",
           memory_mib=(23028, "smi", "H"), usable_mib=(22589, "log", "H"), bandwidth_gbs=(600, "ds", "H"),
           fp16_tflops=(125, "ds", "H"), int8_tops=(250, "ds", "H")),
    GpuProduct(label="NVIDIA-A10G", short=("A10G",), compute="8.6",
           memory_mib=(23028, "smi", "M"), usable_mib=(22589, "log", "H"), bandwidth_gbs=(600, "ds", "M"),
           fp16_tflops=(70, "ds", "M"), int8_tops=(140, "ds", "M")),
    GpuProduct(label="NVIDIA-A16", short=("A16",), compute="8.6",
           memory_mib=(15356, "smi", "M"), usable_mib=(14950, "smi", "M"), bandwidth_gbs=(200, "ds", "M"),
           fp16_tflops=(18, "ds", "M"), int8_tops=(36, "ds", "M")),
    GpuProduct(label="NVIDIA-A30", short=("A30",), compute="8.0",
           memory_mib=(24576, "smi", "H"), usable_mib=(24064, "smi", "M"), bandwidth_gbs=(933, "ds", "H"),
           fp16_tflops=(165, "ds", "H"), int8_tops=(330, "ds", "H")),
    GpuProduct(label="NVIDIA-A40", short=("A40",), compute="8.6",
           memory_mib=(46068, "smi", "H"), usable_mib=(45466, "log", "H"), bandwidth_gbs=(696, "ds", "H"),
           fp16_tflops=(150, "ds", "H"), int8_tops=(299, "ds", "H")),
    GpuProduct(label="NVIDIA-RTX-A6000", short=("A6000", "RTX-A6000"), compute="8.6",
           memory_mib=(49140, "smi", "H"), usable_mib=(48538, "log", "H"), bandwidth_gbs=(768, "ds", "H"),
           fp16_tflops=(155, "ds", "H"), int8_tops=(310, "ds", "H")),
    GpuProduct(label="NVIDIA-L4", short=("L4",), compute="8.9",
           memory_mib=(23034, "smi", "H"), usable_mib=(22559, "log", "H"), bandwidth_gbs=(300, "ds", "H"),
           fp16_tflops=(121, "ds", "H"), fp8_tflops=(242, "ds", "H"), int8_tops=(242, "ds", "H")),
    GpuProduct(label="NVIDIA-L40", short=("L40",), compute="8.9",
           memory_mib=(46068, "smi", "H"), usable_mib=(45466, "log", "H"), bandwidth_gbs=(864, "ds", "H"),
           fp16_tflops=(181, "ds", "H"), fp8_tflops=(362, "ds", "H"), int8_tops=(362, "ds", "H")),
    GpuProduct(label="NVIDIA-L40S", short=("L40S",), compute="8.9",
           memory_mib=(46068, "smi", "H"), usable_mib=(45466, "log", "H"), bandwidth_gbs=(864, "ds", "H"),
           fp16_tflops=(362, "ds", "H"), fp8_tflops=(733, "ds", "H"), int8_tops=(733, "ds", "H")),
    GpuProduct(label="NVIDIA-RTX-6000-Ada-Generation", short=("RTX6000-ADA",), compute="8.9",
           memory_mib=(49140, "smi", "M"), usable_mib=(48538, "log", "H"), bandwidth_gbs=(960, "ds", "M"),
           fp16_tflops=(364, "ds", "M"), fp8_tflops=(728, "ds", "M"), int8_tops=(728, "ds", "M")),
    GpuProduct(label="NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", short=("RTX-PRO-6000",), compute="12.0",
           memory_mib=(97887, "smi", "M"), usable_mib=(97249, "smi", "M"), bandwidth_gbs=(1597, "ds", "M"),
           fp16_tflops=(468, "ds", "M"), fp8_tflops=(936, "ds", "M"), fp4_tflops=(1871, "ds", "M"),
           int8_tops=(936, "ds", "M")),
    GpuProduct(label="NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition", short=("RTX-PRO-6000",),
           compute="12.0",
           memory_mib=(97887, "smi", "M"), usable_mib=(97249, "log", "H"), bandwidth_gbs=(1792, "ds", "M"),
           fp16_tflops=(504, "ds", "M"), fp8_tflops=(1007, "ds", "M"), fp4_tflops=(2015, "ds", "M"),
           int8_tops=(1007, "ds", "M")),
    GpuProduct(label="NVIDIA-A100-SXM4-40GB", short=("A100", "A100-40GB"), compute="8.0",
           memory_mib=(40960, "smi", "H"), usable_mib=(40325, "log", "H"), bandwidth_gbs=(1555, "ds", "H"),
           fp16_tflops=(312, "ds", "H"), int8_tops=(624, "ds", "H")),
    GpuProduct(label="NVIDIA-A100-PCIE-40GB", short=("A100", "A100-40GB"), compute="8.0",
           memory_mib=(40960, "smi", "H"), usable_mib=(40325, "log", "H"), bandwidth_gbs=(1555, "ds", "H"),
           fp16_tflops=(312, "ds", "H"), int8_tops=(624, "ds", "H")),
    GpuProduct(label="NVIDIA-A100-SXM4-80GB", short=("A100", "A100-80GB"), compute="8.0",
           memory_mib=(81920, "smi", "H"), usable_mib=(81050, "log", "H"), bandwidth_gbs=(2039, "ds", "H"),
           fp16_tflops=(312, "ds", "H"), int8_tops=(624, "ds", "H")),
    GpuProduct(label="NVIDIA-A100-80GB-PCIe", short=("A100", "A100-80GB"), compute="8.0",
           memory_mib=(81920, "smi", "H"), usable_mib=(81039, "log", "H"), bandwidth_gbs=(1935, "ds", "H"),
           fp16_tflops=(312, "ds", "H"), int8_tops=(624, "ds", "H")),
    GpuProduct(label="NVIDIA-H100-PCIe", short=("H100",), compute="9.0",
           memory_mib=(81559, "smi", "H"), usable_mib=(81009, "log", "H"), bandwidth_gbs=(2000, "ds", "H"),
           fp16_tflops=(756, "ds", "H"), fp8_tflops=(1513, "ds", "H"), int8_tops=(1513, "ds", "H")),
    GpuProduct(label="NVIDIA-H100-80GB-HBM3", short=("H100", "H100-SXM"), compute="9.0",
           memory_mib=(81559, "smi", "H"), usable_mib=(81009, "log", "H"), bandwidth_gbs=(3350, "ds", "H"),
           fp16_tflops=(989, "ds", "H"), fp8_tflops=(1979, "ds", "H"), int8_tops=(1979, "ds", "H")),
    GpuProduct(label="NVIDIA-H100-NVL", short=("H100-NVL",), compute="9.0",
           memory_mib=(95830, "smi", "H"), usable_mib=(95334, "smi", "M"), bandwidth_gbs=(3900, "ds", "H"),
           fp16_tflops=(835, "ds", "H"), fp8_tflops=(1671, "ds", "H"), int8_tops=(1671, "ds", "H")),
    GpuProduct(label="NVIDIA-H200", short=("H200",), compute="9.0",
           memory_mib=(143771, "smi", "H"), usable_mib=(143155, "own", "H"), bandwidth_gbs=(4800, "ds", "H"),
           fp16_tflops=(989, "ds", "H"), fp8_tflops=(1979, "ds", "H"), int8_tops=(1979, "ds", "H")),
    GpuProduct(label="NVIDIA-H200-NVL", short=("H200-NVL",), compute="9.0",
           memory_mib=(143771, "smi", "M"), usable_mib=(143155, "smi", "M"), bandwidth_gbs=(4800, "ds", "M"),
           fp16_tflops=(836, "ds", "M"), fp8_tflops=(1671, "ds", "M"), int8_tops=(1671, "ds", "M")),
    GpuProduct(label="NVIDIA-GH200-480GB", short=("GH200",), compute="9.0",
           memory_mib=(97871, "smi", "H"), usable_mib=(96768, "log", "H"), bandwidth_gbs=(4000, "ds", "H"),
           fp16_tflops=(989, "ds", "H"), fp8_tflops=(1979, "ds", "H"), int8_tops=(1979, "ds", "H")),
    GpuProduct(label="NVIDIA-GH200-120GB", short=("GH200",), compute="9.0",
           memory_mib=(97871, "smi", "M"), usable_mib=(96768, "smi", "M"), bandwidth_gbs=(4000, "ds", "M"),
           fp16_tflops=(989, "ds", "M"), fp8_tflops=(1979, "ds", "M"), int8_tops=(1979, "ds", "M")),
    GpuProduct(label="NVIDIA-GH200-144G-HBM3e", short=("GH200-144GB",), compute="9.0",
           memory_mib=(147000, "smi", "L"), usable_mib=(146432, "smi", "L"), bandwidth_gbs=(4900, "ds", "L"),
           fp16_tflops=(989, "ds", "L"), fp8_tflops=(1979, "ds", "L"), int8_tops=(1979, "ds", "L")),
    GpuProduct(label="NVIDIA-B200", short=("B200",), compute="10.0",
           memory_mib=(183359, "smi", "H"), usable_mib=(182630, "log", "H"), bandwidth_gbs=(7700, "ds", "H"),
           fp16_tflops=(2250, "ds", "H"), fp8_tflops=(4500, "ds", "H"), fp4_tflops=(9000, "ds", "M"),
           int8_tops=(4500, "ds", "H")),
    GpuProduct(label="NVIDIA-GB200", short=("GB200",), compute="10.0",
           memory_mib=(189471, "smi", "M"), usable_mib=(188416, "smi", "M"), bandwidth_gbs=(8000, "ds", "M"),
           fp16_tflops=(2500, "ds", "M"), fp8_tflops=(5000, "ds", "M"), fp4_tflops=(10000, "ds", "M"),
           int8_tops=(5000, "ds", "M")),
    GpuProduct(label="NVIDIA-B300-SXM6-AC", short=("B300",), compute="10.3",
           memory_mib=(275040, "smi", "M"), usable_mib=(274432, "smi", "M"), bandwidth_gbs=(7700, "ds", "M"),
           fp16_tflops=(2250, "ds", "M"), fp8_tflops=(4500, "ds", "M"), fp4_tflops=(14000, "ds", "M"),
           int8_tops=(154, "ds", "M")),
)
# fmt: on
"""Every GPU product that tacho knows."""
