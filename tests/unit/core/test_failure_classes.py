"""Every class of failure, by every way it comes: what is decided is what its row in the table says."""

from __future__ import annotations

import pytest

from tacho_contract import codec
from tacho_contract.failure import FAILURE_KINDS, Escalation, Failure, FailureClass
from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem, from_failure
from tests.unit.core.world import World


def told(name: str, *, retryable: bool | None = None) -> Failure:
    return Failure(failure_class=name, message="What.", next_step="Do.", retryable=retryable)


def ended(failure: Failure, restarts: int) -> Problem:
    """What diagnosis makes of a container that ended with this failure."""
    state = {"terminated": {"exitCode": 1, "message": codec.dumps(failure)}}
    status = {"name": "engine", "restartCount": restarts, "lastState": state}
    view = PodView({"metadata": {"name": "p"}, "spec": {}, "status": {"containerStatuses": [status]}})
    found = diagnose(view, lost_nodes=(), schedule_overdue=False)
    assert found is not None
    return found


@pytest.mark.parametrize("name", FailureClass)
def test_a_pod_that_fails_with_it(name: FailureClass) -> None:
    kind = FAILURE_KINDS[name]
    assert ended(told(name), 0).needs_person == kind.needs_person
    assert ended(told(name), 2).needs_person == kind.needs_person
    assert ended(told(name), 3).needs_person == kind.person_needed([Escalation.RESTARTS])
    final = ended(told(name, retryable=False), 0)
    assert final.needs_person == kind.person_needed([Escalation.FINAL])


@pytest.mark.parametrize("name", FailureClass)
def test_a_plan_that_fails_with_it(name: FailureClass) -> None:
    kind = FAILURE_KINDS[name]
    assert from_failure(told(name)).needs_person == kind.needs_person
    assert told(name).retryable == (not kind.needs_person)


@pytest.mark.parametrize("name", FailureClass)
def test_an_inspection_that_fails_with_it(name: FailureClass) -> None:
    kind = FAILURE_KINDS[name]
    world = World()
    world.turn()
    world.inspected(told(name))
    decision = world.turn(1)
    assert world.brief("Ready") == ("False", name)
    assert (world.brief("Stalled")[0] == "True") == kind.needs_person
    assert (world.brief("Reconciling")[0] == "True") != kind.needs_person
    assert decision.requeue_after_seconds is not None or not kind.tries_again


def test_a_class_of_another_version_is_taken_at_its_own_word() -> None:
    assert ended(told("NotYetInvented"), 0).needs_person
    assert ended(told("NotYetInvented", retryable=False), 0).needs_person
    assert not ended(told("NotYetInvented", retryable=True), 2).needs_person
    assert ended(told("NotYetInvented", retryable=True), 3).needs_person
