"""What tacho knows of CTranslate2 as a program: images, methods, formats."""

from __future__ import annotations

from tacho_engines.base import EngineRow, MethodRow, MethodRule

METHODS = (
    MethodRow(
        method="none",
        how="converted",
        capability=(7, 0),
        quality=100.0,
        source="CTranslate2 quantization documentation",
    ),
    MethodRow(
        method="ct2-int8",
        how="converted",
        capability=(6, 1),
        quality=98.0,
        arithmetic="int8",
        source="CTranslate2 quantization documentation",
    ),
    MethodRow(
        method="ct2-int8-float16",
        how="converted",
        capability=(7, 0),
        quality=98.5,
        arithmetic="int8",
        source="CTranslate2 quantization documentation",
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
    "GemmaForCausalLM",
    "LlamaForCausalLM",
    "MPTForCausalLM",
    "MistralForCausalLM",
    "MixFormerSequentialForCausalLM",
    "OPTForCausalLM",
    "Phi3ForCausalLM",
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "RWForCausalLM",
)
"""Source: wheel 4.6.0, converters/transformers.py register_loader, the decoders."""

ROW = EngineRow(
    name="ctranslate2",
    title="CTranslate2",
    image="tacho-ctranslate2",
    version="4.6",
    entrypoint=("python3", "-m", "tacho_ctranslate2"),
    uid=65532,
    devices=("gpu", "cpu"),
    formats=("ct2", "safetensors", "pytorch"),
    methods=METHODS,
    architectures=ARCHITECTURES,
    efficiency=0.5,
    batching=False,
    built=False,
    method_rule=MethodRule(
        cel="(self.quantization.method.startsWith('ct2-') ? self.engine.name in ['ctranslate2', 'custom']"
        " : (self.engine.name != 'ctranslate2' || self.quantization.method == 'none'))",
        message="the methods ct2-* and the engine ctranslate2 belong together; change quantization.method or"
        " engine.name",
    ),
)
