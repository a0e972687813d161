"""Which engines there are. Each is a folder here; its halves are found by name and loaded when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_engines.base import PlanHalf, RunHalf
from tacho_engines.row import EngineRow, Preset

ENGINES: tuple[str, ...] = (
    "vllm",
    "transformers",
    "llamacpp",
    "ctranslate2",
    "custom",
)
"""In the order in which they are offered."""


@cache
def plan_half(name: str) -> PlanHalf:
    """The engine's half of the plan. Raises KeyError for a name that is not registered."""
    if name not in ENGINES:
        raise KeyError(name)
    half: PlanHalf = import_module(f"tacho_engines.{name}.plan").PLAN
    return half


def engine_row(name: str, preset: str = "") -> EngineRow:
    """What the engine is, or the server that ``preset`` makes of it. Raises KeyError for a name that is not
    registered."""
    return presets()[preset].row if preset else plan_half(name).row


def engine_rows() -> Iterator[EngineRow]:
    """Every engine, in the order in which they are offered."""
    return (engine_row(name) for name in ENGINES)


def image_settings() -> tuple[str, ...]:
    """Every name under which the operator's settings may give an engine another image."""
    return tuple(name for row in engine_rows() for name in row.image_settings)


def presets() -> dict[str, Preset]:
    """Every preset of every engine by name, in the order in which they are offered."""
    return {preset.name: preset for row in engine_rows() for preset in row.presets}


def method_names() -> tuple[str, ...]:
    """Every quantization method that some engine runs, in the order in which they are offered."""
    return tuple(dict.fromkeys(method.method for row in engine_rows() for method in row.methods))


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
