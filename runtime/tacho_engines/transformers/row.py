"""What tacho knows of Transformers as a program: images, methods, formats."""

from __future__ import annotations

from tacho_engines.base import EngineRow, MethodRow

METHODS = (
    MethodRow(method="none", how="stored", capability=(6, 0), quality=100.0, source="transformers"),
    MethodRow(
        method="bnb-int8",
        how="either",
        capability=(7, 5),
        quality=99.0,
        gpu_only=True,
        source="bitsandbytes LLM.int8() needs Turing",
    ),
    MethodRow(
        method="bnb-nf4",
        how="either",
        capability=(6, 0),
        quality=97.0,
        gpu_only=True,
        source="bitsandbytes, Linear4bit",
    ),
    MethodRow(
        method="bnb-fp4",
        how="either",
        capability=(6, 0),
        quality=95.5,
        gpu_only=True,
        source="bitsandbytes, Linear4bit",
    ),
    MethodRow(
        method="gptq", how="stored", capability=(7, 5), quality=97.5, source="transformers GptqHfQuantizer"
    ),
    MethodRow(
        method="awq", how="stored", capability=(7, 5), quality=97.0, source="transformers AwqQuantizer"
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
    efficiency=0.15,
    batching=False,
    built=False,
)
