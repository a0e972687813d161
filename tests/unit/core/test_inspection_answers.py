"""What an inspect pod leaves, read: an answer, a part of one, or the words of whoever ended it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.model import ModelFacts, TensorClass
from tacho_operator.core.revisions.inspection import (
    facts_key,
)
from tests.unit.core.inspecting import DENIED, GONE, hub_world, look, step
from tools.harness.pod_states import container_state, insufficient
from tools.harness.resources import at, hub_facts, resource
from tools.harness.world import World


def test_a_pod_that_finds_no_node_or_no_secret_says_so() -> None:
    world = hub_world()
    step(world)
    (pod,) = world.pods("inspect")
    insufficient(pod)
    found = look(world, 1)
    assert found.problem is not None
    assert (found.problem.reason, found.problem.needs_user_action) == ("Unschedulable", False)
    container_state(
        pod,
        "inspect",
        state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hf" not found'}},
    )
    found = look(world, 1)
    assert found.problem is not None
    assert found.problem.reason == "AuthRequired"
    assert 'secret "hf" not found' in found.problem.message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "exceeded its deadline"),
        (
            {
                "phase": "Failed",
                "reason": "DeadlineExceeded",
                "containerStatuses": [
                    {
                        "name": "inspect",
                        "state": {
                            "terminated": {
                                "exitCode": 137,
                                "reason": "ContainerStatusUnknown",
                                "message": "The container could not be located when the pod was terminated",
                                "startedAt": None,
                            }
                        },
                    }
                ],
            },
            "exceeded its deadline",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    {"name": "inspect", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
                ],
            },
            "ended with exit code 137 (OOMKilled)",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    {
                        "name": "inspect",
                        "state": {"terminated": {"exitCode": 1, "message": "Traceback\nBoom"}},
                    }
                ],
            },
            "Boom",
        ),
        (
            {
                "phase": "Failed",
                "reason": "DeadlineExceeded",
                "containerStatuses": [
                    {"name": "inspect", "state": {"terminated": {"exitCode": 137, "startedAt": at(0)}}}
                ],
            },
            "exceeded its deadline",
        ),
        ({"phase": "Succeeded"}, "ended with exit code unknown: no message."),
        ({"phase": "Failed", "message": "Evicted."}, "ended with exit code unknown: Evicted."),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    {
                        "name": "inspect",
                        "state": {"terminated": {"exitCode": 1, "message": "a\nb\nc\nd\n"}},
                    }
                ],
            },
            "ended with exit code 1 (no reason): b | c | d.",
        ),
    ],
)
def test_a_pod_that_ended_without_an_answer_is_tried_again(status: dict[str, Any], words: str) -> None:
    world = hub_world()
    step(world)
    world.pods("inspect")[0]["status"] = status
    found = look(world, 1)
    assert found.problem is not None
    assert words in found.problem.message
    assert (found.problem.reason, found.problem.needs_user_action) == ("InspectionTimeout", False)
    assert step(world, 60).apply != ()


def test_a_failure_written_as_any_other_container_writes_it_is_read() -> None:
    world = hub_world()
    step(world)
    said = '{"failureClass":"DiskFull","message":"No room.","nextStep":"Enlarge it.","retryable":true}'
    container_state(
        world.pods("inspect")[0], "inspect", state={"terminated": {"exitCode": 1, "message": said}}
    )
    found = look(world)
    assert found.problem is not None
    assert (found.problem.reason, "No room. Enlarge it." in found.problem.message) == ("DiskFull", True)


@pytest.mark.parametrize("answer", [hub_facts(), GONE, DENIED])
def test_the_answer_is_read_before_the_pods_phase_says_that_it_ended(answer: Any) -> None:
    world = hub_world()
    step(world)
    world.inspected(answer)
    world.pods("inspect")[0]["status"]["phase"] = "Running"
    found = look(world)
    assert found.facts == (None if isinstance(answer, Failure) else answer)
    reason = found.problem.reason if found.problem else ""
    assert reason == (answer.failure_class if isinstance(answer, Failure) else "")


def test_a_cut_answer_is_no_answer() -> None:
    world = hub_world()
    step(world)
    world.inspected(hub_facts())
    ended = world.pods("inspect")[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    ended["message"] = ended["message"][:40]
    assert look(world).facts is None


def too_many() -> ModelFacts:
    scales = TensorClass(kind="scale", dtype="F16", tensors=1, parameters=1, stored_bytes=2)
    return replace(hub_facts(), tensors=(scales,) * 800)


def test_an_answer_with_too_many_tensor_classes_is_a_failure_that_says_so() -> None:
    world = hub_world()
    step(world)
    world.inspected(too_many())
    found = look(world)
    assert found.problem is not None
    assert (found.facts, found.problem.reason) == (None, "ModelInvalid")
    assert "800 items, more than 64" in found.problem.message


def test_stored_facts_with_too_many_tensor_classes_are_inspected_again() -> None:
    world = hub_world()
    packed = {facts_key(world.observed().resource): codec.pack(too_many())}
    world.objects["ConfigMap", "smol-facts"] = {"metadata": {"name": "smol-facts"}, "data": packed}
    assert step(world).apply != ()


def test_a_stored_answer_that_cannot_be_read_is_asked_for_again() -> None:
    world = World()
    world.objects["ConfigMap", "smol-facts"] = {
        "metadata": {"name": "smol-facts"},
        "data": {facts_key(resource()): "garbage"},
    }
    assert step(world).apply != ()
