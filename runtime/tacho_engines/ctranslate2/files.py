"""The files that CTranslate2 loads: a model of its own converter, else a checkpoint to convert."""

from __future__ import annotations

from tacho_engines.shared.files import CT2, PYTORCH, SAFETENSORS, FilesWanted

FILES = FilesWanted(
    formats=(CT2, SAFETENSORS, PYTORCH),
    absent="CTranslate2 loads model.bin beside config.json, or converts safetensors or pytorch_model.bin, "
    "and there is none.",
    next_step="Point spec.model at the unquantized model, or choose another engine.",
)
