"""The files that vLLM loads; GGUF by a plugin since 0.28."""

from __future__ import annotations

from tacho_engines.shared.files import GGUF, PYTORCH, SAFETENSORS, FilesWanted

FILES = FilesWanted(
    formats=(SAFETENSORS, GGUF, PYTORCH),
    absent="There are no weights that vllm loads.",
)
