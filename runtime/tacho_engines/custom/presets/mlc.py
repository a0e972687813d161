"""MLC LLM's server, https://llm.mlc.ai/docs/deploy/rest.html."""

from __future__ import annotations

from tacho_engines.custom.presets.server import server
from tacho_engines.row import Preset

PRESET = Preset(
    name="mlc",
    row=server(
        "MLC LLM",
        "0.26.dev0",
        (
            *("mlc_llm", "serve", "$(TACHO_MODEL_PATH)"),
            *("--mode", "server"),
            *("--host", "$(TACHO_HOST)"),
            *("--port", "$(TACHO_PORT)"),
        ),
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
