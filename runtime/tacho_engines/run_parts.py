"""What is known of how engines run, also of those that this runtime cannot start yet.

An engine's folder may have ``dialect.py`` (DIALECT), ``metrics.py`` (METRICS) and ``files.py`` (FILES).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tacho_engines import registry
from tacho_engines.shared.files import ANYTHING, FilesWanted
from tacho_engines.shared.metrics import MetricNames
from tacho_engines.shared.openai import Dialect


@cache
def _parts(module: str, name: str) -> dict[str, Any]:
    """By engine, ``name`` in the ``module`` of its folder."""
    paths = {engine: f"tacho_engines.{engine}.{module}" for engine in registry.ENGINES}
    return {engine: getattr(import_module(path), name) for engine, path in paths.items() if find_spec(path)}


def dialects() -> dict[str, Dialect]:
    """By engine; one that has none is asked as every server of the OpenAI API."""
    return _parts("dialect", "DIALECT")


def metric_names() -> tuple[MetricNames, ...]:
    """Of all engines, each set of names once."""
    return tuple(dict.fromkeys(_parts("metrics", "METRICS").values()))


def files_wanted(engine: str) -> FilesWanted:
    """By the engine of that name; "" while it is undecided."""
    wanted: dict[str, FilesWanted] = _parts("files", "FILES")
    return wanted.get(engine, ANYTHING)
