"""Pushes the built images to a registry, under names that chart and planner can parse."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tacho_contract import __version__
from tacho_engines.registry import engine_profile

from ..steps import step
from . import buildah, catalog

PLAIN = "http://"


def tag(name: str) -> str:
    """An engine's image has its version in the tag, from which the planner knows its switches."""
    engine = name.removeprefix("tacho-")
    if engine not in catalog.dockerfiles():
        return __version__
    if engine == "vllm":
        return engine_profile("vllm").plugins.reference.rpartition(":")[2]
    if engine == "vllm-cpu":
        return engine_profile("vllm").build_for(on_host=True).image.reference.rpartition(":")[2]
    return engine_profile(engine.removesuffix("-cuda")).image.version


def pushed(entries: list[dict[str, Any]], registry: str, names: Collection[str] | None = None) -> list[str]:
    """Pushes built images to ``registry``; returns the references with their digests. Raises StepError.

    ``registry``: http:// before it means a push without encryption. ``names``: their names; None: those that
    a cluster runs. Log in with `buildah login` first.
    """
    if names is None:
        names = {"tacho", *(f"tacho-{name}" for name in catalog.dockerfiles() if name != catalog.TORCH)}
    place = registry.removeprefix(PLAIN).rstrip("/")
    secure = place == registry.rstrip("/") and buildah.is_encrypted(place)
    references = []
    for entry in entries:
        name, built = entry["name"], entry["content_reference"]
        if name not in names:
            continue
        reference = f"{place}/{name}:{tag(name)}"
        with step(f"pushing {reference}"):
            if not buildah.exists(built):
                buildah.load(Path(entry["archive"]), built)
            digest = buildah.push(built, reference, secure=secure)
        references.append(f"{reference}@{digest}")
    return references
