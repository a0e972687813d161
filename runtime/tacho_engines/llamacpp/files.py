"""The files that llama.cpp loads: one GGUF model, given to it by its first file."""

from __future__ import annotations

from tacho_engines.shared.files import GGUF, FilesWanted

FILES = FilesWanted(
    formats=(GGUF,),
    one_file=True,
    absent="llama.cpp loads GGUF files, and there is none.",
    next_step="Point spec.model at a GGUF repository, or choose an engine that loads these files.",
)
