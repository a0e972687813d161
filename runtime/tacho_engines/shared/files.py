"""Which of a model's files an engine wants, in which order of preference. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SAFETENSORS, GGUF, CT2, PYTORCH, UNPARSED = "safetensors", "gguf", "ct2", "pytorch", "custom"
"""Formats, as ``ModelFacts.format`` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadableFiles:
    """Files that an engine loads where the user names no files."""

    formats: tuple[str, ...]
    """Model formats in order of preference. Empty: all files, listed and sized but not parsed."""
    one_file: bool = False
    """Whether the engine's command line names a file of the model instead of the folder."""
    absent: str = "There are no weights."
    """The message where none of the formats is there."""
    next_step: str = "Correct spec.model.uri, or name the files in spec.model.files."

    def only(self, model_format: str) -> bool:
        """Whether the engine loads the format ``model_format`` and no other."""
        return self.formats == (model_format,)


ANYTHING = LoadableFiles(formats=(SAFETENSORS, GGUF, CT2, PYTORCH))
"""While the engine is undecided."""
ALL_FILES = LoadableFiles(formats=(), absent="There are no files.")
"""All files, for an engine whose formats are not known."""
