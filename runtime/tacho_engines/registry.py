"""Which engines this runtime can start."""

from __future__ import annotations

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_engines.base import RunHalf
from tacho_engines.custom.run import Custom
from tacho_engines.llamacpp.run import LlamaCpp

ENGINES: tuple[RunHalf, ...] = (LlamaCpp(), Custom())


def engine_named(name: str) -> RunHalf:
    """The engine of that name. Raises FailedError(EngineNotSupported)."""
    for engine in ENGINES:
        if engine.name == name:
            return engine
    known = ", ".join(engine.name for engine in ENGINES)
    raise FailedError(
        Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"this runtime cannot start the engine {name!r}",
            next_step=f"set spec.engine.name to one of: {known}",
        )
    )
