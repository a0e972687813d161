"""A capacity that is a lower bound for want of time, and the probe pods that go on from its levels."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.measurement import CurvePoint
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core import names
from tacho_operator.core.manifests.helper_pods import NO_SCALE_UP
from tacho_operator.core.measurement.attempts import (
    ATTEMPTS,
    KEPT_KEYS,
    PROVISIONAL_RETRY_SECONDS,
    RETRY_SECONDS,
    read_resumed,
    resume_key,
    with_attempt,
    write_resumed,
)
from tacho_operator.core.measurement.known_levels import (
    COHORT,
    MAX_LEVELS,
    PLAIN_RATIO,
    WIDEST_PERCENT,
    known_levels,
    unfinished,
)
from tests.unit.core.measured_world import (
    CURVE,
    NEW_WORKLOAD,
    SPEC,
    edge,
    floor,
    level,
    live,
    measured_world,
    seconds_to_probe,
    unfinished_world,
)
from tools.harness.resources import changed
from tools.harness.world import MOCK_SPEC, World

NO_GPU = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


def never_probes(world: World) -> bool:
    """Whether a day passes without a probe pod."""
    for _ in range(12):
        world.reconcile(7200)
        if world.pods("probe"):
            return False
    return True


def test_a_lower_bound_is_called_one_and_a_probe_pod_goes_on_from_its_levels() -> None:
    world = unfinished_world()
    assert world.brief("Measured") == ("True", "CapacityFloor")
    message = world.condition("Measured")["message"]
    assert message == (
        "At least 400 output tokens per second: the time ran out. Probe pod 1 of 3 will resume the search."
    )
    assert live(world).known is None
    assert seconds_to_probe(world) == pytest.approx(PROVISIONAL_RETRY_SECONDS, abs=10)
    known = live(world).known
    assert known is not None
    assert (known.plan_key, known.measure_key) == (
        world.status["measurements"][0]["planKey"],
        live(world).measure_key,
    )
    assert [(item.concurrency, item.slo_met) for item in known.levels] == [(1, True), (4, True), (24, False)]
    assert known.environment.cpu_model == "EPYC"
    (probe,) = world.pods("probe")
    assert probe["metadata"]["annotations"][names.RESUMES_ANNOTATION] == "1"
    world.reconcile(1)
    assert live(world).known == known, "while the pod starts"
    world.serves(probe, **edge())
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["measurements"][0]["capacity"]["boundary"] == "Edge"
    assert not world.pods("probe")
    assert live(world).known is None
    assert never_probes(world), "the edge ends it"


def test_three_go_on_then_the_lower_bound_stays_whatever_restarts() -> None:
    world = unfinished_world()
    rate = 400.0
    for attempt in range(1, ATTEMPTS + 1):
        assert seconds_to_probe(world) < 2 * PROVISIONAL_RETRY_SECONDS
        rate += 100.0
        (probe,) = world.pods("probe")
        assert probe["metadata"]["annotations"][names.RESUMES_ANNOTATION] == str(attempt)
        capacity = dataclasses.replace(floor()["capacity"], output_tokens_per_second=rate)
        world.serves(probe, **floor(capacity=capacity))
        world.reconcile(1)
        assert world.status["measurements"][0]["capacity"]["outputTokensPerSecond"] == f"{rate:g}"
        assert world.status["measurements"][0]["capacity"]["boundary"] == "Floor"
    assert never_probes(world)
    assert world.brief("Measured") == ("True", "CapacityFloor")
    assert world.condition("Measured")["message"].startswith("At least 700 output tokens per second: 3 probe")
    assert "Raise probe.budgetSeconds above 45." in world.condition("Measured")["message"]
    assert world.brief("Reconciling") == ("False", "Settled")
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    (probe,) = world.pods("probe")
    assert names.RESUMES_ANNOTATION not in probe["metadata"]["annotations"], "other keys, nothing is known"
    assert live(world).known is None
    world.serves(probe, **edge())
    world.settle()
    world.change(workload=MOCK_SPEC["workload"])
    assert never_probes(world), "a workload that comes back has had its attempts"


def test_a_lower_bound_for_another_reason_than_time_says_that_one() -> None:
    world = World(SPEC)
    world.first_pods()
    message = "2 streams had no steady rate; others took up to 5 %"
    world.serves(world.pods("server")[0], **floor(flags=(), message=message))
    world.reconcile(3)
    assert world.condition("Measured")["message"] == (
        "At least 400 output tokens per second: 2 streams had no steady rate. Probe pod 1 of 3 will resume "
        "the search."
    )


def test_without_a_free_gpu_nothing_waits_in_line_and_status_says_so() -> None:
    world = unfinished_world()
    seconds_to_probe(world)
    (probe,) = world.pods("probe")
    probe["status"] = {"phase": "Pending", "conditions": [NO_GPU]}
    world.reconcile(1)
    assert not world.pods("probe")
    assert world.brief("Measured") == ("True", "CapacityFloor")
    message = world.condition("Measured")["message"]
    assert message.startswith(
        "At least 400 output tokens per second: the time ran out, and no probe pod can resume. Free "
        "resources for one more pod."
    )
    assert "nvidia.com/gpu" in message
    assert seconds_to_probe(world) == pytest.approx(RETRY_SECONDS, abs=10)
    assert world.pods("probe")[0]["metadata"]["annotations"][names.RESUMES_ANNOTATION] == "1", "none ran"


def test_a_probe_pod_that_crashes_twice_is_not_tried_again() -> None:
    world = unfinished_world()
    for _ in range(2):
        seconds_to_probe(world)
        (probe,) = world.pods("probe")
        world.crash(probe)
        probe["status"]["phase"] = "Failed"
        world.reconcile(1)
    assert never_probes(world)
    assert world.brief("Measured") == ("True", "CapacityFloor")
    message = world.condition("Measured")["message"]
    assert "Correct that, then change tacho.dev/measure-again." in message
    assert "Free resources" not in message


def test_scaled_to_zero_no_probe_pod_goes_on() -> None:
    world = unfinished_world()
    seconds_to_probe(world)
    assert world.pods("probe")
    world.change(replicas=0)
    world.reconcile(1)
    world.deployment_controller()
    world.reconcile(1)
    assert not world.pods("server")
    assert not world.pods("probe")
    assert never_probes(world)


def test_a_serving_pod_that_waits_for_a_node_comes_first() -> None:
    world = unfinished_world()
    seconds_to_probe(world)
    world.change(replicas=2)
    world.reconcile(1)
    world.deployment_controller()
    (new,) = [item for item in world.pods("server") if "status" not in item]
    new["status"] = {"phase": "Pending", "conditions": [NO_GPU]}
    world.reconcile(1)
    assert not world.pods("probe")
    assert world.brief("Measured") == ("True", "CapacityFloor")
    assert "A serving pod waits for a node." in world.condition("Measured")["message"]
    assert never_probes(world)


def test_quota_that_refuses_a_serving_pod_is_not_held_by_a_probe_pod() -> None:
    world = unfinished_world()
    seconds_to_probe(world)
    world.change(replicas=2)
    world.reconcile(1)
    (deployment,) = [item for (kind, _), item in world.objects.items() if kind == "Deployment"]
    refused = {"type": "ReplicaFailure", "status": "True", "message": "pods are forbidden: exceeded quota"}
    deployment["status"] = {"conditions": [refused]}
    world.reconcile(1)
    assert not world.pods("probe")
    assert world.brief("Measured") == ("True", "CapacityFloor")
    message = world.condition("Measured")["message"]
    assert "A serving pod is refused: pods are forbidden: exceeded quota" in message
    assert never_probes(world)
    (deployment,) = [item for (kind, _), item in world.objects.items() if kind == "Deployment"]
    del deployment["status"]
    world.reconcile(1)
    assert world.pods("probe"), "the quota was raised"


@pytest.mark.parametrize(
    ("probe", "advice"),
    [
        ({"budgetSeconds": 60, "timeoutSeconds": 90}, "Raise probe.budgetSeconds above 60."),
        ({"timeoutSeconds": 45}, "Raise probe.budgetSeconds and timeoutSeconds above 45."),
        ({"budgetSeconds": 3600}, ""),
    ],
    ids=str,
)
def test_the_advice_after_three_is_one_that_the_api_takes(probe: dict[str, int], advice: str) -> None:
    world = unfinished_world(probe=probe)
    for _ in range(ATTEMPTS):
        seconds_to_probe(world)
        world.serves(world.pods("probe")[0], **floor())
        world.reconcile(1)
    message = world.condition("Measured")["message"]
    assert message.endswith(f"resumed the search and did not end it.{' ' if advice else ''}{advice}")


def test_a_probe_pod_that_goes_on_has_no_priority_over_others() -> None:
    world = measured_world(changed(SPEC, podTemplate={"spec": {"priorityClassName": "high"}}))
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    assert world.pods("probe")[0]["spec"]["priorityClassName"] == "high"
    world.serves(world.pods("probe")[0], **floor())
    world.reconcile(1)
    assert seconds_to_probe(world) < 2 * PROVISIONAL_RETRY_SECONDS
    (probe,) = world.pods("probe")
    assert "priorityClassName" not in probe["spec"]
    assert NO_SCALE_UP.items() <= probe["metadata"]["annotations"].items()


def test_a_request_is_a_measurement_in_full() -> None:
    world = unfinished_world()
    seconds_to_probe(world)
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    (probe,) = world.pods("probe")
    assert names.RESUMES_ANNOTATION not in probe["metadata"]["annotations"]
    assert live(world).known is None


def test_a_probe_pod_that_is_disturbed_counts_and_leaves_the_clean_lower_bound() -> None:
    world = unfinished_world()
    for _ in range(ATTEMPTS):
        seconds_to_probe(world)
        world.serves(world.pods("probe")[0], **floor(flags=("BudgetExhausted", "Contended")))
        world.reconcile(1)
    assert never_probes(world)
    assert world.brief("Measured") == ("True", "CapacityFloor")
    assert world.status["measurements"][0]["confidence"] == "Clean"


# --- the pure parts ---------------------------------------------------------------------------------
def entry(*curve: CurvePoint, **changes: Any) -> MeasurementEntry:
    world = unfinished_world()
    found = MeasurementEntry.model_validate(world.status["measurements"][0])
    return found.model_copy(update={"curve": list(curve), **changes})


BOUND = entry(*CURVE)
ratios = st.floats(min_value=0.05, max_value=5).map(lambda value: round(value, 3))
levels = st.builds(
    lambda streams, tokens, ratio, steady, interval, flags: level(
        streams, tokens, ratio, steady=steady, ci_percent=interval, flags=flags
    ),
    st.integers(2, 2048),
    st.floats(1, 1e5),
    ratios,
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 40)),
    st.sampled_from([(), ("NotSteady",), ("FrontendBound",), ("OtherTraffic",)]),
)


@given(st.lists(levels, max_size=16, unique_by=lambda item: item.concurrency))
def test_known_levels_are_few_clean_steady_and_hold_what_bounds_the_search(found: list[CurvePoint]) -> None:
    known = known_levels(BOUND.model_copy(update={"curve": [CURVE[0], *found]}))
    assert known is not None
    numbers = [item.concurrency for item in known.levels]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert len(numbers) <= MAX_LEVELS
    assert all(item in (CURVE[0], *found) and item.steady for item in known.levels)
    assert not {"NotSteady", "OtherTraffic"} & {flag for item in known.levels for flag in item.flags}
    usable = [item for item in found if item.steady and (item.ci_percent or 99) <= WIDEST_PERCENT]
    usable = [item for item in usable if item.flags in ((), ("FrontendBound",))]
    usable = [item for item in usable if item.slo_met or (item.tpot_slo_ratio or 0) >= PLAIN_RATIO]
    missed = [item.concurrency for item in usable if not item.slo_met]
    assert not missed or min(missed) in numbers
    assert len(usable) >= MAX_LEVELS or set(numbers) == {1, *(item.concurrency for item in usable)}


@pytest.mark.parametrize(
    "changes",
    [
        {"capacity": dataclasses.replace(floor()["capacity"], boundary="Edge")},
        {"capacity": dataclasses.replace(floor()["capacity"], boundary="Plateau")},
        {"capacity": None},
        {"flags": ["Contended", "Incomplete"]},
        {"flags": [], "curve": list(CURVE[:2])},
        {"single_stream": None},
        {"environment": None},
        {"curve": list(CURVE[1:])},
        {"curve": [dataclasses.replace(CURVE[0], tpot_slo_ratio=None)]},
    ],
)
def test_nothing_is_known_where_nothing_is_to_be_resumed(changes: dict[str, Any]) -> None:
    assert known_levels(BOUND.model_copy(update=changes)) is None


@pytest.mark.parametrize(
    ("ratio", "requests", "passed_on"),
    [(1.05, COHORT - 1, False), (1.05, COHORT, True), (1.3, 9, True), (0.95, 9, True)],
)
def test_a_level_that_may_miss_the_slo_by_chance_is_measured_again(
    ratio: float, requests: int, passed_on: bool
) -> None:
    near = level(30, 1500, ratio, requests=requests)
    known = known_levels(BOUND.model_copy(update={"curve": [*CURVE[:2], near]}))
    assert known is not None
    assert (near in known.levels) == passed_on


def test_of_many_levels_those_next_to_the_capacity_are_passed_on() -> None:
    capacity = dataclasses.replace(floor()["capacity"], concurrency=400)
    many = [level(streams, 10.0 * streams, 0.5) for streams in range(50, 550, 50)]
    known = known_levels(BOUND.model_copy(update={"curve": [CURVE[0], *many], "capacity": capacity}))
    assert known is not None
    assert [item.concurrency for item in known.levels] == [1, 200, 250, 300, 350, 400, 450, 500]


def test_a_lower_bound_that_the_engine_sets_is_finished() -> None:
    assert unfinished(BOUND)
    assert not unfinished(BOUND.model_copy(update={"flags": [], "curve": list(CURVE[:2])}))


keys = st.sampled_from([resume_key("p", str(number)) for number in range(6)])


@given(st.lists(st.tuples(keys, st.sampled_from("abcde")), max_size=30))
def test_attempts_are_counted_once_each_and_survive_writing(ends: list[tuple[str, str]]) -> None:
    resumed = read_resumed("")
    for key, pod in ends:
        resumed = with_attempt(resumed, key, pod)
        assert read_resumed(write_resumed(resumed)) == resumed
        assert with_attempt(resumed, key, pod) == resumed
        assert pod in resumed[key] or len(resumed[key]) == ATTEMPTS
    assert len(resumed) <= KEPT_KEYS


@pytest.mark.parametrize("text", ["{", "5", "{}", '[["a"]]', '[["a", 5]]', "null", "[" * 9999])
def test_a_record_that_cannot_be_read_is_none(text: str) -> None:
    assert read_resumed(text) == {}
    assert json.dumps(read_resumed(text)) == "{}"
