"""What tacho knows of llama.cpp as a program: images, methods, formats."""

from __future__ import annotations

from tacho_engines.row import CacheTypes, EngineRow, MethodRow, MethodRule

METHODS = (MethodRow(method="gguf", how="stored", capability=(5, 0), quality=97.0, source="ggml-cuda"),)

ROW = EngineRow(
    name="llamacpp",
    title="llama.cpp",
    image="tacho-llamacpp",
    version="2026.10",
    entrypoint=("llama-server",),
    uid=10001,
    devices=("cpu",),
    formats=("gguf",),
    methods=METHODS,
    efficiency=0.6,
    batching=True,
    built=True,
    package="xllamacpp",
    local_entrypoint=("-m", "tacho_llamacpp"),
    executes_model_code=False,
    method_rule=MethodRule(
        cel="self.engine.name != 'llamacpp' || self.quantization.method in ['gguf', 'none']",
        message="llamacpp serves GGUF files; set quantization.method to gguf, or none for an unquantized "
        "GGUF",
    ),
    cache_types=CacheTypes(words=("q8_0", "q4_0"), cel="matches('^q[48]_0$')"),
    keeps=False,
    verified_by="end-to-end suite on a CPU node, SmolLM2-135M",
)
