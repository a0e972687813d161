"""The profile of CTranslate2: images, methods, formats."""

from __future__ import annotations

from tacho_engines.profile import (
    EngineImage,
    EngineProfile,
    EngineRules,
    EngineSpeed,
    LocalPackage,
    MethodRule,
    MethodSupport,
)

METHODS = (
    MethodSupport("none", "converted", (7, 0), 100.0, "CTranslate2 quantization documentation"),
    MethodSupport(
        "ct2-int8", "converted", (6, 1), 98.0, "CTranslate2 quantization documentation", arithmetic="int8"
    ),
    MethodSupport(
        "ct2-int8-float16",
        "converted",
        (7, 0),
        98.5,
        "CTranslate2 quantization documentation; a CPU computes it as int8_float32 "
        "(get_supported_compute_types)",
        gpu_only=True,
        arithmetic="int8",
    ),
)

ARCHITECTURES = (
    "BloomForCausalLM",
    "CodeGenForCausalLM",
    "FalconForCausalLM",
    "GPT2LMHeadModel",
    "GPTBigCodeForCausalLM",
    "GPTJForCausalLM",
    "GPTNeoXForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "Gemma4ForCausalLM",
    "Gemma4ForConditionalGeneration",
    "GemmaForCausalLM",
    "LlamaForCausalLM",
    "MPTForCausalLM",
    "MistralForCausalLM",
    "MixFormerSequentialForCausalLM",
    "OPTForCausalLM",
    "Phi3ForCausalLM",
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "RWForCausalLM",
)
"""Model architectures that the converter supports. Source: wheel 4.8.5, converters/transformers.py
register_loader, the decoders.
"""

EFFICIENCY = 0.18
"""Its 8B in int8_float16 decodes 111 tok/s on an H200 (benchmarks/lab/h200/checked)."""

PROFILE = EngineProfile(
    name="ctranslate2",
    title="CTranslate2",
    image=EngineImage(
        reference="tacho-ctranslate2",
        version="4.8.5",
        entrypoint=("python3", "-m", "tacho_ctranslate2"),
        uid=65532,
        cuda="13.0",  # of torch's cuBLAS, which it computes with
    ),
    devices=("gpu", "cpu"),
    formats=("ct2", "safetensors", "pytorch"),
    methods=METHODS,
    architectures=ARCHITECTURES,
    speed=EngineSpeed(efficiency=EFFICIENCY, batching=False),
    local=LocalPackage(package="ctranslate2", entrypoint=("-m", "tacho_ctranslate2")),
    executes_model_code=False,
    rules=EngineRules(
        method=MethodRule(
            cel="(self.quantization.method.startsWith('ct2-') ? self.engine.name in ['ctranslate2', 'custom']"
            " : (self.engine.name != 'ctranslate2' || self.quantization.method == 'none'))",
            message="the methods ct2-* and the engine ctranslate2 belong together; change "
            "quantization.method or engine.name",
        )
    ),
)
