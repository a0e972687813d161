"""The line before probe pods: how many start at once, who is next, and what gives a turn back."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from tacho_operator.core import names
from tacho_operator.core.types import Observed, ReconcileDecision
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import NOW, at
from tools.harness.world import World

OBSERVED = World().observed()
PROBE: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "uid": "p",
        "labels": {names.ROLE_LABEL: names.ROLE_PROBE},
        "creationTimestamp": at(0),
    },
    "kind": "Pod",
}


class Line:
    """Resources that all want a probe pod, as the reconciler treats them."""

    def __init__(self, limit: int) -> None:
        self.called: list[str] = []
        self.now = NOW.timestamp()
        self.store = Store(lambda _: None)
        self.turns = ProbeTurns(limit, self.store, lambda key: self.called.append(key.name), lambda: self.now)

    def reconcile(
        self, name: str, namespace: str = "ml", *, pod: str = "", wants: bool = True, **metadata: Any
    ) -> bool:
        """Whether a probe pod starts; ``pod``: phase of the one there is, ``metadata``: more of it."""
        key, seen = Key(namespace, name), _with_pod(pod, **metadata)
        observed = self.turns.observed(key, seen if pod else dataclasses.replace(OBSERVED, pods=()))
        starts = wants and not pod and observed.probe_turn
        decision = decided(apply=(PROBE,) if starts else (), awaits=wants and not pod and not starts)
        self.turns.follow(key, observed, decision)
        return starts

    def refuse(self, name: str) -> None:
        self.turns.follow(Key("ml", name), OBSERVED, decided())


def decided(apply: tuple[dict[str, Any], ...] = (), awaits: bool = False) -> ReconcileDecision:
    return ReconcileDecision(apply=apply, awaits_probe_turn=awaits, status=None, now=NOW, reason="")


def test_so_many_start_at_once_and_the_first_in_line_is_called_when_one_ends() -> None:
    line = Line(2)
    assert [line.reconcile(name) for name in "abcd"] == [True, True, False, False]
    assert not line.reconcile("d"), "asking again is no way to the front"
    assert line.called == []
    line.reconcile("a", pod="Succeeded", wants=False)
    assert line.called == ["c"]
    assert not line.reconcile("d"), "it is another's turn"
    assert line.reconcile("c")
    assert not line.reconcile("d")


def test_a_pod_that_measures_nothing_takes_no_turn() -> None:
    line = Line(1)
    for role in (names.ROLE_INSPECT, names.ROLE_AVOID):
        helper = {**PROBE, "metadata": {**PROBE["metadata"], "labels": {names.ROLE_LABEL: role}}}
        line.turns.follow(Key("ml", role), OBSERVED, decided(apply=(helper,)))
    assert line.reconcile("a")


def test_who_was_called_once_is_called_again_the_next_time() -> None:
    line = Line(1)
    assert [line.reconcile(name) for name in "ab"] == [True, False]
    line.reconcile("a", pod="Succeeded", wants=False)
    assert line.called == ["b"]
    assert line.reconcile("b")
    line.reconcile("b", pod="Succeeded", wants=False)
    assert [line.reconcile(name) for name in "cb"] == [True, False]
    line.reconcile("c", pod="Succeeded", wants=False)
    assert line.called == ["b", "b"]


def test_another_namespace_comes_first() -> None:
    line = Line(1)
    assert line.reconcile("a", "many")
    assert not any(line.reconcile(name, "many") for name in "bcde")
    assert not line.reconcile("own", "honest")
    line.turns.forget(Key("many", "a"))
    assert line.called[-1] == "b", "no namespace has a probe pod, and it waits longest"
    assert line.reconcile("b", "many")
    line = Line(2)
    assert [line.reconcile("a", "many"), line.reconcile("b", "many")] == [True, True]
    assert not any([line.reconcile("c", "many"), line.reconcile("own", "honest")])
    line.turns.forget(Key("many", "a"))
    assert line.called[-1] == "own"


def test_a_refused_pod_and_a_resource_that_wants_none_any_longer_give_the_turn_back() -> None:
    line = Line(1)
    assert line.reconcile("a")
    assert not line.reconcile("b")
    line.refuse("a")
    assert line.called == ["b"]
    line.reconcile("b", wants=False)
    assert line.reconcile("c")


def test_a_pod_that_runs_keeps_its_turn_over_a_restart_of_the_operator() -> None:
    line = Line(1)
    line.reconcile("a", pod="Running")
    assert not line.reconcile("b")
    assert line.turns.observed(Key("ml", "a"), _with_pod("Pending")).probe_turn


def stored(line: Line, name: str, namespace: str, **metadata: Any) -> None:
    """A resource of the store and its probe pod, which was not reconciled yet."""
    owner = {"kind": "LLMDeployment", "name": name, "uid": f"uid-{name}", "controller": True}
    place = {"namespace": namespace, "resourceVersion": "1"}
    labels = PROBE["metadata"]["labels"] | {names.DEPLOYMENT_LABEL: name}
    pod = PROBE["metadata"] | place | {"labels": labels, "ownerReferences": [owner]} | metadata
    line.store.put("LLMDeployment", {"metadata": place | {"name": name, "uid": f"uid-{name}"}})
    line.store.put("Pod", {"metadata": pod, "status": {"phase": "Running"}})


def test_probe_pods_are_counted_before_the_first_turn_after_a_restart() -> None:
    line = Line(2)
    stored(line, "a", "ml")
    assert line.reconcile("b"), "one is left"
    assert not line.reconcile("c"), "though nobody has reconciled a yet"
    line.now += 6 * 3600.0
    line.reconcile("c")
    assert line.called == ["c"], "and its turn ends like any other"

    line = Line(1)
    stored(line, "a", "many", creationTimestamp=at(-1800))
    assert not line.reconcile("b", "many")
    assert line.reconcile("b"), "what runs for long already holds up its own namespace alone"

    line = Line(2)
    line.store.lost("Pod", "late", "not listed yet")
    assert line.reconcile("b")
    stored(line, "a", "late", creationTimestamp=at(-60))
    line.store.runs("Pod", "late")
    assert not line.reconcile("c"), "its namespace was listed later"


def test_beside_a_namespace_that_stays_unreadable_pods_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 2,000 resources it took 100 ms of each reconcile."""
    line, read = Line(2), Counter[str]()
    stored(line, "a", "ml")
    children = line.store.children
    monkeypatch.setattr(
        line.store, "children", lambda kind, *rest: [read.update([kind]), children(kind, *rest)][1]
    )
    line.store.lost("Pod", "gone", "403: forbidden")
    for _ in range(3):
        line.reconcile("b", wants=False)
    assert read["Pod"] == 1


def test_who_cannot_come_holds_up_nobody_and_is_not_called_again() -> None:
    line = Line(1)
    assert line.reconcile("a")
    assert not any([line.reconcile("undecided"), line.reconcile("absent"), line.reconcile("b")])
    line.reconcile("a", wants=False)
    line.reconcile("a", wants=False)
    assert line.called == ["undecided"], "once: its back-off goes on"
    line.turns.leave(Key("ml", "undecided"))
    assert line.called == ["undecided", "absent"]
    line.now += 301.0
    assert not line.reconcile("b")
    line.now += 301.0
    line.reconcile("a", wants=False)
    assert line.called[-1] == "b"
    assert line.reconcile("b")


def test_a_turn_ends_with_the_pods_deadline_or_its_deletions_grace() -> None:
    """A finalizer keeps the pod's object for ever."""
    revision = {"labels": PROBE["metadata"]["labels"] | {names.REVISION_LABEL: "smol-1"}}
    for metadata, seconds in (({}, 6 * 3600.0), (revision, 2400.0), ({"deletionTimestamp": at(30)}, 30.0)):
        line = Line(1)
        assert line.reconcile("a")
        line.reconcile("a", pod="Running", **metadata)
        line.now += seconds - 1.0
        line.reconcile("a", pod="Running", **metadata)
        assert not line.reconcile("b")
        line.now += 1.0
        assert not line.reconcile("b")
        assert line.called == ["b"]
        line.reconcile("a", pod="Running", **metadata)
        assert line.reconcile("b")


def test_a_namespace_with_every_turn_holds_up_no_other_for_longer_than_half_an_hour() -> None:
    """Probe pods of startupTimeoutSeconds of a week."""
    line = Line(2)
    assert [line.reconcile(name, "many") for name in "abc"] == [True, True, False]
    line.now += 1799.0
    for name in "ab":
        line.reconcile(name, "many", pod="Running")
    assert not line.reconcile("own", "honest")
    line.now += 1.0
    for name in "ab":
        line.reconcile(name, "many", pod="Running")
    assert line.called == ["own"]
    assert line.reconcile("own", "honest")
    assert not line.reconcile("c", "many"), "its own count against itself for as long as they run"
    line.now += 5 * 3600.0 + 1800.0
    assert not line.reconcile("c", "many")
    assert line.called[-1] == "c"


def test_a_forged_probe_pod_neither_takes_nor_prolongs_a_turn() -> None:
    line = Line(1)
    assert line.reconcile("a")
    line.now += 3600.0
    line.reconcile("forged", "evil", pod="Running", creationTimestamp=at(3599))
    line.reconcile("a", pod="Running", creationTimestamp=at(3599))
    assert not line.reconcile("b")
    line.now += 5 * 3600.0
    line.reconcile("a", pod="Running", creationTimestamp=at(6 * 3600 - 1))
    assert line.reconcile("b")


def test_stored_pods_are_counted_again_only_where_other_watches_are_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A namespace may stay unreadable for ever, and to count those of 2,000 resources takes 100 ms."""
    line, counted = Line(1), list[int]()

    def resources() -> list[Key]:
        counted.append(1)
        return []

    monkeypatch.setattr(line.store, "resources", resources)
    line.store.lost("Pod", "secret", "forbidden")
    for name in "abc":
        line.reconcile(name)
    assert len(counted) == 1
    line.store.lost("Pod", "ml", "restarted")
    line.reconcile("a")
    assert len(counted) == 2
    line.store.runs("Pod", "ml")
    line.store.runs("Pod", "secret")
    for name in "abc":
        line.reconcile(name)
    assert len(counted) == 3, "all are counted"


def _with_pod(phase: str, **metadata: Any) -> Observed:
    pod = {**PROBE, "metadata": PROBE["metadata"] | metadata, "status": {"phase": phase}}
    deployment = {"metadata": {"name": "smol-1"}, "spec": {"progressDeadlineSeconds": 2400}}
    return dataclasses.replace(OBSERVED, pods=(pod,), deployments=(deployment,))
