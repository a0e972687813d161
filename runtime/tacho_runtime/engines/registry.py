"""Which engines this runtime can start."""

from __future__ import annotations

from tacho_runtime.contract import ENGINE_NOT_SUPPORTED, Failure
from tacho_runtime.engines.base import Engine
from tacho_runtime.engines.custom import Custom
from tacho_runtime.engines.llamacpp import LlamaCpp
from tacho_runtime.failures import FailedError

ENGINES: tuple[Engine, ...] = (LlamaCpp(), Custom())


def engine_named(name: str) -> Engine:
    """The engine of that name. Raises FailedError(EngineNotSupported)."""
    for engine in ENGINES:
        if engine.name == name:
            return engine
    known = ", ".join(engine.name for engine in ENGINES)
    raise FailedError(
        Failure(
            failure_class=ENGINE_NOT_SUPPORTED,
            message=f"this runtime cannot start the engine {name!r}",
            next_step=f"set spec.engine.name to one of: {known}",
        )
    )
