"""The files that transformers loads."""

from __future__ import annotations

from tacho_engines.shared.files import PYTORCH, SAFETENSORS, FilesWanted

FILES = FilesWanted(
    formats=(SAFETENSORS, PYTORCH),
    absent="There are no weights that transformers loads.",
)
