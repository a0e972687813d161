"""What is read off the children: who serves, how large Deployments are, what is wrong with a revision."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_contract.fetch import FetchProgress
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.pods.diagnosis import CONDITIONS
from tacho_operator.core.pods.view import PodView, deployment_sizes
from tacho_operator.core.rollout.reading import (
    live_pods,
    lost_nodes,
    read_serving,
    recent_disruption,
    revision_problem,
    schedule_timeout_seconds,
)
from tacho_operator.core.rollout.record import Serving
from tacho_operator.core.status.condition_value import ConditionValue
from tacho_operator.core.types import NodeFacts, Observed
from tools.harness.documents import plain_report
from tools.harness.resources import CLAIM_SPEC, NOW, at, changed, raw_resource, resource

CRASHED = {"name": "engine", "restartCount": 1, "state": {"terminated": {"exitCode": 3, "message": "oh"}}}
READY = {"type": "Ready", "status": "True"}


def pod(name: str = "p", revision: str = "r", deleted: bool = False, **status: Any) -> PodView:
    metadata: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "creationTimestamp": at(-100),
        "labels": names.server_selector("smol", revision),
    }
    if deleted:
        metadata["deletionTimestamp"] = at(0)
    return PodView({"metadata": metadata, "status": status})


def unscheduled() -> PodView:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "no room"}])


def observed(found: LLMDeployment | None = None, **fields: Any) -> Observed:
    return Observed(**{"resource": found or resource(), "raw": {}, **fields})


def problem(
    *pods: PodView, desired: int = 1, lost: tuple[str, ...] = (), seen: Observed | None = None
) -> str | None:
    found = revision_problem(seen or observed(), "r", pods=pods, desired=desired, lost=lost, now=NOW)
    return found and found.reason


def test_what_is_wrong_with_a_revision_concerns_its_own_pods_while_it_lacks_some() -> None:
    crashed, ready = pod(containerStatuses=[CRASHED]), pod("q", podIP="10.0.0.1", conditions=[READY])
    assert problem(crashed) == "EngineCrashed"
    assert problem(crashed, ready, desired=2) == "EngineCrashed"
    assert problem(crashed, ready, desired=1) is None, "it has what it wants"
    assert problem(pod(revision="other", containerStatuses=[CRASHED])) is None
    assert problem(pod(deleted=True, containerStatuses=[CRASHED])) is None
    assert problem() is None


def test_a_pod_that_failed_tells_something_only_while_nothing_took_its_place() -> None:
    failed = pod(phase="Failed", reason="Evicted")
    assert problem(failed) == "Evicted"
    assert problem(failed, pod("q", phase="Pending")) is None


@pytest.mark.parametrize("why", ["PreemptionByScheduler", "DeletionByTaintManager"])
def test_a_successor_without_a_node_says_why_its_predecessor_leaves(why: str) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": why}
    leaving, waits = pod("r-1-a", deleted=True, conditions=[condition]), unscheduled()
    other = pod("other-1-a", deleted=True, conditions=[condition], revision="other")

    def message(*pods: PodView) -> str:
        found = revision_problem(observed(resource()), "r", pods=pods, desired=1, lost=(), now=NOW)
        assert found is not None
        assert found.reason == "Unschedulable"
        return ConditionValue.of("False", found).message

    assert f"Details: The cluster evicted pod r-1-a: {CONDITIONS[why]}. no room" in message(leaving, waits)
    assert "evicted" not in message(waits)
    assert "evicted" not in message(other, waits)


@pytest.mark.parametrize(("seconds", "blamed"), [(0, "Evicted"), (119, "Evicted"), (121, None), (-500, None)])
def test_what_the_cluster_took_a_pod_for_explains_a_fall_for_a_while(
    seconds: float, blamed: str | None
) -> None:
    since = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    gone = pod(phase="Failed", conditions=[{**since, "lastTransitionTime": at(-seconds)}])
    found = recent_disruption([gone, pod("q", phase="Pending")], "r", NOW)
    assert (found and found.reason) == blamed
    assert recent_disruption([gone], "other", NOW) is None


def test_only_pods_that_run_or_will_run_are_alive() -> None:
    pods = [
        pod("a", phase="Running"),
        pod("b"),
        pod("c", phase="Failed"),
        pod("d", phase="Succeeded"),
        pod("e", deleted=True),
    ]
    assert [item.name for item in live_pods(pods)] == ["a", "b"]


def test_a_download_that_runs_again_is_no_problem() -> None:
    fetching = pod(
        initContainerStatuses=[
            {
                "name": "fetch",
                "state": {"running": {"startedAt": at(-5)}},
                "lastState": {"terminated": {"exitCode": 1, "message": "cut off"}},
            }
        ]
    )
    report = plain_report(
        phase="WaitingForModel", observed_time=at(0), fetch=FetchProgress(state="Downloading")
    )
    assert problem(fetching) == "EngineCrashed"
    assert problem(fetching, seen=observed(reports={fetching.uid: report})) is None


@pytest.mark.parametrize(("limit", "seconds", "person"), [(None, 600, False), (60, 60, True)])
def test_the_spec_says_how_long_a_pod_may_wait_for_a_node(
    limit: int | None, seconds: int, person: bool
) -> None:
    spec = changed(CLAIM_SPEC, rollout={"scheduleTimeoutSeconds": limit} if limit else None)
    assert schedule_timeout_seconds(resource(spec)) == seconds
    found = revision_problem(observed(resource(spec)), "r", pods=[unscheduled()], desired=1, lost=(), now=NOW)
    assert found is not None
    assert found.needs_user_action == person, "the pod has waited for 100 s"


def test_a_refused_pod_is_named_before_anything_else() -> None:
    refused = {
        "metadata": {"name": "r-1", "labels": {"tacho.dev/revision": "r"}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]},
    }
    assert (
        problem(pod(containerStatuses=[CRASHED]), seen=observed(replica_sets=(refused,))) == "QuotaExceeded"
    )


def test_deployments_count_with_their_size_until_they_are_on_their_way_out() -> None:
    gone = {"metadata": {"name": "c", "deletionTimestamp": at(0)}, "spec": {"replicas": 2}}
    bare: dict[str, Any] = {"metadata": {"name": "b"}}
    whole = {"metadata": {"name": "a"}, "spec": {"replicas": 3}}
    assert deployment_sizes([whole, bare, gone]) == {"a": 3, "b": 1}, "the API server's default is 1"


def test_lost_nodes_are_those_that_are_not_ready() -> None:
    up, down = (
        NodeFacts(name=name, labels={}, allocatable={}, ready=name == "up") for name in ("up", "down")
    )
    assert lost_nodes((up, down)) == {"down"}
    assert lost_nodes(None) == frozenset()


def test_without_a_service_the_status_knows_who_was_active() -> None:
    former = [{"name": "smol-1", "phase": "Retired"}, {"name": "smol-2", "phase": "Active"}]
    found = LLMDeployment.read(raw_resource(status={"revisions": former}))
    other = {"metadata": {"name": "somebody-elses"}, "spec": {}}
    assert read_serving(observed(found, services=(other,))) == Serving(active="smol-2")
    mine = {"metadata": {"name": "smol"}, "spec": {}}
    assert read_serving(observed(found, services=(other, mine))) == Serving(active="smol-2", exists=True)
    noted = dataclasses.replace(Serving(active="smol-1", exists=True))
    mine["metadata"] |= {"annotations": noted.annotations()}
    assert read_serving(observed(found, services=(mine,))) == noted
