"""Finds what the runtime needs of an engine in the engine's folder; the plan's half is never loaded.

A folder may have ``run.py`` (RUN: how it is started and read), ``dialect.py`` (DIALECT), ``metrics.py``
(METRICS) and ``files.py`` (FILES). One without ``run.py`` cannot be started by this runtime yet.
"""

from __future__ import annotations

import functools
import pkgutil
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import tacho_engines
from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_engines.base import RunHalf
from tacho_engines.files import ANYTHING, FilesWanted
from tacho_engines.metrics import MetricNames
from tacho_engines.openai import Dialect


@functools.cache
def found_in_folders(module: str, name: str) -> dict[str, Any]:
    """By engine, ``name`` in each folder's ``module``."""
    folders = sorted(folder.name for folder in pkgutil.iter_modules(tacho_engines.__path__) if folder.ispkg)
    paths = {folder: f"{tacho_engines.__name__}.{folder}.{module}" for folder in folders}
    return {folder: getattr(import_module(path), name) for folder, path in paths.items() if find_spec(path)}


def run_halves() -> tuple[RunHalf, ...]:
    """Of every engine that this runtime can start."""
    return tuple(cast("dict[str, RunHalf]", found_in_folders("run", "RUN")).values())


def run_half(engine: str) -> RunHalf:
    """The engine of that name. Raises FailedError(EngineNotSupported)."""
    found = {half.name: half for half in run_halves()}
    if engine in found:
        return found[engine]
    raise FailedError(
        Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"this runtime cannot start the engine {engine!r}",
            next_step=f"set spec.engine.name to one of: {', '.join(found)}",
        )
    )


def dialects() -> dict[str, Dialect]:
    """By engine; one that has none is asked as every server of the OpenAI API."""
    return found_in_folders("dialect", "DIALECT")


def metric_names() -> tuple[MetricNames, ...]:
    """Of all engines, each set of names once."""
    return tuple(dict.fromkeys(found_in_folders("metrics", "METRICS").values()))


def files_wanted(engine: str) -> FilesWanted:
    """By the engine of that name; "" while it is undecided."""
    wanted: dict[str, FilesWanted] = found_in_folders("files", "FILES")
    return wanted.get(engine, ANYTHING)
