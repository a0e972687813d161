"""A world whose model serves and is measured."""

from __future__ import annotations

from typing import Any

from tools.harness.world import World

NEW_WORKLOAD = {"inputTokens": 900, "outputTokens": 10}


def measured_world(spec: dict[str, Any] | None = None) -> World:
    world = World(spec)
    world.come_up()
    return world
