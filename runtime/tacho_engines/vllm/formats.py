"""The formats of quantized checkpoints and the architectures that vLLM loads, and on which GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.model import StoredQuantization
from tacho_engines.vllm.parallel import MX_GROUP

FORMAT_CAPABILITY = {
    "mxfp4": (8, 0),
    "fbgemm_fp8": (8, 0),
    "experts_int8": (8, 0),
    "fp_quant": (10, 0),
    "modelopt FP8": (8, 0),
    "modelopt MXFP8": (8, 0),
    "compressed-tensors MXFP4": (8, 0),
    **dict.fromkeys(("modelopt NVFP4", "modelopt W4A16_NVFP4", "mxfp8", "torchao", "humming"), (7, 5)),
    **dict.fromkeys(("DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"), (9, 0)),
}
"""Least compute capability of a format, of one with a scheme, or of an architecture, above its method's.
Source: vLLM 0.32 layers/quantization, get_min_capability of each (MXFP4 computes in bfloat16; modelopt's FP8
needed 8.9 before 0.27), compressed_tensors/schemes; v1/attention/backends/mla, of those for sparse
attention."""
ONLY_CAPABILITY = {"compressed-tensors W4A8-float": (9, 0)}
"""The only compute capability of a scheme: whole numbers of 4 bits, multiplied in FP8. Source: wheel 0.32.0,
compressed_tensors.py _is_fp8_w4a8_sm90, kernels/linear/mixed_precision/cutlass.py."""
FORMATS_SINCE = "0.26"
FORMATS = frozenset(
    (
        *("awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin", "compressed-tensors"),
        *("fp8", "fbgemm_fp8", "deepseek_v4_fp8", "mxfp4", "gpt_oss_mxfp4", "mxfp8", "fp_quant"),
        *("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "bitsandbytes", "gguf"),
        *("experts_int8", "moe_wna16", "quark", "torchao", "inc", "auto-round", "humming", "online"),
    )
)
"""``quant_method`` of the checkpoints that vLLM and its plugins load. Source: wheels 0.26.0 and 0.32.0,
layers/quantization/__init__.py QUANTIZATION_METHODS, inc/inc.py."""
SCHEMES_SINCE = "0.32"
SCHEMES = {
    "awq": ("W4A16",),
    "gptq": ("W4A16", "W8A16"),
    "bitsandbytes": ("nf4", "fp4", "int8"),
    "modelopt": (
        *("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "FP8_BLOCK_SCALES", "MXFP8"),
        *("NVFP4", "W4A16_NVFP4", "MIXED_PRECISION"),
    ),
}
"""Schemes of a format that are loaded, where not all are. Source: wheel 0.32.0, TYPE_MAP of auto_awq.py and
auto_gptq.py, QUANT_ALGOS of modelopt.py; vllm-bnb-plugin 0.0.3, quantization/config.py. No irregular one is:
compressed_tensors.py and utils/gptq_utils.py ("activation ordering … is no longer supported")."""
DEPRECATED = ("fbgemm_fp8", "fp_quant")
ALLOW_DEPRECATED = "allow-deprecated-quantization"
"""The switch for quantization methods that vLLM has deprecated. Source: wheels 0.26.0 and 0.32.0,
DEPRECATED_QUANTIZATION_METHODS; config/model.py _verify_quantization."""
REMOVED = {
    "0.9.2": ("Phi3SmallForCausalLM",),
    "0.10.2": ("MllamaForConditionalGeneration", "MotifForCausalLM", "Phi4FlashForCausalLM"),
    "0.22.0": ("JAISLMHeadModel",),
    "0.23.0": (
        *("InternLM2VEForCausalLM", "InternLMForCausalLM", "QWenLMHeadModel", "XverseForCausalLM"),
        *("QwenVLForConditionalGeneration", "Dots1ForCausalLM", "BambaForCausalLM", "MiniMaxForCausalLM"),
        *("MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxVL01ForConditionalGeneration"),
        *("BaiChuanForCausalLM", "BaichuanForCausalLM"),
    ),
    "0.24.0": ("AquilaModel", "AquilaForCausalLM", "Grok1ModelForCausalLM", "Grok1ForCausalLM",
               "AyaVisionForConditionalGeneration"),
    "0.25.0": ("TeleChatForCausalLM", "PersimmonForCausalLM", "FuyuForCausalLM"),
    "0.26.0": ("Plamo2ForCausalLM", "OuroForCausalLM"),
    "0.28.0": (
        *("ArcticForCausalLM", "ChameleonForConditionalGeneration", "Fairseq2LlamaForCausalLM"),
        *("HCXVisionForCausalLM", "MPTForCausalLM", "MptForCausalLM", "RWForCausalLM"),
        "StableLMEpochForCausalLM",
    ),
}  # fmt: skip
"""Architectures of language models by the last version of vLLM that loads them. Source: wheel 0.32.0,
model_executor/models/registry.py _PREVIOUSLY_SUPPORTED_MODELS."""
NOT_BY_BITSANDBYTES = (
    *("BloomForCausalLM", "DbrxForCausalLM", "FalconMambaForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM"),
    *("KimiLinearForCausalLM", "KimiVLForConditionalGeneration", "Mamba2ForCausalLM", "MambaForCausalLM"),
    *("OrionForCausalLM", "Phi3VForCausalLM", "StableLmForCausalLM", "Zamba2ForCausalLM"),
    "AriaForConditionalGeneration",
)
"""Architectures without packed_modules_mapping. Source: classes of wheel 0.32.0; vllm-bnb-plugin 0.0.3,
bitsandbytes_loader.py ("does not support BitsAndBytes quantization yet")."""
CONFIGURED = ("LongcatFlashForCausalLM", "LongcatFlashNgramForCausalLM")
"""Architectures whose configuration class vLLM finds without a model_type. Source: wheel 0.32.0,
transformers_utils/config.py _ARCHITECTURE_TO_MODEL_TYPE."""
ALL_ALIKE = (
    *("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen2VLForConditionalGeneration"),
    "Qwen2_5_VLForConditionalGeneration",
)
"""Architectures of which vLLM has windows in all layers or in none. Source: wheel 0.32.0, models/qwen2.py
Qwen2Model ("Sliding window for some but all layers is not supported")."""
CONFIG_ELSEWHERE = "hf-config-path"
"""The switch that names another folder or repository with the model's config.json."""


def features(stored: StoredQuantization) -> Iterator[str]:
    """The names by which the tables of capabilities list a format and its schemes."""
    yield stored.method
    blocks_of_mx = stored.method == "compressed-tensors" and stored.group_size == MX_GROUP
    for scheme in stored.schemes:
        mxfp4 = blocks_of_mx and scheme.startswith("W4") and scheme.endswith("-float")
        yield f"{stored.method} {'MXFP4' if mxfp4 else scheme}"
