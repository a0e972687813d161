"""Which engines there are. Each is a folder here; its halves are found by name and loaded when asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_engines.base import RunHalf

ENGINES: tuple[str, ...] = (
    "vllm",
    "transformers",
    "llamacpp",
    "ctranslate2",
    "custom",
)
"""In the order in which they are offered."""


def startable() -> tuple[str, ...]:
    """Engines that have a half of the run."""
    return tuple(name for name in ENGINES if find_spec(f"tacho_engines.{name}.run") is not None)


def run_half(name: str) -> RunHalf:
    """The engine's half of the run. Raises FailedError(EngineNotSupported) where there is none."""
    known = startable()
    if name in known:
        half: RunHalf = import_module(f"tacho_engines.{name}.run").RUN
        return half
    raise FailedError(
        Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"this runtime cannot start the engine {name!r}",
            next_step=f"set spec.engine.name to one of: {', '.join(known)}",
        )
    )
