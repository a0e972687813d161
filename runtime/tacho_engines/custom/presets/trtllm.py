"""TensorRT-LLM's server, https://nvidia.github.io/TensorRT-LLM."""

from __future__ import annotations

from tacho_engines.custom.presets.server import server
from tacho_engines.row import Preset

PRESET = Preset(
    name="trtllm",
    row=server(
        "TensorRT-LLM",
        "1.2.1",
        (
            *("trtllm-serve", "serve", "$(TACHO_MODEL_PATH)"),
            *("--host", "$(TACHO_HOST)"),
            *("--port", "$(TACHO_PORT)"),
        ),
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
