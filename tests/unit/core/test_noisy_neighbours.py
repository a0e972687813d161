"""Who was busy beside a pod that was measured: decided by nodes and times, also where a pod says nonsense."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.report import Report
from tacho_contract.units import format_time
from tacho_operator.core import names
from tacho_operator.core.measurement.noisy_neighbours import (
    flag_noisy_neighbours,
    needs_neighbours,
    read_neighbours,
    write_neighbours,
)
from tacho_operator.core.pods.neighbours import neighbour
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import Neighbour
from tools.harness.documents import plain_measurement, plain_report
from tools.harness.resources import NOW, at
from tools.harness.world import World


def pod(
    name: str,
    *,
    scheduled: float | None = -100,
    ready: float | None = None,
    node: str = "n",
    role: str = "server",
    phase: str = "Running",
    ended: float | None = None,
    restarted: float | None = None,
    gone: bool = False,
) -> dict[str, Any]:
    engine: dict[str, Any] = {"name": "engine", "state": {"running": {"startedAt": at(-99)}}}
    if restarted is not None:
        engine = {"name": "engine", "restartCount": 1, "state": {"running": {"startedAt": at(restarted)}}}
    if ended is not None:
        engine = {"name": "engine", "state": {"terminated": {"exitCode": 1, "finishedAt": at(ended)}}}
    conditions = []
    if scheduled is not None:
        conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": at(scheduled)})
    if ready is not None:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": at(ready)})
    metadata = {"name": name, "namespace": "other", "uid": name, "labels": {names.ROLE_LABEL: role}}
    return {
        "metadata": metadata | ({"deletionTimestamp": at(0)} if gone else {}),
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": [engine]},
    }


MINE = PodView(pod("mine", scheduled=-60, ready=0))


def report(phase: str = "Serving", **measured: Any) -> Report:
    found = plain_measurement(**{"observed_time": at(0), "probe_seconds": 40.0, **measured})
    return plain_report(phase=phase, observed_time=at(0), measurement=found if phase == "Serving" else None)


def contended(*neighbours: dict[str, Any], seen: dict[str, str] | None = None, **measured: Any) -> bool:
    found = flag_noisy_neighbours(
        [MINE], {"mine": report(**measured)}, beside(*neighbours), seen=seen or {}, recorded=(), now=NOW
    ).reports["mine"]
    assert found.measurement is not None
    flagged = "Contended" in found.measurement.flags
    assert not flagged or "pod" in found.measurement.message
    return flagged


def beside(*pods: dict[str, Any]) -> list[Neighbour]:
    return [found for pod in pods if (found := neighbour(PodView(pod), 1e6)) is not None]


@pytest.mark.parametrize(
    ("other", "is_contended"),
    [
        (pod("a", scheduled=-100), True),
        (pod("a", scheduled=-100, ready=-10), True),
        (pod("a", scheduled=-10, ready=5), True),
        (pod("a", scheduled=-100, ready=-50), False),
        (pod("a", scheduled=-100, ready=-40), False),
        (pod("a", scheduled=0), False),
        (pod("a", scheduled=10), False),
        (pod("a", node="another"), False),
        (pod("a", node=""), False),
        (pod("a", role="inspect"), False),
        (pod("a", role="probe"), True),
        (pod("a", role="probe", gone=True), True),
        (pod("a", gone=True), False),
        (pod("a", scheduled=None), False),
        (pod("a", role="probe", phase="Failed", ended=-20), True),
        (pod("a", role="probe", phase="Failed", ended=-50), False),
        (pod("a", phase="Failed"), False),
        (pod("a", scheduled=-99999, ready=-50, restarted=-60), False),
        (pod("a", scheduled=-99999, ready=-10, restarted=-60), True),
        (MINE.raw, False),
        ({"metadata": {"name": "bare"}}, False),
    ],
)
def test_who_starts_loads_or_measures_on_the_same_node_meanwhile(
    other: dict[str, Any], is_contended: bool
) -> None:
    assert contended(other) == is_contended
    assert contended(pod("far", node="another"), other) == is_contended


def test_who_came_and_went_while_it_was_measured_is_remembered() -> None:
    probing = {"mine": report("Probing")}
    first = flag_noisy_neighbours([MINE], probing, beside(pod("a")), seen={}, recorded=(), now=NOW)
    assert first.seen == {"mine": "pod a"}
    gone = flag_noisy_neighbours([MINE], probing, [], seen=first.seen, recorded=(), now=NOW)
    assert gone.seen == first.seen
    assert contended(seen=dict(gone.seen))
    stranger = flag_noisy_neighbours([], {}, [], seen=first.seen, recorded=(), now=NOW)
    assert stranger.seen == {}, "the pod is gone"


@pytest.mark.parametrize(("seconds", "is_contended"), [(59, False), (60, False), (61, True)])
def test_a_start_that_never_ends_counts_for_its_limit(seconds: float, is_contended: bool) -> None:
    endless = neighbour(PodView(pod("a", scheduled=-100)), seconds)
    assert endless is not None
    found = flag_noisy_neighbours([MINE], {"mine": report()}, [endless], seen={}, recorded=(), now=NOW)
    measured = found.reports["mine"].measurement
    assert measured is not None
    assert ("Contended" in measured.flags) == is_contended


@given(st.sampled_from(["other", "secret-project"]), st.sampled_from(["a", "customer-x"]))
def test_no_other_namespace_is_named(namespace: str, name: str) -> None:
    stranger = pod(name)
    stranger["metadata"]["namespace"] = namespace
    found = flag_noisy_neighbours(
        [MINE], {"mine": report()}, beside(stranger), seen={}, recorded=(), now=NOW
    ).reports["mine"]
    assert found.measurement is not None
    shown = f"pod {name} was" if namespace == MINE.namespace else "a pod of another namespace was"
    assert found.measurement.message.startswith(shown)


@pytest.mark.parametrize("state", ["Failed", "Skipped", "?"])
def test_what_has_no_figures_is_not_disturbed(state: str) -> None:
    assert not contended(pod("a"), state=state)
    assert not needs_neighbours([MINE.raw], {"mine": report(state=state)}, (), NOW)


def test_neighbours_are_asked_for_only_while_they_matter() -> None:
    assert needs_neighbours([MINE.raw], {"mine": report("Probing")}, (), NOW)
    assert needs_neighbours([MINE.raw], {"mine": report()}, (), NOW)
    assert not needs_neighbours([MINE.raw], {"mine": report("Starting")}, (), NOW)
    assert not needs_neighbours([MINE.raw], {}, (), NOW)
    assert not needs_neighbours([MINE.raw], {"mine": report()}, (), NOW + timedelta(days=1))


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.one_of(
        st.text(max_size=30),
        st.datetimes().map(lambda moment: format_time(moment.replace(tzinfo=NOW.tzinfo))),
    ),
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
)
def test_no_time_is_too_strange(probe_seconds: float, observed_time: str, moment: datetime) -> None:
    now = moment.replace(tzinfo=NOW.tzinfo)
    reports = {"mine": report(probe_seconds=probe_seconds, observed_time=observed_time)}
    flag_noisy_neighbours([MINE], reports, beside(pod("a")), seen={}, recorded=(), now=now)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"x"', "[" * 10**5])
def test_a_note_of_siblings_that_cannot_be_read_is_none(text: str) -> None:
    assert read_neighbours(text) == {}


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4))
def test_a_note_of_siblings_comes_back(seen: dict[str, str]) -> None:
    assert read_neighbours(write_neighbours(seen)) == seen


def test_a_twin_makes_figures_provisional_until_they_are_taken_alone() -> None:
    world = World()
    world.first_pods()
    (mine,) = world.pods("server")
    world.runs(mine, "Probing")
    twin = pod("twin", scheduled=0, node="node-1")
    world.neighbours = beside(twin)
    world.reconcile(5)
    assert "measured-beside" in str(world.objects["ConfigMap", "smol-live"])
    world.neighbours = []
    world.reconcile(20)
    world.serves(mine)
    world.reconcile(5)
    assert world.brief("Measured") == ("Unknown", "MeasurementProvisional")
    message = world.condition("Measured")["message"]
    assert "a pod of another namespace" in message
    assert "twin" not in message
    assert world.status["summary"]["outputTokensPerSecondShown"].startswith("~")
    world.settle()
    assert "measured-beside" not in str(world.objects["ConfigMap", "smol-live"]), "it is recorded"
    assert world.brief("Measured") == ("Unknown", "MeasurementProvisional")
    world.reconcile(600)
    (probe,) = world.pods("probe")
    world.now += timedelta(seconds=60)
    world.serves(probe)
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_throwaway_pod_that_was_disturbed_is_thrown_away_and_tried_later() -> None:
    world = World()
    world.come_up()
    world.change(workload={"inputTokens": 900, "outputTokens": 10})
    world.reconcile(1)
    (probe,) = world.pods("probe")
    probe["spec"]["nodeName"] = "node-1"
    world.now += timedelta(seconds=60)
    world.neighbours = beside(pod("twin", scheduled=30, node="node-1"))
    world.serves(probe)
    world.reconcile(1)
    assert world.brief("Measured") == ("Unknown", "MeasurementProvisional")
    world.reconcile(1)
    assert not world.pods("probe")
    assert "MeasurementProvisional" in str(world.objects["ConfigMap", "smol-live"])


def test_who_disturbed_it_is_told_though_the_probe_has_much_to_say() -> None:
    assert contended(pod("a", scheduled=-100), message="x" * 1500)
