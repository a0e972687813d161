"""The files that CTranslate2 loads: a model of its own converter."""

from __future__ import annotations

from tacho_engines.shared.files import CT2, FilesWanted

FILES = FilesWanted(
    formats=(CT2,),
    absent="CTranslate2 loads model.bin beside config.json, and there is none.",
    next_step="Convert the model with ct2-transformers-converter, or choose another engine.",
)
