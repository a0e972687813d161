"""text-generation-webui, without its user interface, with the loader of ExLlamaV3."""

from __future__ import annotations

from tacho_engines.custom.presets.server import server
from tacho_engines.row import Preset

PRESET = Preset(
    name="textgen",
    row=server(
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
