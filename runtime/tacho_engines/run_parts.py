"""The optional parts of an engine's ``run.py``, for all engines: request dialect, metric names, loadable
files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from tacho_engines import registry
from tacho_engines.shared.metrics import MetricNames
from tacho_engines.shared.openai import Dialect

SAFETENSORS, GGUF, CT2, PYTORCH, UNPARSED = "safetensors", "gguf", "ct2", "pytorch", "custom"
"""Formats, as ``ModelFacts.format`` names them."""
MISTRAL = "mistral-native"
"""That of Mistral's own layout: params.json and consolidated safetensors, without a config.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadableFiles:
    """The files of a model that an engine loads, where the user names none."""

    formats: tuple[str, ...]
    """Model formats in order of preference. Empty: all files, without parsing them."""
    code: bool = False
    """Whether Python files of the model's repository belong to the model, as the user trusts them."""
    gguf_companions: bool = False
    """Whether config.json and the tokenizer's files are loaded with a GGUF file, from its folder."""
    absent: str = "There are no weights."
    """The message where the model has none of these formats."""
    next_step: str = "Correct spec.model.uri, or name the files in spec.model.files."

    def only(self, model_format: str) -> bool:
        """Whether the engine loads the format ``model_format`` and no other."""
        return self.formats == (model_format,)


ANYTHING = LoadableFiles(formats=(MISTRAL, SAFETENSORS, GGUF, CT2, PYTORCH), gguf_companions=True)
"""Loadable files while no engine has been chosen."""
ALL_FILES = LoadableFiles(formats=(), absent="There are no files.")
"""Loadable files of an engine whose formats are unknown."""


@cache
def _parts(name: str) -> dict[str, Any]:
    """The attribute ``name`` of each engine's ``run.py``, by engine; engines without it are left out."""
    modules = {engine: import_module(f"tacho_engines.{engine}.run") for engine in registry.ENGINES}
    return {engine: getattr(module, name) for engine, module in modules.items() if hasattr(module, name)}


def dialects() -> dict[str, Dialect]:
    """Request dialects by engine; an engine without a dialect gets requests that every OpenAI-compatible
    server accepts."""
    return _parts("DIALECT")


def metric_names() -> tuple[MetricNames, ...]:
    """Metric names of all engines, each set once."""
    return tuple(dict.fromkeys(_parts("METRICS").values()))


def loadable_files(engine: str) -> LoadableFiles:
    """Files that the engine ``engine`` loads; "" while the engine is undecided."""
    parts: dict[str, LoadableFiles] = _parts("FILES")
    return parts.get(engine, ANYTHING)
