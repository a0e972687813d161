"""What the ``run.py`` of every engine has besides RUN: DIALECT, METRICS and FILES, each optional."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from tacho_engines import registry
from tacho_engines.shared.files import ANYTHING, LoadableFiles
from tacho_engines.shared.metrics import MetricNames
from tacho_engines.shared.openai import Dialect


@cache
def _parts(name: str) -> dict[str, Any]:
    """The attribute ``name`` of each engine's ``run.py``, by engine; engines without it are left out."""
    modules = {engine: import_module(f"tacho_engines.{engine}.run") for engine in registry.startable()}
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
    wanted: dict[str, LoadableFiles] = _parts("FILES")
    return wanted.get(engine, ANYTHING)
