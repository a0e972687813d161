"""A revision is tried once before it is made, and what is refused is not made."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.core.reconcile import decide
from tacho_operator.shell import reconcile as module
from tacho_operator.shell.api_errors import ApiError, Conflict, Forbidden, Invalid
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.trial import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, RevisionTrials
from tests.wiring.reconciling import KEY, Server, conditions, inspected_world, reconciler
from tools.harness.resources import CONFIG, NOW, facts
from tools.harness.world import MOCK_SPEC, World

DEPLOYMENT, POD = {"kind": "Deployment"}, {"kind": "Pod"}
WRONG = Invalid(422, 'Pod "x" is invalid: spec.a: Invalid value')
TOO_LARGE = Forbidden(403, 'pods "x" is forbidden: maximum memory usage per Container is 1Gi')


class TrialServer:
    """Answers dry runs with ``error``."""

    def __init__(self, error: ApiError | None = None) -> None:
        self.error, self.tried, self.now = error, 0, 0.0

    async def try_create(self, manifest: dict[str, Any]) -> None:
        self.tried += manifest["kind"] == "Pod"
        if self.error is not None and manifest["kind"] == "Pod":
            raise self.error


def trials(server: TrialServer) -> RevisionTrials:
    return RevisionTrials(cast(Kube, server), clock=lambda: server.now)


async def test_a_refused_revision_is_tried_again_after_a_pause_that_doubles() -> None:
    server = TrialServer(WRONG)
    found = trials(server)
    due, pause = 0.0, FIRST_PAUSE_SECONDS
    for tried in range(1, 9):
        server.now = due
        for _ in range(5):
            refusal = await found(KEY, "r-1", (DEPLOYMENT, POD))
            assert refusal is not None
            assert (refusal.kind, refusal.name, refusal.invalid) == ("Pod", "r-1", True)
            assert server.tried == tried
        due, pause = server.now + pause, min(LONGEST_PAUSE_SECONDS, 2 * pause)
    assert await found(KEY, "r-2", (DEPLOYMENT, POD)) is not None
    assert server.tried == 9, "another revision is tried at once"
    server.error = None
    assert await found(KEY, "r-3", (DEPLOYMENT, POD)) is None


@pytest.mark.parametrize(
    "error",
    [
        Conflict(409, "pods x already exists"),
        Invalid(400, "admission webhook hooks.example.com does not support dry run"),
        Forbidden(403, 'pods "x" is forbidden: exceeded quota: few, requested: pods=1'),
        Forbidden(403, 'pods "x" is forbidden: failed quota: few: must specify limits.cpu'),
    ],
)
async def test_a_quota_and_a_taken_name_hold_no_revision_up(error: ApiError) -> None:
    assert await trials(TrialServer(error))(KEY, "r-1", (DEPLOYMENT, POD)) is None


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("Deployment", WRONG, "InvalidConfig"),
        ("Pod", WRONG, "InvalidConfig"),
        ("Pod", TOO_LARGE, "AdmissionDenied"),
    ],
)
async def test_a_refused_revision_is_not_made(kind: str, error: ApiError, reason: str) -> None:
    server = Server(inspected_world())
    server.refuses, server.refuses_trial_of, server.error = False, kind, error
    delay = await reconciler(server)(KEY)
    assert "Service" in server.created
    assert not {"ControllerRevision", "Deployment"} & set(server.created)
    assert conditions(server)["Stalled"][:2] == ("True", reason)
    assert error.message[-20:] in conditions(server)["Ready"][2]
    assert delay is not None
    assert delay <= module.REFUSED_RETRY_SECONDS


async def test_a_revision_is_tried_once() -> None:
    world = inspected_world()
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    await reconcile(KEY)
    assert server.tried == ["Deployment", "Pod"]
    assert {"ControllerRevision", "Deployment"} <= set(server.created)
    world.reconcile()
    await reconcile(KEY)
    assert server.tried == ["Deployment", "Pod"]


async def test_what_runs_stays_while_its_successor_is_refused() -> None:
    world = World(MOCK_SPEC, resourceVersion="1")
    world.reconcile()
    world.inspected(facts())
    world.reconcile(1)
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    server = Server(world)
    server.refuses, server.refuses_trial_of, server.error = False, "Pod", WRONG
    assert "Deployment" in {item.kind for item in decide(world.observed(), CONFIG, NOW).delete}
    await reconciler(server)(KEY)
    assert all("inspect" in name for name in server.deleted)


async def test_a_trial_without_an_answer_holds_up_the_revision_alone() -> None:
    server = Server(inspected_world())
    server.refuses, server.refuses_trial_of = False, "Pod"
    server.error = ApiError(500, "failed calling webhook", retry_after_seconds=3.0)
    reconcile = reconciler(server)
    for attempt in range(1, 4):
        server.created.clear()
        with pytest.raises(ApiError, match="failed calling webhook"):
            await reconcile(KEY)
        assert "Service" in server.created
        assert not {"ControllerRevision", "Deployment"} & set(server.created)
        told = conditions(server)["Reconciling"][1] == "Retrying"
        assert told is (attempt >= module.UNANSWERED_TRIES)
    assert conditions(server)["Stalled"][0] == "False"
