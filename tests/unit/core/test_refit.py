"""An engine with less room than was planned: planned again once with the length it names, and never twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.revisions.refit import length_that_fits, refitted_name
from tests.properties import examples
from tools.harness.pod_states import container_state
from tools.harness.resources import CLAIM_SPEC, changed, plan, raw_resource
from tools.harness.world import World
from tools.mock.specs import cpu_node, smollm2

OPEN = changed(CLAIM_SPEC, context={"concurrency": 4})


def too_small(fits: str | None = "1024", name: str = "KVCacheTooSmall") -> Failure:
    return Failure(
        failure_class=name,
        message="The KV cache holds fewer tokens than maxModelLen.",
        next_step=f"Set context.maxModelLen to {fits} or less.",
        details={"fitsMaxModelLen": fits} if fits is not None else {},
    )


def asks(*failures: Failure, context: dict[str, Any] | None = None) -> int | None:
    spec = LLMDeployment.read(raw_resource(changed(CLAIM_SPEC, context=context))).spec
    return length_that_fits(spec, plan(max_model_len=2048), failures)


@pytest.mark.parametrize(
    ("failures", "context", "length"),
    [
        ([too_small()], None, 1024),
        ([too_small()], {"concurrency": 4}, 1024),
        ([too_small("1024"), too_small("512")], None, 512),
        ([too_small()], {"maxModelLen": 2048}, None),
        ([too_small("2048")], None, None),
        ([too_small("4096")], None, None),
        ([too_small("15")], None, None),
        ([too_small("-5")], None, None),
        ([too_small("many")], None, None),
        ([too_small(None)], None, None),
        ([too_small(name="GPUOutOfMemory")], None, None),
        ([], None, None),
    ],
)
def test_when_and_with_what_it_is_planned_again(
    failures: list[Failure], context: dict[str, Any] | None, length: int | None
) -> None:
    assert asks(*failures, context=context) == length


def begun(spec: dict[str, Any]) -> World:
    """A world whose first pod is there."""
    world = World(spec)
    world.nodes = (cpu_node(),)
    world.reconcile()
    world.inspected(smollm2())
    for _ in range(3):
        world.reconcile(1)
        world.deployment_controller()
    assert world.pods("server")
    return world


def fails(world: World, fits: str) -> None:
    """Every pod's engine ends for want of room, and the kubelet waits before it tries again."""
    ended = {"exitCode": 1, "message": codec.dumps(too_small(fits))}
    for pod in world.pods("server"):
        container_state(pod, restartCount=1, state={"waiting": {}}, lastState={"terminated": ended})


def lengths(world: World) -> dict[str, int]:
    return {
        name: item["data"]["plan"]["maxModelLen"]
        for (kind, name), item in world.objects.items()
        if kind == "ControllerRevision"
    }


def test_an_open_length_is_planned_again_once() -> None:
    world = begun(OPEN)
    (first,) = world.names("Deployment")
    concurrency = world.objects["ControllerRevision", first]["data"]["plan"]["concurrency"]
    fails(world, "1024")
    world.reconcile(1)
    second = refitted_name(first)
    world.deployment_controller()
    world.reconcile(1)
    assert lengths(world)[second] == 1024
    assert world.objects["ControllerRevision", second]["data"]["plan"]["concurrency"] == concurrency
    assert world.names("Deployment") == {second}
    assert "had memory for 1024" in world.status["plan"]["message"]
    assert world.brief("Stalled") == ("False", "Progressing")
    world.deployment_controller()
    fails(world, "512")
    for _ in range(5):
        world.reconcile(5)
        world.deployment_controller()
        fails(world, "512")
    assert set(lengths(world)) == {first, second}, "once, and never a loop"
    assert world.brief("Stalled") == ("True", "KVCacheTooSmall")
    assert "512" in world.condition("Stalled")["message"]


def test_the_shorter_plan_serves() -> None:
    world = begun(OPEN)
    (first,) = world.names("Deployment")
    fails(world, "1024")
    world.reconcile(1)
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.names("Deployment") == {refitted_name(first)}
    assert world.status["plan"]["maxModelLen"] == 1024


def test_a_length_that_was_asked_for_is_a_persons_matter() -> None:
    world = begun(CLAIM_SPEC)
    before = lengths(world)
    fails(world, "1024")
    world.reconcile(1)
    assert lengths(world) == before
    assert world.brief("Stalled") == ("True", "KVCacheTooSmall")
    assert "maxModelLen to 1024" in world.condition("Stalled")["message"]


@examples(0.15)
@given(st.lists(st.one_of(st.sampled_from(["fail", "serve", "forget"]), st.integers(16, 4096)), max_size=10))
def test_however_often_it_fails_there_is_one_more_revision_at_most(steps: list[str | int]) -> None:
    world = begun(OPEN)
    for step in steps:
        if step == "serve":
            world.serve_all()
        elif step == "forget":
            for key in [key for key in world.objects if key[0] == "ConfigMap"]:
                del world.objects[key]
        else:
            fails(world, str(step) if isinstance(step, int) else "1024")
        world.reconcile(5)
        if world.pods("inspect") and "status" not in world.pods("inspect")[-1]:
            world.inspected(smollm2())
        world.reconcile(5)
        world.deployment_controller()
        assert len(lengths(world)) <= 2
