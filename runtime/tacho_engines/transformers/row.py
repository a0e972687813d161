"""What tacho knows of Transformers as a program: images, methods, formats."""

from __future__ import annotations

from tacho_engines.row import EngineRow, MethodRow
from tacho_engines.transformers.speed import EFFICIENCY, STEPS

METHODS = (
    MethodRow(method="none", how="stored", capability=(6, 0), quality=100.0, source="transformers"),
    MethodRow(
        method="bnb-int8",
        how="either",
        capability=(7, 5),
        quality=99.0,
        source="bitsandbytes LLM.int8() needs Turing; its CPU backend was run",
    ),
    MethodRow(
        method="bnb-nf4",
        how="either",
        capability=(6, 0),
        quality=97.0,
        source="bitsandbytes, Linear4bit; its CPU backend was run",
    ),
    MethodRow(
        method="bnb-fp4",
        how="either",
        capability=(6, 0),
        quality=95.5,
        source="bitsandbytes, Linear4bit; its CPU backend was run",
    ),
    MethodRow(
        method="gptq",
        gpu_only=True,
        how="stored",
        capability=(7, 5),
        quality=97.5,
        source="transformers GptqHfQuantizer",
    ),
    MethodRow(
        method="awq",
        gpu_only=True,
        how="stored",
        capability=(7, 5),
        quality=97.0,
        source="transformers AwqQuantizer",
    ),
)

ROW = EngineRow(
    name="transformers",
    title="Transformers",
    image="tacho-transformers",
    version="5.19",
    entrypoint=("python3", "-m", "tacho_transformers"),
    uid=65532,
    devices=("gpu", "cpu"),
    formats=("safetensors", "pytorch"),
    methods=METHODS,
    efficiency=EFFICIENCY,
    steps=STEPS,
    batching=True,
    grows=True,
    built=True,
    package="transformers",
    local_entrypoint=("-m", "tacho_transformers"),
    verified_by="transformers 5.19 with bitsandbytes 0.50, as wheels, in 16 bits, int8, fp4, nf4 and doubly "
    "quantized nf4: SmolLM2-135M on a CPU (tests/engines), 8B of random weights on an H200 with torch 2.11 "
    "(benchmarks/engines), int8 and nf4 as pods of a real node there (docs/results/h200); the image as a pod "
    "of a real node with a CPU, SmolLM2-135M in nf4",
)
