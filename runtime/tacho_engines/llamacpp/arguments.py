"""The switches that a plan freezes for llama.cpp."""

from __future__ import annotations

from tacho_engines.base import Placement

EVERY_LAYER = ("--n-gpu-layers", "999")


def arguments(placement: Placement) -> tuple[str, ...]:
    """On GPUs every layer is offloaded, which is what the memory model adds up; on the host nothing is."""
    return () if placement.device.on_host else EVERY_LAYER
