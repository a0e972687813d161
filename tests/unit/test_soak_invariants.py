"""The soak's invariants over synthetic observations, and that each planted fault is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.nightly.soak.invariants import (
    COLLECTION_SECONDS,
    INVARIANTS,
    LONGEST_COLLECTION_SECONDS,
    LONGEST_RETRY_SECONDS,
    PLANTS,
    RECONCILE_SECONDS,
    SETTLED_SECONDS,
    Recording,
    Resource,
    Snapshot,
    Write,
    settling_end,
    unimpeded_seconds,
    violations,
)
from tests.nightly.soak.observer import CHILDREN, endpoints, orphans, resource_of, retry_of, write_of
from tools.harness.operating import OPERATOR_USER

SERVING = Resource(
    name="a/valid",
    uid="1",
    current=True,
    ready=True,
    stalled=False,
    reconciling=False,
    reason="",
    endpoints=1,
)
REFUSED = replace(SERVING, name="a/invalid", uid="2", stalled=True)
PERIOD_SECONDS = 2.0


def recorded(*changes: tuple[float, float, dict[str, Any]], **more: Any) -> Recording:
    """Two resources for 200 s, events until second 130; each change holds from one second to another, for
    the first resource and for ``orphans``."""
    snapshots = []
    for number in range(1, 101):
        at = number * PERIOD_SECONDS
        fields: dict[str, Any] = {}
        for start, end, change in changes:
            fields |= change if start <= at < end else {}
        orphaned = fields.pop("orphans", ())
        found = (replace(SERVING, **fields), REFUSED)
        snapshots.append(Snapshot(at=at, resources=found, orphans=orphaned))
    values: dict[str, Any] = {
        "snapshots": tuple(snapshots),
        "writes": (Write(at=20.0, pod="one", target="x"), Write(at=121.0, pod="two", target="x")),
        "lease": tuple(Write(at=at, pod=pod, target="leases") for at, pod in LEASE),
        "impeded": (),
        "events_end": 130.0,
        "valid": {"a/valid": True, "a/invalid": False},
    }
    return Recording(**(values | more))


LEASE = ((1.0, "one"), (119.0, "one"), (120.0, "two"), (122.0, "two"))


def test_nothing_is_found_where_all_is_well() -> None:
    assert violations(recorded()) == {}


@pytest.mark.parametrize("name", INVARIANTS)
def test_a_planted_fault_is_found_by_its_invariant(name: str) -> None:
    assert set(PLANTS) == set(INVARIANTS)
    assert name in violations(PLANTS[name](recorded()))


NO_ENDPOINT, ORPHANED = {"endpoints": 0}, {"orphans": ("ConfigMap a/b",)}


@pytest.mark.parametrize(
    ("name", "change", "bound_seconds"),
    [
        ("ready-without-endpoint", NO_ENDPOINT, RECONCILE_SECONDS),
        ("child-without-owner", ORPHANED, COLLECTION_SECONDS),
    ],
)
def test_what_lasts_beyond_its_bound_is_found(name: str, change: Any, bound_seconds: float) -> None:
    long = (10.0, 10.0 + bound_seconds + 2 * PERIOD_SECONDS, change)
    short = (10.0, 10.0 + bound_seconds, change)
    assert set(violations(recorded(long))) == {name}
    assert violations(recorded(short)) == {}
    assert violations(recorded(long, impeded=((12.0, 20.0),))) == {}, "it was impeded meanwhile"
    twice = (short, (short[1] + PERIOD_SECONDS, short[1] + bound_seconds, change))
    assert violations(recorded(*twice)) == {}, "it was well in between"


@pytest.mark.parametrize("more", [0.0, PERIOD_SECONDS])
def test_kubernetes_collects_later_what_no_operator_takes_over(more: float) -> None:
    ends = (10.0, 10.0 + LONGEST_COLLECTION_SECONDS + more)
    seen = tuple(Snapshot(at=at, resources=(), orphans=(), uncollected=("Pod a/b",)) for at in ends)
    found = violations(recorded(snapshots=(*seen, *recorded().snapshots))).get("child-without-owner", [])
    assert found == ([f"Pod a/b for {ends[1] - 10:.0f} s since 00:00:10Z"] if more else [])


@pytest.mark.parametrize(
    ("at", "pod", "found"),
    [
        (20.0, "two", True), (119.0, "two", True), (121.0, "two", False),
        (121.0, "one", False), (122.5, "one", True), (0.5, "one", True),
    ],
)  # fmt: skip
def test_a_write_without_the_lease_is_found(at: float, pod: str, found: bool) -> None:
    recording = recorded(writes=(Write(at=at, pod=pod, target="x"),))
    assert bool(violations(recording)) == found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"current": False}, True), ({"reconciling": True}, True),
        ({"ready": False}, True), (NO_ENDPOINT, True), ({}, False),
    ],
)  # fmt: skip
def test_what_is_not_settled_in_time_is_found(change: dict[str, Any], found: bool) -> None:
    end = 130.0 + SETTLED_SECONDS
    late = recorded((end - 2 * PERIOD_SECONDS, end + 1, change))
    assert ("unsettled" in violations(late)) == found
    assert violations(recorded((130.0, end - 40, change), impeded=((0.0, 200.0),))) == {}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, False), ({"retry_at": 0.0}, True), ({"ready": False}, True),
        ({"retry_at": 130.0 + 2 * LONGEST_RETRY_SECONDS}, True),
    ],
)  # fmt: skip
def test_a_pausing_rollout_has_its_time_after_the_retry(more: dict[str, Any], found: bool) -> None:
    pausing = {"reconciling": True, "retry_at": 140.0 + SETTLED_SECONDS, **more}
    early = replace(recorded((130.0, 202.0, pausing)), events_end=130.0)
    assert settling_end(recorded()) == 130.0 + SETTLED_SECONDS
    settled = Snapshot(at=139.0 + 2 * SETTLED_SECONDS, resources=(SERVING, REFUSED), orphans=())
    recording = replace(early, snapshots=(*early.snapshots, settled))
    assert ("unsettled" in violations(recording)) == found
    never = replace(settled, resources=(replace(SERVING, **pausing), REFUSED))
    assert "unsettled" in violations(replace(early, snapshots=(*early.snapshots, never)))


@pytest.mark.parametrize("retry_at", [129.0, 175.0])
def test_a_retry_that_began_as_the_time_ended_is_waited_for_too(retry_at: float) -> None:
    """What the candidate replaces is deleted half a minute later: until then the rollout goes on."""
    end = 130.0 + SETTLED_SECONDS
    pausing, retried = (
        replace(SERVING, reconciling=True, retry_at=retry_at),
        replace(SERVING, reconciling=True),
    )
    moments = ((135.0, pausing), (end - 5, retried), (end + 30, SERVING))
    snapshots = tuple(Snapshot(at=at, resources=(item, REFUSED), orphans=()) for at, item in moments)
    recording = replace(recorded(), events_end=130.0, snapshots=(*recorded().snapshots, *snapshots))
    assert ("unsettled" in violations(recording)) == (retry_at < recording.events_end)
    still = replace(snapshots[-1], resources=(retried, REFUSED))
    assert "unsettled" in violations(replace(recording, snapshots=(*recording.snapshots, still)))


def test_the_time_of_a_retry_is_read_from_what_the_status_says() -> None:
    said = "Candidate a lost readiness; the active revision serves. Retry after 1970-01-01T00:01:00Z."
    assert retry_of(said) == 60.0
    assert retry_of("Revision a serves.") == 0.0


def test_a_resource_that_is_not_observed_is_not_settled() -> None:
    assert "unsettled" in violations(recorded(valid={"a/other": True}))
    ended = recorded(events_end=250.0)
    assert "unsettled" in violations(ended), "no snapshot is of the time after the events"


def test_an_invalid_spec_is_settled_once_it_is_stalled() -> None:
    assert "unsettled" in violations(recorded(valid={"a/valid": False}))


def test_impeded_time_counts_once() -> None:
    assert unimpeded_seconds(10.0, 20.0, [(0.0, 12.0), (11.0, 13.0), (18.0, 30.0)]) == 5.0
    assert unimpeded_seconds(10.0, 20.0, [(30.0, 40.0)]) == 10.0


def metadata(
    name: str, uid: str, owner: str = "", kind: str = "LLMDeployment", **more: Any
) -> dict[str, Any]:
    owners = [{"uid": owner, "kind": kind, "name": owner, "controller": True}] if owner else []
    return {"namespace": "a", "name": name, "uid": uid, "ownerReferences": owners, **more}


def test_children_whose_controller_does_not_exist() -> None:
    children: dict[str, list[Any]] = {plural: [] for plurals in CHILDREN.values() for plural in plurals}
    children["deployments"] = [{"metadata": metadata("own", "d", "1")}]
    children["pods"] = [
        {"metadata": metadata("own", "p", "d", "Deployment")},
        {"metadata": metadata("collected later", "t", "gone", "ReplicaSet")},
        {"metadata": metadata("lost", "q", "now")},
        {"metadata": metadata("uncollected", "u", "gone")},
        {"metadata": metadata("bare", "b")},
        {"metadata": metadata("ending", "r", "gone", deletionTimestamp="now")},
        {"metadata": metadata("foreign", "s", annotations={"soak/foreign": "true"})},
    ]
    succeeded, uncollected = orphans(children, [{"metadata": metadata("now", "1")}])
    assert [line.split(" of ")[0] for line in succeeded] == ["pods a/lost q", "pods a/bare b"]
    assert [line.split(" of ")[0] for line in uncollected] == ["pods a/uncollected u"]


def test_endpoints_are_ready_pods_that_the_service_selects() -> None:
    item = {"metadata": metadata("m", "1", generation=3), "status": {"observedGeneration": 3}}
    services = [{"metadata": metadata("m", "2"), "spec": {"selector": {"x": "y"}}}]
    unaddressed = {"conditions": [{"type": "Ready", "status": "True"}]}
    ready = {**unaddressed, "podIP": "10.0.0.1"}
    pods = [
        {"metadata": metadata("own", "3", labels={"x": "y", "z": "z"}), "spec": {}, "status": ready},
        {"metadata": metadata("other", "4", labels={"x": "z"}), "spec": {}, "status": ready},
        {"metadata": metadata("unready", "5", labels={"x": "y"}), "spec": {}, "status": {}},
        {"metadata": metadata("unaddressed", "7", labels={"x": "y"}), "spec": {}, "status": unaddressed},
        {"metadata": metadata("real", "6", labels={"x": "y"}), "spec": {"nodeName": "n"}, "status": ready},
    ]
    assert endpoints(item, services, pods) == 2
    found = resource_of(item, 2)
    assert (found.name, found.current, found.ready) == ("a/m", True, False)


def test_only_accepted_writes_of_operators_count() -> None:
    event = {
        "user": {"username": OPERATOR_USER, "extra": {"authentication.kubernetes.io/pod-name": ["one"]}},
        "verb": "patch",
        "requestURI": "/apis/x",
        "requestReceivedTimestamp": "2026-01-01T00:00:00.500000Z",
        "responseStatus": {"code": 200},
        "objectRef": {"resource": "pods", "namespace": "a", "name": "b", "subresource": "status"},
    }
    assert write_of(event) == Write(at=1767225600.5, pod="one", target="pods a/b/status")
    for change in (
        {"verb": "get"},
        {"responseStatus": {"code": 403}},
        {"requestURI": "/apis/x?dryRun=All"},
        {"user": {"username": "system:admin"}},
        {"user": {}},  # of an API server that does not know the token yet
        {"objectRef": {"resource": "events"}},
    ):
        assert write_of(event | change) is None
