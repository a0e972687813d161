"""Text Generation Inference, https://huggingface.co/docs/text-generation-inference."""

from __future__ import annotations

from tacho_engines.custom.presets.server import server
from tacho_engines.row import Preset

_FP8 = ("--kv-cache-dtype", "fp8_e4m3fn")

PRESET = Preset(
    name="tgi",
    row=server(
        "Text Generation Inference",
        "3.3.7",
        (
            "text-generation-launcher",
            *("--model-id", "$(TACHO_MODEL_PATH)"),
            *("--hostname", "$(TACHO_HOST)"),
            *("--port", "$(TACHO_PORT)"),
            *("--usage-stats", "off"),
        ),
        python="/usr/src/.venv/bin/python",
    ),
    health_path="/health",
    version_path="/info",
    api_key_variable="API_KEY",
    context=(
        *("--max-input-tokens", "{longest_prompt}"),
        *("--max-total-tokens", "{max_model_len}"),
        *("--max-batch-size", "{concurrency}"),
    ),
    tensor=("--num-shard", "{tensor}"),
    trust_remote_code=("--trust-remote-code",),
    methods={
        "none": (),
        "fp8": ("--quantize", "fp8"),
        "awq": ("--quantize", "awq"),
        "gptq": ("--quantize", "gptq"),
        "compressed-tensors": ("--quantize", "compressed-tensors"),
        "bnb-int8": ("--quantize", "bitsandbytes"),
        "bnb-nf4": ("--quantize", "bitsandbytes-nf4"),
        "bnb-fp4": ("--quantize", "bitsandbytes-fp4"),
    },
    cache_types={"fp8": _FP8, "fp8_e4m3": _FP8, "fp8_e5m2": ("--kv-cache-dtype", "fp8_e5m2")},
    caveat="Upstream's image, huggingface/text-generation-inference:3.3.7, keeps its Python below /root, "
    "where a pod that does not run as root cannot go: engine.image must name one that has it elsewhere. It "
    "answers to any model name, and /v1/models shows the path.",
    source="docs/source/reference/launcher.md, launcher/src/main.rs, Dockerfile of the repository at v3.3.7",
)
