"""The throwaway pod in a whole world: room, failures, quota, and requests for new figures."""

from __future__ import annotations

from tacho_operator.core import names
from tacho_operator.core.measurement.attempts import PROVISIONAL_RETRY_SECONDS, RETRY_SECONDS
from tacho_operator.core.types import ChildRefusal
from tests.unit.core.measured_world import NEW_WORKLOAD, measured_world
from tools.harness.pod_states import container_state, insufficient
from tools.harness.world import World


def test_the_throwaway_pod_gets_no_traffic() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    (probe,) = world.pods("probe")
    labels = probe["metadata"]["labels"]
    assert labels[names.ROLE_LABEL] == "probe"
    for selector in (
        world.service()["spec"]["selector"],
        dict(pair.split("=") for pair in world.status["selector"].split(",")),
    ):
        assert any(labels.get(key) != value for key, value in selector.items())
    assert world.status["replicas"] == 1


def test_a_throwaway_pod_without_room_says_so_gives_up_and_tries_later() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    (probe,) = world.pods("probe")
    insufficient(probe)
    world.reconcile(5)
    assert world.brief("Measured") == ("False", "CannotJudge")
    assert "Insufficient memory" in world.condition("Measured")["message"]
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled")[0] == "False"
    assert ("Warning", "CannotJudge") in world.events
    world.reconcile(700)
    assert not world.pods("probe"), "a pod nobody can place must not call for nodes for ever"
    for _ in range(5):
        decision = world.reconcile(60)
        assert world.brief("Measured") == ("False", "CannotJudge")
        assert not world.pods("probe")
    assert decision.requeue_after_seconds is not None
    world.reconcile(RETRY_SECONDS)
    (probe,) = world.pods("probe")
    assert world.brief("Measured") == ("False", "CannotJudge"), "until it knows better"
    world.serves(probe)
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert names.OUTCOME_ANNOTATION not in str(world.objects["ConfigMap", "smol-live"])
    assert world.events.count(("Warning", "CannotJudge")) == 1


def test_without_a_free_gpu_a_replan_is_the_next_step() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    insufficient(world.pods("probe")[0], "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    world.reconcile(5)
    assert world.brief("Measured") == ("False", "CannotJudge")
    assert (
        " Free a GPU, or set tacho.dev/replan anew: a new revision measures itself as it starts. Details: 0/3"
        in world.condition("Measured")["message"]
    )


def fails(world: World) -> None:
    (probe,) = world.pods("probe")
    container_state(probe, state={"terminated": {"exitCode": 1, "message": "out of memory"}})
    probe["status"]["phase"] = "Failed"


def test_a_throwaway_pod_that_fails_is_tried_once_more_and_then_not_until_something_changes() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    fails(world)
    world.reconcile(5)
    assert world.brief("Measured") == ("False", "CannotJudge")
    assert not world.pods("probe")
    world.reconcile(RETRY_SECONDS)
    fails(world)
    world.reconcile(5)
    assert world.brief("Measured") == ("False", "MeasurementFailed")
    assert "out of memory" in world.condition("Measured")["message"]
    for _ in range(3):
        world.reconcile(4000)
        assert not world.pods("probe")
        assert world.brief("Measured") == ("False", "MeasurementFailed")
    world.change(workload={"inputTokens": 901, "outputTokens": 10})
    world.reconcile(1)
    assert len(world.pods("probe")) == 1


def test_an_evicted_throwaway_pod_is_tried_again_for_as_long_as_it_takes() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    for attempt in range(4):
        (probe,) = world.pods("probe")
        probe["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
        world.reconcile(5)
        assert world.brief("Measured") == ("False", "CannotJudge")
        assert not world.pods("probe")
        world.reconcile(RETRY_SECONDS * 2**attempt - 10)
        assert not world.pods("probe")
        world.reconcile(10)
    world.serves(world.pods("probe")[0])
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.events.count(("Warning", "CannotJudge")) == 1, "the reason held all the time"


def test_provisional_figures_are_measured_again_until_they_are_clean() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    world.serves(world.pods("probe")[0], flags=("Contended",), message="pod x loaded beside it")
    world.settle()
    assert world.brief("Measured") == ("Unknown", "MeasurementProvisional")
    assert world.status["summary"]["outputTokensPerSecondShown"] == "~204.8"
    assert world.brief("Reconciling") == ("False", "Settled")
    assert not world.pods("probe")
    world.reconcile(PROVISIONAL_RETRY_SECONDS)
    (probe,) = world.pods("probe")
    world.reconcile(1)
    assert world.brief("Reconciling") == ("False", "Settled"), "there are figures"
    world.serves(probe, flags=("NotSteady",))
    world.reconcile(1)
    assert not world.pods("probe")
    world.reconcile(PROVISIONAL_RETRY_SECONDS)
    assert not world.pods("probe"), "the second pause is longer"
    world.reconcile(PROVISIONAL_RETRY_SECONDS)
    world.serves(world.pods("probe")[0])
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"]["outputTokensPerSecondShown"] == "204.8"
    assert names.OUTCOME_ANNOTATION not in str(world.objects["ConfigMap", "smol-live"])
    assert not world.pods("probe")


def test_who_asks_gets_new_figures_of_the_same_fingerprint_once() -> None:
    world = measured_world()
    (before,) = world.status["measurements"]
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "1"}
    world.reconcile(60)
    (probe,) = world.pods("probe")
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Measuring")
    assert world.brief("Ready") == ("True", "Serving")
    world.serves(probe)
    world.settle()
    (entry,) = world.status["measurements"]
    assert entry["fingerprint"] == before["fingerprint"]
    assert entry["observedTime"] > before["observedTime"]
    for _ in range(3):
        world.reconcile(10_000)
        assert not world.pods("probe")
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "2"}
    world.reconcile(1)
    assert world.pods("probe")


def test_a_request_that_was_there_before_the_first_pod_is_answered_by_it() -> None:
    world = World(annotations={names.MEASURE_AGAIN_ANNOTATION: "1"})
    world.come_up()
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_a_pod_that_cannot_be_asked_is_said_with_what_to_check() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reports.clear()
    world.reconcile(100)
    assert world.brief("Measured") == ("Unknown", "ReportUnreachable")
    assert "9400" in world.condition("Measured")["message"]
    assert "NetworkPolicies" in world.condition("Measured")["message"]
    assert ("Warning", "ReportUnreachable") in world.events
    assert world.brief("Ready") == ("True", "Serving")
    world.serves(world.pods("server")[0])
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_refused_server_pod_keeps_no_throwaway_pod_from_starting() -> None:
    world = measured_world()
    world.refusals = (ChildRefusal(kind="Pod", name="x", role="server", message="exceeded quota"),)
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    assert world.pods("probe")


def test_quota_on_the_throwaway_pod_concerns_the_figures_alone() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    (probe,) = world.pods("probe")
    world.remove_pod(probe)
    world.refusals = (
        ChildRefusal(kind="Pod", name=probe["metadata"]["name"], role="probe", message="exceeded quota"),
    )
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "CannotJudge")
    assert world.brief("Stalled")[0] == "False"
    assert world.brief("Ready") == ("True", "Serving")


def test_a_probe_pod_that_crashed_once_counts_once_although_it_is_not_deleted() -> None:
    """A webhook that refuses its deletion made a first crash the second, after which none is tried."""
    world = World()
    world.come_up()
    world.change(workload=NEW_WORKLOAD)
    world.settle()
    (probe,) = world.pods("probe")
    container_state(probe, state={"terminated": {"exitCode": 3, "message": "out of luck"}})
    probe["status"]["phase"] = "Failed"
    for _ in range(4):
        world.reconcile(1)
        world.objects["Pod", probe["metadata"]["name"]] = probe
    assert world.brief("Measured") == ("False", "CannotJudge")
    del world.objects["Pod", probe["metadata"]["name"]]
    world.reconcile(RETRY_SECONDS)
    assert world.pods("probe")


def test_a_request_whose_throwaway_pod_is_refused_or_fails_is_told_beside_the_figures() -> None:
    """Measured is True, by the former figures, and nothing said that no pod had started."""
    world = measured_world()
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "1"}
    world.refusals = (ChildRefusal(kind="Pod", name="p", role="probe", message="exceeded quota: few"),)
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    message = world.condition("Measured")["message"]
    assert "The requested measurement is not done yet." in message
    assert "exceeded quota: few" in message
    world.refusals = ()
    for pause in (1, RETRY_SECONDS):
        world.reconcile(pause)
        fails(world)
        world.reconcile(5)
    assert "The requested measurement has failed." in world.condition("Measured")["message"]
    for _ in range(3):
        world.reconcile(4000)
    assert world.condition("Measured")["message"] == "204.8 output tokens per second."
    assert world.events.count(("Warning", "NotMeasuredAgain")) == 1
