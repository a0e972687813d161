"""Rollouts under arbitrary weather: pods come, fall and are replaced, users change their minds, and the
operator is late, or is killed between any two of its writes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tacho_contract.units import format_time
from tacho_operator.core.rollout.decision import PodCount, Rollout, RolloutInput, next_step
from tacho_operator.core.rollout.record import LONGEST_PAUSE_SECONDS, MIN_READY_SECONDS, Gating, Serving
from tests.properties import examples
from tools.harness.resources import NOW

REVISIONS = ("a", "b", "c")
TURNS = st.sampled_from((1, 1, 2, 0))
"""Of the operator, after something has changed."""


@dataclass
class Cluster:
    """A Service, Deployments and their pods, of which only this counts: since when each is ready."""

    desired: str = "a"
    replicas: int = 1
    surge: int = 1
    now: datetime = NOW
    serving: Serving = field(default_factory=Serving)
    deployments: dict[str, list[datetime | None]] = field(default_factory=dict)
    gating: Gating = field(default_factory=Gating)

    def available(self, name: str) -> int:
        pods = self.deployments.get(name, ())
        return sum(since is not None and self.age(since) >= MIN_READY_SECONDS for since in pods)

    def ready(self, name: str) -> int:
        return sum(since is not None for since in self.deployments.get(name, ()))

    def age(self, since: datetime) -> float:
        return (self.now - since).total_seconds()

    def standing(self) -> RolloutInput:
        return RolloutInput(
            desired=self.desired,
            known=REVISIONS,
            replicas=self.replicas,
            surge=self.surge,
            pods={
                name: PodCount(ready=self.ready(name), available=self.available(name))
                for name in self.deployments
            },
            deployments={name: len(pods) for name, pods in self.deployments.items()},
            serving=self.serving,
            gating=self.gating,
            now=self.now,
        )

    def reached(self, serving: Serving) -> list[str]:
        """The Deployments that ``serving`` sends requests to."""
        return [name for name in self.deployments if serving.exists and serving.selected in ("", name)]

    def resize(self, name: str, size: int) -> None:
        """What a ReplicaSet does: pods that are not ready go first, then those that were ready last."""
        pods = sorted(self.deployments.get(name, ()), key=lambda since: (since is None, since or NOW))
        self.deployments[name] = [*pods[:size], *[None] * (size - len(pods))]

    def writes(self, step: Rollout) -> list[tuple[str, int | Serving]]:
        """In the order in which they are executed."""
        service = [("service", replace(step.serving, exists=True))] if step.replicas else []
        return [*service, *step.replicas.items(), *((name, -1) for name in step.drop)]

    def write(self, name: str, value: int | Serving) -> None:
        if isinstance(value, Serving):
            self.serving = value
        elif value < 0:
            self.deployments.pop(name, None)
        else:
            self.resize(name, value)

    @property
    def size(self) -> int:
        return sum(len(pods) for pods in self.deployments.values())

    def reconcile(self) -> Rollout:
        """One decision, checked and carried out."""
        step = next_step(self.standing())
        check(self, step)
        for name, value in self.writes(step):
            before = self.size
            self.write(name, value)
            assert self.size <= max(before, self.replicas + self.surge), "the fleet grows beyond its surge"
        return step


def check(cluster: Cluster, step: Rollout) -> None:
    """What holds for every decision, whatever came before it."""
    if not cluster.replicas:
        return
    kept = {name: size for name, size in step.replicas.items() if size}
    assert not set(kept) & set(step.drop)
    assert all(size <= cluster.replicas for size in kept.values())
    available = {name: cluster.available(name) for name in cluster.deployments}
    reached = [name for name in cluster.reached(replace(step.serving, exists=True)) if name in kept]
    if any(available.values()):
        assert any(available[name] for name in kept if name in available), "the last ones that serve go"
        assert any(cluster.ready(name) for name in reached), "requests reach nobody"
    # What the gate refuses is no capacity beside an active revision that has some.
    refused = step.rejected if available.get(step.active) else ""
    assert refused not in kept, "a rejected revision goes on"
    before = sum(available[name] for name in cluster.reached(cluster.serving) if name != refused)
    after = sum(min(available[name], kept[name]) for name in reached)
    assert after >= min(cluster.replicas, before), "capacity is given away"
    old = cluster.serving.active
    if old in step.drop and available.get(old):
        assert any(available.get(name, 0) >= cluster.replicas for name in kept), "nobody takes its place"


class Weather(RuleBasedStateMachine):
    """The operator decides on what there is; what it decided is carried out later, partly or never."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.pending: list[tuple[str, int | Serving]] = []

    @initialize(replicas=st.integers(1, 4), surge=st.integers(1, 5), begun=st.booleans())
    def something_serves(self, replicas: int, surge: int, begun: bool) -> None:
        self.cluster = serving_a(replicas) if begun else Cluster(replicas=replicas)
        self.cluster.desired, self.cluster.surge = "b", surge

    @rule(
        desired=st.sampled_from((*REVISIONS, "b", "c", "", None)),
        replicas=st.sampled_from((None, None, None, 0, 1, 2, 3, 4)),
        service=st.sampled_from(("stays", "stays", "deleted", "deleted with the status")),
    )
    def somebody_interferes(self, desired: str | None, replicas: int | None, service: str) -> None:
        cluster = self.cluster
        cluster.desired = cluster.desired if desired is None else desired
        cluster.replicas = cluster.replicas if replicas is None else replicas
        if service != "stays":
            cluster.serving = Serving(active=cluster.serving.active if service == "deleted" else "")

    @rule(number=st.integers(0, 11), ready=st.booleans(), turns=TURNS)
    def a_pod_changes(self, number: int, ready: bool, turns: int) -> None:
        places = [(pods, at) for pods in self.cluster.deployments.values() for at in range(len(pods))]
        if places:
            pods, at = places[number % len(places)]
            pods[at] = (pods[at] or self.cluster.now) if ready else None
        self.works(turns)

    @rule(who=st.sampled_from(("desired", "active", *REVISIONS)), ready=st.booleans(), turns=TURNS)
    def all_pods_of_a_revision_change(self, who: str, ready: bool, turns: int) -> None:
        names = {"desired": self.cluster.desired, "active": self.cluster.serving.active}
        pods = self.cluster.deployments.get(names.get(who, who), [])
        pods[:] = [(since or self.cluster.now) if ready else None for since in pods]
        self.works(turns)

    @rule(
        says=st.sampled_from(("admits", "waits", "rejects")),
        awaits=st.sampled_from(("", "", *REVISIONS)),
        turns=TURNS,
    )
    def the_gate_says(self, says: str, awaits: str, turns: int) -> None:
        # It awaits a revision only while none serves, and there are to be replicas (gate/first.py).
        awaits = "" if self.cluster.standing().active or awaits == self.cluster.desired else awaits
        rejects = says == "rejects" and not awaits
        self.cluster.gating = Gating(admits=says == "admits", rejects=rejects, awaits=awaits)
        self.works(turns)

    @rule(seconds=st.sampled_from((1, 9, 10, 31, 61)), turns=TURNS)
    def time_passes(self, seconds: int, turns: int) -> None:
        self.cluster.now += timedelta(seconds=seconds)
        self.works(turns)

    @rule(turns=st.integers(1, 4))
    def all_goes_well(self, turns: int) -> None:
        for _ in range(turns):
            self.works(1)
            self.all_get_ready()
            self.cluster.now += timedelta(seconds=5)

    @rule(count=st.integers(0, 4))
    def the_operator_decides(self, count: int) -> None:
        """And is killed, or comes late, after ``count`` writes."""
        step = next_step(self.cluster.standing())
        check(self.cluster, step)
        self.pending = self.cluster.writes(step)
        self.it_writes(count)

    @rule(count=st.integers(1, 4))
    def it_writes(self, count: int) -> None:
        for name, value in self.pending[:count]:
            self.cluster.write(name, value)
        self.pending = self.pending[count:]

    def works(self, turns: int) -> None:
        for _ in range(turns):
            self.cluster.reconcile()

    def all_get_ready(self) -> None:
        for pods in self.cluster.deployments.values():
            pods[:] = [since or self.cluster.now for since in pods]

    def teardown(self) -> None:
        """Whatever has happened: with pods that get ready it ends with the desired revision alone."""
        cluster = self.cluster
        cluster.desired, cluster.replicas = cluster.desired or "a", max(1, cluster.replicas)
        cluster.gating = Gating()
        ended = cluster.now + timedelta(seconds=LONGEST_PAUSE_SECONDS + 600)
        while cluster.now < ended:
            cluster.reconcile()
            self.all_get_ready()
            cluster.now += timedelta(seconds=20)
        step = cluster.reconcile()
        assert {name: len(pods) for name, pods in cluster.deployments.items()} == {
            cluster.desired: cluster.replicas
        }
        assert cluster.serving == Serving(
            active=cluster.desired,
            selected=cluster.desired,
            switched_time=cluster.serving.switched_time,
            exists=True,
        )
        assert (step.candidate, step.requeue_after_seconds, step.settling) == ("", None, False)


TestWeather = Weather.TestCase
TestWeather.settings = settings(examples(1.5), stateful_step_count=40)


def serving_a(replicas: int) -> Cluster:
    cluster = Cluster(replicas=replicas)
    for _ in range(3):
        cluster.reconcile()
        cluster.deployments["a"] = [since or cluster.now for since in cluster.deployments["a"]]
        cluster.now += timedelta(seconds=20)
    assert cluster.serving.selected == "a"
    return cluster


@pytest.mark.parametrize("surge", [1, 3, 10, 12])
@pytest.mark.parametrize("falls", [False, True])
@pytest.mark.parametrize("replicas", [10, 5, 20])
def test_a_change_at_ten_replicas_stays_within_its_surge(surge: int, falls: bool, replicas: int) -> None:
    """Also if the new revision falls half way, and if replicas change then."""
    cluster = serving_a(10)
    cluster.desired, cluster.surge = "b", surge
    sizes: list[int] = []
    for turn in range(60):
        cluster.reconcile()
        sizes.append(cluster.size)
        down = falls and turn in (4, 5)
        for name, pods in cluster.deployments.items():
            pods[:] = [None if down and name == "b" else since or cluster.now for since in pods]
        if turn == 6:
            cluster.replicas = replicas
        elif turn < 6:
            assert sum(map(cluster.available, cluster.deployments)) >= 10 or down
        cluster.now += timedelta(seconds=20)
    assert max(sizes) <= max(10, replicas) + surge
    assert {name: len(pods) for name, pods in cluster.deployments.items()} == {"b": replicas}


@pytest.mark.parametrize("replicas", [1, 4])
def test_old_pods_that_never_get_ready_leave_room_for_a_third_revision(replicas: int) -> None:
    """b has all pods that are ready, and the room is full."""
    cluster = serving_a(replicas)
    cluster.deployments = {"a": [None], "b": [cluster.now] * replicas}
    cluster.serving = replace(cluster.serving, selected="", admitted="b")
    cluster.desired = "c"
    for _ in range(40):
        cluster.now += timedelta(seconds=20)
        cluster.reconcile()
        for name, pods in cluster.deployments.items():
            pods[:] = [since or (cluster.now if name == "c" else None) for since in pods]
        assert sum(map(cluster.available, cluster.deployments)) >= replicas
        assert cluster.size <= replicas + 1
    assert {name: len(pods) for name, pods in cluster.deployments.items()} == {"c": replicas}


@pytest.mark.parametrize(("age_seconds", "replicas"), [(3, 1), (15, 1), (15, 3), (35, 1)])
def test_one_that_always_falls_is_tried_more_and_more_seldom(age_seconds: int, replicas: int) -> None:
    """Its pods live for ``age_seconds`` and are ready again three seconds later."""
    cluster = serving_a(replicas)
    cluster.desired = "b"
    tries: list[datetime] = []
    for second in range(4 * 3600):
        cluster.now += timedelta(seconds=1)
        for name, pods in cluster.deployments.items():
            up = name == "a" or second % (age_seconds + 3) < age_seconds
            pods[:] = [(since or cluster.now) if up else None for since in pods]
        step = cluster.reconcile()
        assert len(cluster.deployments["a"]) >= 1
        assert step.serving.selected in ("", "a")
        if step.serving.admitted and step.serving.switched_time == format_time(cluster.now):
            tries.append(cluster.now)
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(tries)]
    if age_seconds < MIN_READY_SECONDS:
        assert not tries
        return
    assert 7 <= len(tries) <= 10, pauses
    assert all(later >= 1.5 * earlier for earlier, later in itertools.pairwise(pauses[:6])), pauses
    assert max(pauses) <= LONGEST_PAUSE_SECONDS + 120
    assert len(cluster.deployments["a"]) == replicas
