"""SGLang, https://docs.sglang.io."""

from __future__ import annotations

from tacho_engines.custom.presets.server import server
from tacho_engines.row import Preset, Refused
from tacho_engines.shared.refused import ADMIN, CODE

_FP8 = ("--kv-cache-dtype", "fp8_e4m3")

_REFUSED = Refused(
    switches={
        "enable-custom-logit-processor": (CODE, "leave it out"),
        "custom-weight-loader": (CODE, "leave it out"),
        "admin-api-key": (ADMIN, "leave it out"),
    }
)

PRESET = Preset(
    name="sglang",
    row=server(
        "SGLang",
        "0.5.23",
        (
            *("python3", "-m", "sglang.launch_server"),
            *("--model-path", "$(TACHO_MODEL_PATH)"),
            *("--served-model-name", "$(TACHO_SERVED_NAME)"),
            *("--host", "$(TACHO_HOST)"),
            *("--port", "$(TACHO_PORT)"),
            "--enable-metrics",
        ),
        image="lmsysorg/sglang:v0.5.23",
        refused=_REFUSED,
    ),
    health_path="/health",
    version_path="/server_info",
    context=("--context-length", "{max_model_len}", "--max-running-requests", "{concurrency}"),
    tensor=("--tensor-parallel-size", "{tensor}"),
    pipeline=("--pipeline-parallel-size", "{pipeline}"),
    trust_remote_code=("--trust-remote-code",),
    methods={
        "none": (),
        "fp8": ("--quantization", "fp8"),
        "awq": ("--quantization", "awq"),
        "gptq": ("--quantization", "gptq"),
        "compressed-tensors": ("--quantization", "compressed-tensors"),
        "bnb-nf4": ("--quantization", "bitsandbytes", "--load-format", "bitsandbytes"),
    },
    cache_types={
        "bfloat16": ("--kv-cache-dtype", "bfloat16"),
        "fp8": _FP8,
        "fp8_e4m3": _FP8,
        "fp8_e5m2": ("--kv-cache-dtype", "fp8_e5m2"),
    },
    source="wheel 0.5.23: srt/server_args.py ServerArgs.add_cli_args; srt/entrypoints/http_server.py "
    "server_info; srt/arg_groups/fields/serving.py (a key by --api-key alone); "
    "srt/model_loader/loader.py (NF4, its constants quantized too, is what it makes of a 16-bit checkpoint)",
)
