"""The profile of Transformers: images, methods, formats, speed."""

from __future__ import annotations

from tacho_engines.profile import (
    EngineImage,
    EngineProfile,
    EngineSpeed,
    KernelTiming,
    LocalPackage,
    MethodSupport,
    StepLaw,
)

EFFICIENCY = 0.08
"""Share of the memory bandwidth that one stream reaches: 38 ms per token, of which reading memory needs 3.1
(8B in 16 bits, H200; benchmarks/gpu/h200/later).
"""


WITHIN = 0.7
"""Python on the host's cores launches each kernel, and their speeds differ: one stream of an 8B in 16 bits
took 19 to 38 ms per token on four hosts with an H200.
"""
LAW = StepLaw(
    capability=(9, 0),
    products=("NVIDIA-H200",),
    version="5.19",
    traffic=1.0,
    layer_microseconds=1000.0,
    attention_nanoseconds=2700.0,
    odd_head=1.0,
    prompt_attention=1.0,
    front_end_tokens_per_second=float("inf"),
    kernels=(
        KernelTiming(
            methods=("none",),
            arithmetic=0.33,
            decode_within=WITHIN,
            output_within=WITHIN,
            ran="as Transformers ran an 8B in 16 bits on H200s",
        ),
        KernelTiming(
            methods=("bnb-nf4", "bnb-fp4"),
            schemes=(),
            layer_microseconds=100.0,
            batch_layer_microseconds=100.0,
            arithmetic=0.23,
            decode_within=WITHIN,
            output_within=WITHIN,
            ran="as Transformers ran an 8B in NF4 on H200s",
        ),
        KernelTiming(
            methods=("bnb-int8",),
            schemes=(),
            layer_microseconds=2500.0,
            batch_layer_microseconds=2500.0,
            arithmetic=0.07,
            decode_within=WITHIN,
            output_within=WITHIN,
            ran="as Transformers ran an 8B in LLM.int8() on H200s",
        ),
    ),
)
"""Constants of a step: layers times what Python needs to launch them. Read from statuses below
benchmarks/gpu; tests/unit/planner/test_transformers_speed.py compares.
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
    speed=EngineSpeed(efficiency=EFFICIENCY, batching=True, law=LAW),
    local=LocalPackage(package="transformers", entrypoint=("-m", "tacho_transformers")),
)
