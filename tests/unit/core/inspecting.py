"""What the tests of inspection share: a world to look at, a step at a time."""

from __future__ import annotations

from datetime import timedelta

from tacho_contract.failure import Failure
from tacho_operator.core.revisions.inspection import Inspection, inspect
from tools.harness.resources import HUB_SPEC
from tools.harness.world import World

GONE = Failure(failure_class="HubUnreachable", message="No answer.", next_step="Wait.", retryable=True)
DENIED = Failure(failure_class="AuthRequired", message="Gated.", next_step="Name a Secret.")


def hub_world() -> World:
    return World(HUB_SPEC)


def look(world: World, seconds: float = 0.0) -> Inspection:
    world.now += timedelta(seconds=seconds)
    return inspect(world.observed(), world.config, world.now)


def step(world: World, seconds: float = 0.0) -> Inspection:
    """Looks, and does what was decided."""
    found = look(world, seconds)
    for item in found.apply:
        world._apply(item)
    for reference in found.delete:
        del world.objects[reference.kind, reference.name]
    return found
