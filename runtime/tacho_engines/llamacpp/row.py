"""What tacho knows of llama.cpp as a program: images, methods, formats."""

from __future__ import annotations

from tacho_engines.llamacpp.refused import REFUSED
from tacho_engines.row import CacheTypes, CpuBuild, EngineRow, MethodRow, MethodRule

METHODS = (
    MethodRow(
        method="gguf",
        how="stored",
        capability=(7, 5),
        quality=97.0,
        source="CUDA 13, which the image is built with, begins there (Dockerfile.llamacpp-cuda)",
    ),
)

ROW = EngineRow(
    name="llamacpp",
    title="llama.cpp",
    image="tacho-llamacpp-cuda",
    image_setting="llamacppCuda",
    version="2026.10",
    entrypoint=("llama-server",),
    uid=10001,
    devices=("gpu", "cpu"),
    formats=("gguf",),
    methods=METHODS,
    efficiency=0.6,
    batching=True,
    built=True,
    package="xllamacpp",
    local_entrypoint=("-m", "tacho_llamacpp"),
    executes_model_code=False,
    method_rule=MethodRule(
        cel="self.engine.name != 'llamacpp' || self.quantization.method in ['gguf', 'none']",
        message="llamacpp serves GGUF files; set quantization.method to gguf, or none for an unquantized "
        "GGUF",
    ),
    cache_types=CacheTypes(words=("q8_0", "q4_0"), cel="matches('^q[48]_0$')"),
    keeps=False,
    refused=REFUSED,
    verified_by="its switches by the launcher of xllamacpp 2026.10 on a CPU, its log by the source of "
    "llama.cpp b11549; xllamacpp 2026.10.11549 compiled for CUDA 13.0 on one H200, 8B in Q4_0 and Q8_0; its "
    "image: nobody yet",
    cpu_build=CpuBuild(
        image="tacho-llamacpp",
        version="2026.10",
        entrypoint=("llama-server",),
        uid=10001,
        image_setting="llamacpp",
        verified_by="end-to-end suite on a CPU node, SmolLM2-135M",
    ),
)
