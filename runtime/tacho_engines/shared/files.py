"""Which of a model's files an engine wants, in which order of preference. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SAFETENSORS, GGUF, CT2, PYTORCH, UNPARSED = "safetensors", "gguf", "ct2", "pytorch", "custom"
"""Formats, as ``ModelFacts.format`` names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesWanted:
    """What an engine loads where the user names no files."""

    formats: tuple[str, ...]
    """The preferred first. Empty: whatever there is, listed and sized but not parsed."""
    one_file: bool = False
    """Its command line names a file of the model, not the folder."""
    absent: str = "There are no weights."
    """What is said where none of the formats is there."""
    next_step: str = "Correct spec.model.uri, or name the files in spec.model.files."

    def only(self, model_format: str) -> bool:
        """It loads ``model_format`` and nothing else."""
        return self.formats == (model_format,)


ANYTHING = FilesWanted(formats=(SAFETENSORS, GGUF, CT2, PYTORCH))
"""While the engine is undecided."""
ALL_FILES = FilesWanted(formats=(), absent="There are no files.")
"""For an engine that nothing is known of."""
