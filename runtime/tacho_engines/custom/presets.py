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


TGI = Preset(
    name="tgi",
    profile=server(
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
        **{method: ("--quantize", method) for method in ("fp8", "awq", "gptq", "compressed-tensors")},
        "bnb-int8": ("--quantize", "bitsandbytes"),
        "bnb-nf4": ("--quantize", "bitsandbytes-nf4"),
        "bnb-fp4": ("--quantize", "bitsandbytes-fp4"),
    },
    cache_types={
        **dict.fromkeys(("fp8", "fp8_e4m3"), ("--kv-cache-dtype", "fp8_e4m3fn")),
        "fp8_e5m2": ("--kv-cache-dtype", "fp8_e5m2"),
    },
    caveat="Upstream's image, huggingface/text-generation-inference:3.3.7, keeps its Python below /root, "
    "where a pod that does not run as root cannot go: engine.image must name one that has it elsewhere. It "
    "answers to any model name, and /v1/models shows the path.",
    source="docs/source/reference/launcher.md, launcher/src/main.rs, Dockerfile of the repository at v3.3.7",
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


MLC = Preset(
    name="mlc",
    profile=server(
        "MLC LLM",
        "0.26.dev0",
        (*("mlc_llm", "serve", "$(TACHO_MODEL_PATH)"), *("--mode", "server"), *LISTENS),
    ),
    # It has no path for its health, and listens only once the engine is there.
    health_path="/v1/models",
    # One switch holds them all, and the last of several would win.
    context=(
        "--overrides",
        "context_window_size={max_model_len};max_num_sequence={concurrency};"
        "tensor_parallel_shards={tensor};pipeline_parallel_stages={pipeline}",
    ),
    pipeline=(),
    methods={"none": ()},
    cache_types={},
    caveat="The model is a folder in MLC's own format, with mlc-chat-config.json; quantization is what it "
    "was converted to. The library is compiled at the first start. There is no image by upstream. It answers "
    "to any model name, and /v1/models shows the path.",
    source="python/mlc_llm/cli/serve.py, serve/server/server_context.py of the repository at v0.26.dev0",
)


TEXTGEN = Preset(
    name="textgen",
    profile=server(
        "text-generation-webui",
        "4.7.3",
        (
            *("python3", "server.py", "--nowebui", "--api", "--listen"),
            *("--listen-host", "$(TACHO_HOST)"),
            *("--api-port", "$(TACHO_PORT)"),
            *("--model", "$(TACHO_MODEL_PATH)"),
            *("--loader", "ExLlamav3"),
        ),
    ),
    health_path="/v1/internal/health",
    context=("--ctx-size", "{max_model_len}"),
    takes_concurrency=False,
    tensor=("--enable-tp",),
    pipeline=(),
    spreads_layers=True,
    methods={"none": ()},
    cache_types={"q8_0": ("--cache-type", "q8"), "q4_0": ("--cache-type", "q4")},
    caveat="The model is a folder that ExLlamaV3 loads (EXL3); quantization is what it was converted to. "
    "There is no image by upstream: build one from its Dockerfile whose working folder is that of server.py. "
    "It answers to any model name.",
    source="modules/shared.py, modules/exllamav3.py and modules/api/script.py of the repository at v4.7.3",
)


PRESETS: tuple[Preset, ...] = (SGLANG, TGI, TRTLLM, MLC, TEXTGEN)
