"""Which measurement of the candidate counts, and with which one of the active revision it is compared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tacho_contract.launch import LiveConfig
from tacho_contract.units import format_time
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.core.gate.evidence import CandidateMeasurement, judged, newest
from tacho_operator.core.gate.gating import BEGIN_SECONDS
from tacho_operator.core.gate.judge import GateVerdict, Kind
from tacho_operator.core.measurement.step import Gathered, gathered
from tacho_operator.core.revisions.controller_revision import Revision, read_all
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tests.unit.core.gated import Gated, figures
from tools.harness.world import copied


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the gate reads in a world with a candidate."""

    world: Gated
    name: str
    known: Gathered
    revisions: Mapping[str, Revision]
    live: LiveConfig

    def newest(self, preferred: str = "") -> CandidateMeasurement | None:
        return newest(self.known, self.revisions[self.name], self.live, preferred=preferred)

    def judged(self, revisions: Mapping[str, Revision] | None = None, **entry: Any) -> GateVerdict:
        """The verdict, with other revisions or another measurement of the candidate."""
        found = self.newest()
        assert found
        assert found.entry
        changed = dataclasses.replace(found, entry=found.entry.model_copy(update=entry))
        return judged(
            changed,
            self.known,
            revisions or self.revisions,
            self.world.active,
            gate=GateSpec(),
            live=self.live,
        )

    def own(self, **changes: Any) -> Mapping[str, Revision]:
        """The revisions, with a changed candidate."""
        return {**self.revisions, self.name: dataclasses.replace(self.revisions[self.name], **changes)}


def evidence(world: Gated, name: str) -> Evidence:
    observed = world.observed()
    revisions = read_all(observed.revisions)
    live = live_config(observed.resource.spec, revisions[name].plan)
    known = gathered(observed, revisions[world.active], live, revisions, serving={world.active})
    return Evidence(world=world, name=name, known=known, revisions=revisions, live=live)


def slower() -> Evidence:
    """The candidate's pod has measured itself."""
    world = Gated()
    name = world.candidate()
    world.serves(world.pods("server", name)[-1], **figures(0.7))
    return evidence(world, name)


def test_of_the_same_model_method_and_hardware_it_is_compared() -> None:
    assert slower().judged().kind == Kind.REGRESSION


def test_of_another_model_it_is_not_compared() -> None:
    found = slower()
    assert found.judged(found.own(model_uri="hf://other/model")).kind == Kind.UNJUDGED
    unknown = {
        name: dataclasses.replace(revision, model_uri="") for name, revision in found.revisions.items()
    }
    assert found.judged(unknown).kind == Kind.UNJUDGED


def test_of_another_method_hardware_or_lengths_it_is_not_compared() -> None:
    found = slower()
    plan = dataclasses.replace(found.revisions[found.name].plan, quantization_method="awq")
    assert found.judged(found.own(plan=plan)).kind == Kind.UNJUDGED
    mine = found.newest()
    assert mine
    assert mine.entry
    assert mine.entry.environment
    other = mine.entry.environment.model_copy(update={"cpu_model": "Xeon"})
    assert found.judged(environment=other).kind == Kind.UNJUDGED
    assert found.judged(flags=["OtherInput"]).kind == Kind.UNJUDGED


def test_of_several_measurements_of_the_active_revision_that_on_the_same_hardware_counts() -> None:
    found = slower()
    (its,) = (item for item in found.known.measurements if item.revision == found.world.active)
    assert its.environment
    elsewhere = its.model_copy(
        update={
            "fingerprint": "elsewhere",
            "environment": its.environment.model_copy(update={"cpu_model": "Xeon"}),
        }
    )
    known = dataclasses.replace(found.known, measurements=(elsewhere, its))
    running = dataclasses.replace(known, servers=tuple(p for p in known.servers if p.revision == found.name))
    assert dataclasses.replace(found, known=running).judged().kind == Kind.REGRESSION
    # With pods that report, only what they run on counts.
    alone = dataclasses.replace(found.known, measurements=(elsewhere,))
    assert dataclasses.replace(found, known=alone).judged().kind == Kind.UNJUDGED


@pytest.mark.parametrize("flag", ["Contended", "SharedGPU"])
def test_a_disturbed_measurement_of_the_active_revision_is_no_baseline(flag: str) -> None:
    world = Gated(baseline=figures(flags=(flag,)))
    name = world.candidate()
    world.measures(name, 0.3)
    assert world.verdict() == "Unjudged"
    assert "no current, clean measurement" in world.record("gate")


def test_the_pod_that_was_asked_counts_though_another_one_measured_later() -> None:
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    other = copied(pod)
    other["metadata"] |= {"name": f"{name}-zz", "uid": "uid-zz"}
    world.objects["Pod", other["metadata"]["name"]] = other
    world.serves(pod, **figures(0.7))
    world.reconcile(60)
    world.serves(other, **figures(1.0))
    found = evidence(world, name)
    latest, asked = found.newest(), found.newest(preferred=pod["metadata"]["name"])
    assert latest
    assert latest.pod.name == other["metadata"]["name"]
    assert asked
    assert asked.pod.name == pod["metadata"]["name"]


def test_a_pod_that_is_not_ready_or_reports_another_plan_has_no_figures() -> None:
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.runs(pod, "Probing", measurement=world.measurement(name, **figures(0.7)))
    assert evidence(world, name).newest() is None
    world.serves(pod, **figures(0.7, plan_key=world.plan_key(world.active)))
    found = evidence(world, name).newest()
    assert found
    assert found.entry is None
    assert found.why == "it has no measurement for the present workload, slo and probe"


def test_what_was_admitted_is_not_judged_anew() -> None:
    world = Gated(replicas=2)
    name = world.candidate()
    world.measures(name, 1.0)
    assert world.record("admitted-revision") == name
    world.change(slo={"ttftMilliseconds": 5000})
    world.reconcile(1)
    assert world.record("admitted-revision") == name
    assert not world.is_asking()


def test_an_active_revision_that_just_got_ready_is_no_outage() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    (pod,) = world.pods("server", world.active)
    pod["status"]["conditions"] = [
        {**item, "lastTransitionTime": format_time(world.now)} if item["type"] == "Ready" else item
        for item in pod["status"]["conditions"]
    ]
    world.reconcile(1)
    assert world.verdict() == ""


def test_the_request_stays_while_the_pod_measures_itself() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    request = world.live().again
    (pod,) = world.pods("server", name)
    world.runs(pod, "Probing")
    world.reconcile(20)
    assert world.live().again == request
    assert "so far TPOT" in world.message()


def test_each_measurement_has_a_request_of_its_own() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7, flags=("Contended",))
    first = world.live().again.request
    world.measures(name, 0.7, again=True, flags=("Contended",))
    assert world.is_asking()
    assert world.live().again.request != first


def test_a_pod_that_measured_nothing_is_asked() -> None:
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.runs(pod, "Serving", ready=True)
    world.reconcile(MIN_READY_SECONDS + 1)
    assert world.asked(pod)
    assert "it has no measurement" in world.message()


def test_the_time_to_answer_begins_with_the_question() -> None:
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.serves(pod, **figures(0.7))
    report = world.reports.pop(pod["metadata"]["uid"])
    world.reconcile(MIN_READY_SECONDS + 1)
    world.reconcile(BEGIN_SECONDS - 50)
    world.reports[pod["metadata"]["uid"]] = report
    world.reconcile(1)
    world.reconcile(BEGIN_SECONDS - 50)
    assert world.verdict() == ""
    assert world.asked(pod)


def test_a_verdict_keeps_nothing_of_the_wait() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    kept = json.loads(world.record("gate"))
    assert {kept[key] for key in ("pod", "since", "begun", "missed", "measuredTime")} == {""}


def alone(ttft: float) -> dict[str, Any]:
    """Figures of an engine whose requests alone have that TTFT in ms."""
    usual = figures()["single_stream"]
    return figures(single_stream=dataclasses.replace(usual, ttft_milliseconds_p50=ttft))


@pytest.mark.parametrize(
    ("active", "mine", "verdict"),
    [(200.0, 101.0, "Acceptable"), (200.0, 300.0, "Acceptable"), (40.0, 101.0, "")],
)
def test_an_slo_of_the_same_edit_refuses_nothing_that_the_active_revision_misses_too(
    active: float, mine: float, verdict: str
) -> None:
    """A revision twice as fast was rejected for a target that came with it, and the slower one served on."""
    world = Gated(baseline=alone(active))
    name = world.candidate(context={"maxModelLen": 1024, "concurrency": 2}, slo={"ttftMilliseconds": 50})
    pod = world.pods("server", name)[-1]
    world.serves(pod, **alone(mine))
    world.reconcile(1)
    world.reconcile(MIN_READY_SECONDS)
    assert world.verdict() == verdict
    assert world.asked(pod) is not bool(verdict), "one that makes it worse is measured again"
    assert f"with the active revision {active / 50:.2f} times" in world.message()


def test_what_was_measured_with_other_requests_says_nothing_of_a_target() -> None:
    world = Gated(baseline=alone(200.0))
    name = world.candidate(
        context={"maxModelLen": 1024, "concurrency": 2},
        slo={"ttftMilliseconds": 50},
        workload={"inputTokens": 64, "outputTokens": 32},
    )
    world.measures(name)
    assert world.verdict() == ""
    assert world.is_asking()
