"""Placements as the planner's search makes them, for tests that ask an engine directly."""

from __future__ import annotations

from typing import Any

from benchmarks.planner.models import facts
from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.base import EngineOptions, Placement
from tacho_engines.hardware.device import Device
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.profile import MethodSupport
from tacho_engines.registry import engine_profile


def method_row(engine: str, method: str) -> MethodSupport:
    return next(row for row in engine_profile(engine).methods if row.method == method)


def gpu(name: str) -> Device:
    found = named_gpu(name)
    assert found is not None, name
    return found


def host(memory_bytes: int | None = None) -> Device:
    return Device(kind="cpu", product="CPU", memory_bytes=memory_bytes)


def placement(
    engine: str, model: str | ModelFacts, method: str, device: str | Device = "L4", **more: Any
) -> Placement:
    """``more``: other fields of Placement, and of EngineOptions."""
    found = facts(model) if isinstance(model, str) else model
    options = {name: more.pop(name) for name in list(more) if name in EngineOptions.__dataclass_fields__}
    split = {name: options.get(name) or 1 for name in ("tensor", "pipeline")}
    return Placement(
        engine=engine,
        facts=found,
        architecture=found.architecture or Architecture(),
        method=method_row(engine, method),
        device=gpu(device) if isinstance(device, str) else device,
        options=EngineOptions(**options),
        **{"count": 1, "version": engine_profile(engine).image.version, "image": "", **split, **more},
    )
