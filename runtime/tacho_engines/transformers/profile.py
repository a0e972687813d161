"""The profile of Transformers: images, methods, formats, speed."""

from __future__ import annotations

from tacho_engines.profile import EngineImage, EngineProfile, EngineSpeed, LocalPackage, MethodSupport

EFFICIENCY = 0.08
"""Share of the memory bandwidth that one stream reaches: 38 ms per token, of which reading memory needs 3.1
(8B in 16 bits, H200; benchmarks/gpu/h200/later).
"""


METHODS = (
    MethodSupport("none", "stored", (6, 0), 100.0, "transformers"),
    MethodSupport(
        "bnb-int8", "either", (7, 5), 99.0, "bitsandbytes LLM.int8() needs Turing; its CPU backend was run"
    ),
    MethodSupport("bnb-nf4", "either", (6, 0), 97.0, "bitsandbytes, Linear4bit; its CPU backend was run"),
    MethodSupport("bnb-fp4", "either", (6, 0), 95.5, "bitsandbytes, Linear4bit; its CPU backend was run"),
)

PROFILE = EngineProfile(
    name="transformers",
    title="Transformers",
    image=EngineImage(
        reference="tacho-transformers",
        version="5.19",
        entrypoint=("python3", "-m", "tacho_transformers"),
        uid=65532,
        cuda="13.0",  # of torch in requirements/torch.txt
    ),
    devices=("gpu", "cpu"),
    formats=("safetensors", "pytorch"),
    methods=METHODS,
    speed=EngineSpeed(efficiency=EFFICIENCY, batching=True),
    local=LocalPackage(package="transformers", entrypoint=("-m", "tacho_transformers")),
)
