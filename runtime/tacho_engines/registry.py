"""The list of engines. Each is a folder in this package; its adapters are loaded on first use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from tacho_contract.failure import FailedError, FailureClass
from tacho_engines.base import PlannerAdapter, RuntimeAdapter
from tacho_engines.profile import EngineProfile, Preset

ENGINES: tuple[str, ...] = ("vllm", "transformers", "llamacpp", "ctranslate2", "custom")
"""Names of the engines, in the order in which tacho offers engines."""


@cache
def planner_adapter(name: str) -> PlannerAdapter:
    """The planner's adapter of the engine ``name``. Raises KeyError for an unknown name."""
    if name not in ENGINES:
        raise KeyError(name)
    adapter: PlannerAdapter = import_module(f"tacho_engines.{name}.plan").PLAN
    return adapter


def engine_profile(name: str, preset: str = "") -> EngineProfile:
    """The profile of the engine, or of the server that ``preset`` names. Raises KeyError for an unknown
    name."""
    return presets()[preset].profile if preset else planner_adapter(name).profile


def engine_profiles() -> Iterator[EngineProfile]:
    """Profiles of all engines, in the order of ``ENGINES``."""
    return (engine_profile(name) for name in ENGINES)


def image_settings() -> tuple[str, ...]:
    """The names of all operator settings that set an engine's image."""
    return tuple(name for profile in engine_profiles() for name in profile.image_settings)


def presets() -> dict[str, Preset]:
    """Presets of all engines by name, in the order of ``ENGINES``."""
    return {preset.name: preset for name in ENGINES for preset in planner_adapter(name).presets}


def method_names() -> tuple[str, ...]:
    """Quantization methods that at least one engine runs, in the order in which tacho offers methods."""
    return tuple(dict.fromkeys(method.method for profile in engine_profiles() for method in profile.methods))


def runtime_adapter(name: str) -> RuntimeAdapter:
    """The runtime's adapter of the engine ``name``. Raises FailedError(EngineNotSupported) for an unknown
    engine."""
    if name in ENGINES:
        adapter: RuntimeAdapter = import_module(f"tacho_engines.{name}.run").RUN
        return adapter
    raise FailedError.of(
        FailureClass.ENGINE_NOT_SUPPORTED,
        f"this runtime cannot start the engine {name!r}",
        f"set spec.engine.name to one of: {', '.join(ENGINES)}",
    )
