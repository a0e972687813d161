"""The servers that ``engine.custom.preset`` can name: image, command and switches of each, as data."""

from __future__ import annotations

from tacho_engines.profile import DeniedOptions, EngineImage, EngineProfile, EngineRules, EngineSpeed, Preset
from tacho_engines.shared.switches import ADMIN, CODE

NOTHING = DeniedOptions()
LISTENS = ("--host", "$(TACHO_HOST)", "--port", "$(TACHO_PORT)")


def server(
    title: str,
    version: str,
    command: tuple[str, ...],
    *,
    image: str = "",
    python: str = "python3",
    denied: DeniedOptions = NOTHING,
) -> EngineProfile:
    """The profile of a third-party server.

    ``image`` is "" where upstream publishes none that a restricted pod can start.
    """
    return EngineProfile(
        name="custom",
        title=title,
        image=EngineImage(reference=image, version=version, entrypoint=command, python=python, uid=-1),
        devices=("gpu",),
        formats=("safetensors", "pytorch", "gguf", "ct2", "custom"),
        methods=(),
        speed=EngineSpeed(efficiency=0.0, batching=True),
        predicted=False,
        rules=EngineRules(denied=denied),
    )


_SGLANG_DENIED = DeniedOptions(
    switches={
        "enable-custom-logit-processor": (CODE, "leave it out"),
        "custom-weight-loader": (CODE, "leave it out"),
        "admin-api-key": (ADMIN, "leave it out"),
    }
)

SGLANG = Preset(
    name="sglang",
    profile=server(
        "SGLang",
        "0.5.23",
        (
            *("python3", "-m", "sglang.launch_server"),
            *("--model-path", "$(TACHO_MODEL_PATH)"),
            *("--served-model-name", "$(TACHO_SERVED_NAME)"),
            *LISTENS,
            "--enable-metrics",
        ),
        image="lmsysorg/sglang:v0.5.23",
        denied=_SGLANG_DENIED,
    ),
    health_path="/health",
    version_path="/server_info",
    context=("--context-length", "{max_model_len}", "--max-running-requests", "{concurrency}"),
    tensor=("--tensor-parallel-size", "{tensor}"),
    pipeline=("--pipeline-parallel-size", "{pipeline}"),
    trust_remote_code=("--trust-remote-code",),
    methods={
        "none": (),
        **{method: ("--quantization", method) for method in ("fp8", "compressed-tensors")},
        # By their plain names SGLang forces the slower kernels.
        **{method: ("--quantization", f"{method}_marlin") for method in ("awq", "gptq")},
        "bnb-nf4": ("--quantization", "bitsandbytes", "--load-format", "bitsandbytes"),
    },
    cache_types={
        "bfloat16": ("--kv-cache-dtype", "bfloat16"),
        **dict.fromkeys(("fp8", "fp8_e4m3"), ("--kv-cache-dtype", "fp8_e4m3")),
        "fp8_e5m2": ("--kv-cache-dtype", "fp8_e5m2"),
    },
    caveat="AWQ and GPTQ run on Marlin's kernels, from compute capability 8.0 on. With quantization.method "
    "none SGLang takes what the checkpoint says, on any GPU.",
    source="wheel 0.5.23: srt/server_args.py ServerArgs.add_cli_args; srt/entrypoints/http_server.py "
    "server_info; srt/arg_groups/fields/serving.py (a key by --api-key alone); "
    "srt/layers/quantization/awq/awq.py, gptq/gptq.py override_quantization_method; "
    "srt/model_loader/loader.py (NF4, its constants quantized too, is what it makes of a 16-bit checkpoint)",
)


TRTLLM = Preset(
    name="trtllm",
    profile=server(
        "TensorRT-LLM",
        "1.2.1",
        (*("trtllm-serve", "serve", "$(TACHO_MODEL_PATH)"), *LISTENS),
        image="nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
    ),
    health_path="/health",
    version_path="/version",
    context=("--max_seq_len", "{max_model_len}", "--max_batch_size", "{concurrency}"),
    tensor=("--tp_size", "{tensor}"),
    pipeline=("--pp_size", "{pipeline}"),
    trust_remote_code=("--trust_remote_code",),
    methods={"none": ()},
    cache_types={},
    caveat="Quantization is what the checkpoint says. It answers to any model name. /metrics answers in "
    "JSON, not as Prometheus text, so the load is not known.",
    source="tensorrt_llm/commands/serve.py and serve/openai_server.py of the repository, 1.2 series; "
    "PyPI 1.2.1 for the version",
)


PRESETS: tuple[Preset, ...] = (SGLANG, TRTLLM)
