"""A revision is tried once before it is made, and what is refused is not made."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.core.reconcile import decide
from tacho_operator.core.types import Trial
from tacho_operator.shell import reconcile as module
from tacho_operator.shell.api_errors import ApiError, Conflict, Forbidden, Invalid
from tacho_operator.shell.child_backoff import LONGEST_REFUSED_SECONDS, REFUSED_SECONDS, Backoff
from tacho_operator.shell.dry_run import Trials
from tacho_operator.shell.kube import Kube
from tests.wiring.reconciling import KEY, Server, conditions, inspected_world, reconciler
from tools.harness.resources import CONFIG, NOW, facts
from tools.harness.world import MOCK_SPEC, World

DEPLOYMENT = {"kind": "Deployment", "metadata": {"name": "r"}}
POD = {"kind": "Pod", "metadata": {"name": "r-trial"}}
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


def revision(name: str) -> Trial:
    held = frozenset({("Deployment", name)})
    return Trial(name=name, key=name, manifests=(DEPLOYMENT, POD), withheld=held, replaces=True)


def trials(server: TrialServer) -> Trials:
    return Trials(cast(Kube, server), clock=lambda: server.now)


async def test_a_refused_revision_is_tried_again_after_a_pause_that_doubles() -> None:
    server = TrialServer(WRONG)
    found = trials(server)
    due, pause = 0.0, REFUSED_SECONDS
    for tried in range(1, 9):
        server.now = due
        for _ in range(5):
            refusal = await found(KEY, revision("r-1"))
            assert refusal is not None
            assert (refusal.kind, refusal.name, refusal.invalid) == ("Pod", "r-1", True)
            assert server.tried == tried
        due, pause = server.now + pause, min(LONGEST_REFUSED_SECONDS, 2 * pause)
    assert await found(KEY, revision("r-2")) is not None
    assert server.tried == 9, "another revision is tried at once"
    server.error = None
    assert await found(KEY, revision("r-3")) is None


async def test_what_a_policy_refused_is_tried_again_at_an_even_pause() -> None:
    """Freed quota was noticed after 300 s."""
    server = TrialServer(TOO_LARGE)
    found = trials(server)
    for tried in range(1, 6):
        assert await found(KEY, revision("r-1")) is not None
        assert server.tried == tried
        server.now += REFUSED_SECONDS - 1
        assert await found(KEY, revision("r-1")) is not None
        assert server.tried == tried
        server.now += 1


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
    assert await trials(TrialServer(error))(KEY, revision("r-1")) is None


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


async def test_a_reconcile_meanwhile_puts_no_trial_off() -> None:
    """The refusal of a LimitRange that was gone stayed for 60 s."""
    server = Server(inspected_world())
    server.refuses, server.refuses_trial_of, server.error = False, "Pod", TOO_LARGE
    reconcile, now = reconciler(server), 100.0
    reconcile._trials = Trials(cast(Kube, server), clock=lambda: now)
    for passed in (0.0, 20.0, 9.0):
        now += passed
        delay = await reconcile(KEY)
        assert delay == pytest.approx(130.0 - now)
    assert server.tried.count("Pod") == 1
    server.refuses_trial_of = ""
    now += 1.0
    await reconcile(KEY)
    assert server.tried.count("Pod") == 2
    assert "Deployment" in server.created


async def test_a_reconcile_meanwhile_puts_no_refused_child_off() -> None:
    server = Server(inspected_world())
    server.refuses, server.forbids, server.error = False, "Service", WRONG
    reconcile, now = reconciler(server), 100.0
    reconcile._backoff = Backoff(clock=lambda: now)
    for passed in (0.0, 20.0, 9.0):
        now += passed
        assert await reconcile(KEY) == pytest.approx(130.0 - now)
    assert server.refused == 1


async def test_a_trial_that_is_over_causes_no_reconcile_at_once() -> None:
    server = TrialServer(TOO_LARGE)
    found = trials(server)
    assert found.left_seconds(KEY) == REFUSED_SECONDS
    await found(KEY, revision("r-1"))
    server.now += REFUSED_SECONDS
    assert found.left_seconds(KEY) == REFUSED_SECONDS


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


QUOTA = Forbidden(403, 'pods "x" is forbidden: exceeded quota: few, requested: pods=1')


def early(*, needs_quota: bool = True) -> Trial:
    held = frozenset({("Pod", "inspect")})
    return Trial(name="smol-trial", key="k", manifests=(POD,), withheld=held, needs_quota=needs_quota)


@pytest.mark.parametrize(
    ("error", "needs_quota", "refused"),
    [
        (TOO_LARGE, True, True),
        (QUOTA, True, True),
        (QUOTA, False, False),
        (Forbidden(403, 'pods "x" is forbidden: minimum memory usage per Container is 2Gi'), True, False),
        (Forbidden(403, "memory max limit to request ratio per Container is 1"), True, False),
        (Forbidden(403, 'admission webhook "gpus.example" denied the request: no GPU'), True, False),
        (Forbidden(403, "ValidatingAdmissionPolicy 'gpus' denied request: no GPU"), True, False),
    ],
)
async def test_before_a_plan_what_the_plan_may_change_is_no_refusal(
    error: ApiError, needs_quota: bool, refused: bool
) -> None:
    found = await trials(TrialServer(error))(KEY, early(needs_quota=needs_quota))
    assert (found is not None) is refused


async def test_an_accepted_trial_is_not_repeated() -> None:
    server = TrialServer()
    found = trials(server)
    for _ in range(3):
        assert await found(KEY, early()) is None
    assert server.tried == 1
    found.forget(KEY)
    await found(KEY, early())
    assert server.tried == 2


async def test_a_refused_pod_is_told_before_its_model_is_inspected_and_inspected_once_it_is_accepted() -> (
    None
):
    world = World(MOCK_SPEC, resourceVersion="1")
    world.raw["status"] = {"observedGeneration": 1}
    server = Server(world)
    server.refuses, server.refuses_trial_of, server.error = False, "Pod", QUOTA
    reconcile = reconciler(server)
    delay = await reconcile(KEY)
    assert "Pod" not in server.created
    assert conditions(server)["Planned"][:2] == ("False", "QuotaExceeded")
    assert "few" in conditions(server)["Planned"][2]
    assert delay is not None
    assert delay <= module.REFUSED_RETRY_SECONDS
    server.refuses_trial_of = ""
    reconcile = reconciler(server)  # which remembers no refusal
    await reconcile(KEY)
    assert "Pod" in server.created
    assert conditions(server)["Planned"][:2] == ("Unknown", "Inspecting")
