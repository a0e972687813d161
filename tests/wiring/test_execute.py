"""What a decision's carrying-out does after an answer that is not the usual one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.api.status.status import Condition, LLMDeploymentStatus, Summary
from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.core.types import Observed, ReconcileDecision, Reference
from tacho_operator.shell.api_errors import ApiError, Conflict, Forbidden, Invalid, Missing
from tacho_operator.shell.child_backoff import Backoff
from tacho_operator.shell.execute import ExecuteResult, delete_pods, execute
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.status_writes import write_status
from tacho_operator.shell.taken_names import NotCollected
from tools.harness.resources import NOW, resource

RAW = {
    "apiVersion": "tacho.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "demo", "namespace": "team", "uid": "now", "creationTimestamp": None},
}
REVISIONS = ("a", "b", "c")


def child(kind: str, owner_uid: str, **metadata: Any) -> dict[str, Any]:
    owner = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "name": "demo", "uid": owner_uid}
    own = {"name": "child", "namespace": "team", "ownerReferences": [{**owner, "controller": True}]}
    return {"apiVersion": "v1", "kind": kind, "metadata": {**own, **metadata}}


class Server:
    """Answers requests of that verb, or about an object of that name, with an error; keeps all in order."""

    def __init__(self, **errors: ApiError) -> None:
        self._errors, self.requests = errors, list[str]()
        self.held: dict[str, Any] | None = None
        """What its answers have instead of what was written."""

    def _ask(self, verb: str, name: str) -> None:
        self.requests.append(f"{verb} {name}")
        for error in (self._errors.get(name), self._errors.get(verb)):
            if error is not None:
                raise error

    async def annotate(self, live: dict[str, Any], annotations: dict[str, str]) -> None:
        self._ask("annotate", live["metadata"]["name"])

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._ask("create", manifest["metadata"]["name"])
        return manifest

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        self._ask("delete", name)

    async def apply(self, manifest: dict[str, Any], *, uid: str, **_: str) -> dict[str, Any]:
        self._ask("apply", manifest["metadata"]["name"])
        return manifest

    async def merge(self, target: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        keys = sorted({**body["metadata"].get("labels", {}), **body["metadata"].get("annotations", {})})
        self._ask("label", f"{target['metadata']['name']} {keys}")
        return merged(target, body)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.held


async def carried_out(server: Server, backoff: Backoff | None = None, **decision: Any) -> ExecuteResult:
    pods = tuple({"kind": "Pod", "metadata": {"name": name, "uid": name}} for name in REVISIONS)
    observed = Observed(raw=RAW, resource=resource(), pods=pods)
    wanted = ReconcileDecision(status=None, reason="", now=NOW, **decision)
    return await execute(cast(Kube, server), observed, wanted, backoff or Backoff())


@pytest.mark.parametrize("error", [Missing(404, "gone"), ApiError(503, "overloaded")])
async def test_a_victim_that_cannot_be_marked_stops_no_scale_down(error: ApiError) -> None:
    server = Server(a=error)
    found = await carried_out(
        server, deletion_costs={"a": "-1", "b": "-1"}, apply=(child("Deployment", "now"),)
    )
    assert server.requests == ["annotate a", "annotate b", "create child"]
    assert (found.writes, found.error, found.unreported) == (2, None, ())


@pytest.mark.parametrize("error", [Forbidden(403, "denied by policy p"), Invalid(422, "denied by policy p")])
async def test_victims_that_may_not_be_marked_are_told(error: ApiError) -> None:
    """Busy pods were deleted before idle ones, and a line of the log was all that said why."""
    server = Server(a=error, b=error)
    found = await carried_out(server, deletion_costs=dict.fromkeys(REVISIONS, "-1"))
    assert server.requests == ["annotate a", "annotate b", "annotate c"]
    (problem,) = found.unreported
    assert problem.reason == "AdmissionDenied"
    assert "a change of a is refused" in problem.message
    assert "denied by policy p" in problem.message


@pytest.mark.parametrize("error", [Conflict(409, "denied"), Forbidden(403, "denied"), Invalid(422, "denied")])
async def test_a_refused_deletion_is_told_and_holds_up_no_other(error: ApiError) -> None:
    server = Server(b=error)
    unused = tuple(Reference(kind="Pod", name=name, uid=name) for name in REVISIONS)
    found = await carried_out(server, delete=unused)
    assert server.requests == ["delete a", "delete b", "delete c"]
    assert found.writes == 2
    assert [(item.kind, item.name, item.message) for item in found.refusals] == [("Pod", "b", "denied")]


async def test_a_long_pass_ends_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten workers that each deleted 5,000 pods of a user ended no reconcile for 300 s."""
    seconds = iter(range(0, 10_000, 25))
    monkeypatch.setattr("tacho_operator.shell.execute.time.monotonic", lambda: next(seconds))
    server = Server()
    unused = tuple(Reference(kind="Pod", name=name, uid=name) for name in REVISIONS)
    found = await carried_out(server, delete=unused)
    assert (server.requests, found.is_unfinished) == (["delete a", "delete b"], True)
    server.requests.clear()
    found = await carried_out(server, deletion_costs=dict.fromkeys(REVISIONS, "-1"), delete=unused)
    assert (server.requests, found.is_unfinished) == (["annotate a", "annotate b"], True)
    server.requests.clear()
    assert not (await carried_out(server, delete=unused[:2])).is_unfinished
    children = tuple({**child("ConfigMap", "now"), "kind": kind} for kind in ("Deployment", "Service", "Pod"))
    server.requests.clear()
    assert (await carried_out(server, apply=children)).is_unfinished
    assert server.requests == ["create child"] * 2


async def test_measured_probe_pods_are_deleted_for_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may make thousands, and a webhook may take seconds for each: the reconcile did not end."""
    seconds = iter(range(0, 10_000, 25))
    monkeypatch.setattr("tacho_operator.shell.execute.time.monotonic", lambda: next(seconds))
    server = Server()
    unused = tuple(Reference(kind="Pod", name=name, uid=name) for name in REVISIONS)
    await delete_pods(cast(Kube, server), Observed(raw=RAW, resource=resource()), unused)
    assert server.requests == ["delete a", "delete b"]


async def test_a_deletion_without_an_answer_ends_the_reconcile() -> None:
    error = ApiError(503, "overloaded")
    server = Server(b=error)
    unused = tuple(Reference(kind="Pod", name=name, uid=name) for name in REVISIONS)
    found = await carried_out(server, delete=unused)
    assert server.requests == ["delete a", "delete b"]
    assert found.error is error
    assert found.unanswered is not None
    assert found.unanswered.name == "b"


async def test_an_object_that_went_after_it_was_in_the_way_is_made_next_time() -> None:
    """No event may tell that it is due: of a hidden one, or where a quota was changed at that moment."""
    found = await carried_out(Server(child=Conflict(409, "exists")), apply=(child("ConfigMap", "now"),))
    assert found.refusals == ()
    assert found.error is not None, "the queue tries again"
    assert not isinstance(found.error, Conflict)


async def test_the_status_of_a_resource_that_went_is_not_missed() -> None:
    gone = cast(Kube, Server(demo=Missing(404, "gone")))
    assert not await write_status(gone, RAW, LLMDeploymentStatus(replicas=1))


OTHERS = {"type": "Audited", "status": "True"}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        found[key] = merged(found.get(key), value)
    return {key: value for key, value in found.items() if value is not None}


READY = Condition(
    type="Ready", status="True", reason="Serving", message="m", last_transition_time="2026-11-20T08:00:00Z"
)
STATUS = LLMDeploymentStatus(replicas=1, summary=Summary(ttft_milliseconds="3"), conditions=[READY])


async def test_a_status_that_only_has_conditions_of_others_more_is_not_written() -> None:
    server = Server(demo=ApiError(500, "a write"))
    stored = {**STATUS.to_wire(), "conditions": [OTHERS, READY.to_wire()]}
    assert not await write_status(cast(Kube, server), {**RAW, "status": stored}, STATUS)


async def test_a_pod_that_is_made_without_its_labels_gets_them_at_once() -> None:
    """No watch brought it: its resource waited until the next periodic reconcile."""

    class Hiding(Server):
        async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
            await super().create(manifest)
            return {**manifest, "metadata": {**manifest["metadata"], "uid": "made", "labels": {}}}

    server = Hiding()
    wanted = child("Pod", "now", labels={ROLE_LABEL: "inspect"})
    done = await carried_out(server, apply=(wanted,))
    assert server.requests == ["create child", f"label child {[ROLE_LABEL]}"]
    assert (done.writes, done.refusals) == (2, ())


@pytest.mark.parametrize(("uid", "fails"), [("new", False), ("old", True)])
async def test_a_change_of_a_child_that_was_replaced_meanwhile_is_no_conflict(uid: str, fails: bool) -> None:
    """An object that others change all the time is refused with 409 too: its name was told as taken, and a
    Service that served as one that leads nowhere.
    """
    server = Server(child=Conflict(409, "uid mismatch"))
    server.held = child("ConfigMap", "now", uid=uid)
    observed = Observed(
        raw=RAW, resource=cast(Any, None), config_maps=(child("ConfigMap", "now", uid="old"),)
    )
    wanted = {**child("ConfigMap", "now"), "data": {"a": "1"}}
    decision = ReconcileDecision(status=None, reason="", now=NOW, apply=(wanted,))
    found = await execute(cast(Kube, server), observed, decision, Backoff())
    assert found.refusals == (), "the name is not taken"
    assert bool(found.error) is fails


async def collided(held: dict[str, Any], desired: dict[str, Any]) -> tuple[list[str], ExecuteResult]:
    """Creates a child whose name is taken by ``held``."""
    server = Server(create=Conflict(409, "already exists"))
    server.held = held
    found = await carried_out(server, apply=(desired,))
    return server.requests, found


@pytest.mark.parametrize("kind", ["ConfigMap", "Service", "Deployment", "Pod", "ControllerRevision"])
async def test_a_child_of_a_deleted_resource_is_awaited_and_named(kind: str) -> None:
    requests, found = await collided(child(kind, "former", uid="old"), child(kind, "now"))
    assert requests == ["create child"]
    assert isinstance(found.error, NotCollected)
    assert found.unanswered is not None
    assert "of a deleted resource is not garbage-collected yet" in found.unanswered.message


async def test_a_finalizer_that_keeps_a_child_of_a_deleted_resource_is_named() -> None:
    """Reconciling said Retrying for ever, and nothing said whom to ask."""
    kept = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/late"]}
    _, found = await collided(child("ConfigMap", "former", uid="old", **kept), child("ConfigMap", "now"))
    assert found.unanswered is not None
    assert found.unanswered.message.endswith("yet: finalizers keep it: example.com/late")


async def test_another_owners_object_is_never_written_over() -> None:
    held = child("ConfigMap", "former", uid="old")
    held["metadata"]["ownerReferences"][0]["name"] = "other"
    requests, found = await collided(held, child("ConfigMap", "now"))
    assert requests == ["create child"]
    assert [(refusal.taken, refusal.unowned) for refusal in found.refusals] == [(True, False)]


async def test_an_own_child_that_the_store_does_not_have_is_written_over() -> None:
    desired = {**child("Service", "now"), "spec": {"selector": {"app": "ours"}}}
    live = {**desired, "metadata": {**desired["metadata"], "uid": "live"}}
    requests, done = await collided(live, desired)
    assert (requests, done.writes) == (["create child"], 0), "the store is late"
    requests, done = await collided({**live, "spec": {"selector": {"app": "theirs"}}}, desired)
    assert (requests, done.writes, done.refusals) == (["create child", "apply child"], 1, ())


async def test_a_pod_whose_labels_were_taken_gets_them_again() -> None:
    """It was awaited for ever: a create found its own pod, and no watch had it."""
    desired = child("Pod", "now", labels={DEPLOYMENT_LABEL: "demo", ROLE_LABEL: "inspect"})
    requests, found = await collided(child("Pod", "now", uid="live"), desired)
    assert requests == ["create child", f"label child {[DEPLOYMENT_LABEL, ROLE_LABEL]}"]
    assert (found.writes, found.refusals) == (1, ())
    requests, found = await collided(
        child("Pod", "now", uid="live", labels=desired["metadata"]["labels"]), desired
    )
    assert (requests, found.writes) == (["create child"], 0), "the store is late"
    server = Server()
    held = child("Pod", "now", uid="live", labels={DEPLOYMENT_LABEL: "demo"})
    observed = Observed(raw=RAW, resource=resource(), pods=(held,))
    decision = ReconcileDecision(status=None, reason="", now=NOW, apply=(desired,))
    await execute(cast(Kube, server), observed, decision, Backoff())
    assert server.requests == [f"label child {[ROLE_LABEL]}"]
    replaced = Server(**{f"child {[ROLE_LABEL]}": Conflict(409, "uid mismatch")})
    found = await execute(cast(Kube, replaced), observed, decision, Backoff())
    assert (found.refusals, found.error is not None) == ((), True), "its name is not taken"
