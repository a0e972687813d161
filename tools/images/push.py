"""Putting what was built into a registry: named so that chart and planner read the names as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tacho_contract import __version__
from tacho_engines.registry import engine_row

from ..steps import step
from . import buildah, catalog

LOCAL_HOSTS = ("localhost", "127.0.0.1")
"""Without encryption, as container runtimes talk to them."""


def tag(name: str) -> str:
    """An engine's image has its version in the tag, from which the planner knows its switches."""
    engine = name.removeprefix("tacho-")
    if engine == name:
        return __version__
    if engine == "vllm":
        return engine_row("vllm").plugins_image.rpartition(":")[2]
    if engine == "vllm-cpu":
        return engine_row("vllm").build_for(on_host=True).image.rpartition(":")[2]
    return engine_row(engine.removesuffix("-cuda")).version


def pushed(entries: list[dict[str, Any]], registry: str) -> list[str]:
    """Of what was built all that a cluster runs, in ``registry``; returns the references. Raises StepError.

    Whoever may push there has logged in with `buildah login`.
    """
    wanted = {"tacho", *(f"tacho-{name}" for name in catalog.dockerfiles() if name != catalog.TORCH)}
    secure = registry.partition("/")[0].partition(":")[0] not in LOCAL_HOSTS
    references = []
    for entry in entries:
        name, built = entry["name"], entry["content_reference"]
        if name not in wanted:
            continue
        reference = f"{registry.rstrip('/')}/{name}:{tag(name)}"
        with step(f"pushing {reference}"):
            if not buildah.exists(built):
                buildah.load(Path(entry["archive"]), built)
            buildah.push(built, reference, secure=secure)
        references.append(reference)
    return references
