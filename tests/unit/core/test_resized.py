"""A serving pod that was resized in place: figures of its former size are not current."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_contract.measurement import Environment
from tacho_operator.core.measurement.resized import resized_environment
from tacho_operator.core.names import ENGINE_CONTAINER, MEASURE_AGAIN_ANNOTATION
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.controller_revision import Revision
from tools.harness.resources import plan
from tools.harness.world import MOCK_SPEC, World

MEASURED = Environment(cpu_model="EPYC", cpu_limit_millis=1000)


def of_limit(cpu: str | None) -> Revision:
    resources = {"limits": {"cpu": cpu}} if cpu else {}
    container = {"name": ENGINE_CONTAINER, "resources": resources}
    template = {"metadata": {}, "spec": {"containers": [container]}}
    return Revision(
        name="smol-1", number=1, plan=plan(), plan_key="p", facts_key="f", pod_template=template,
        tacho_image="t",
    )  # fmt: skip


def pod_with(resources: Any, generation: int | None = 2) -> PodView:
    status = {"name": ENGINE_CONTAINER, **({} if resources is None else {"resources": resources})}
    metadata = {"name": "smol-1-a", **({} if generation is None else {"generation": generation})}
    return PodView({"metadata": metadata, "status": {"containerStatuses": [status]}})


def limits(cpu: Any) -> dict[str, Any]:
    return {"limits": {"cpu": cpu}}


@pytest.mark.parametrize(
    ("resources", "generation", "measured", "spec", "now"),
    [
        (limits("50m"), 2, 1000, "1", 50),
        (limits("4"), 3, 1000, "1", 4000),
        ({}, 2, 1000, "1", 0),
        (limits("500m"), 2, 0, None, 500),
        (limits("1"), 2, 1000, "1", None),
        (limits("1005m"), 2, 1010, "1005m", None),
        (limits("4"), 1, 2000, "4", None),
        (limits("4"), 2, 0, "4", None),
        ({}, 2, 0, None, None),
        (None, 2, 1000, "1", None),
        (limits("50m"), None, 1000, "1", None),
        (limits("much"), 2, 1000, "1", None),
    ],
    ids=[
        "less", "more", "limit removed", "limit added", "back", "rounded by systemd", "limit of the node",
        "CPUs of its own", "never limited", "kubelet does not say", "old Kubernetes", "unreadable",
    ],
)  # fmt: skip
def test_what_a_resized_pod_has_now(
    resources: Any, generation: int | None, measured: int, spec: str | None, now: int | None
) -> None:
    reported = dataclasses.replace(MEASURED, cpu_limit_millis=measured)
    found = resized_environment(pod_with(resources, generation), reported, of_limit(spec))
    assert (found and found.cpu_limit_millis) == now
    assert found is None or dataclasses.replace(found, cpu_limit_millis=measured) == reported


def resize(world: World, pod: dict[str, Any], cpu: str) -> None:
    pod["metadata"]["generation"] = pod["metadata"].get("generation", 1) + 1
    for item in pod["status"]["containerStatuses"]:
        item["resources"] = limits(cpu)
    world.reconcile(1)


def limited(world: World) -> dict[str, Any]:
    """The pod of a resource that serves, measured with one CPU."""
    (pod,) = world.pods("server")
    uid = pod["metadata"]["uid"]
    world.raw["status"].pop("measurements", None)
    world.reports[uid] = dataclasses.replace(world.reports[uid], environment=MEASURED)
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    return pod


def test_its_figures_are_stale_until_it_is_resized_back() -> None:
    """They stayed current and Clean, and scaled by, of a pod with a twentieth of the CPU."""
    world = World()
    world.come_up()
    pod = limited(world)
    former = world.status["summary"]
    resize(world, pod, "50m")
    assert world.brief("Measured") == ("False", "MeasurementStale")
    message = world.condition("Measured")["message"]
    name = pod["metadata"]["name"]
    assert message == (
        f"Pod {name} was resized: CPU limit 50m, measured with 1000m. Delete it, or resize it back."
    )
    assert "outputTokensPerSecond" not in world.status.get("summary", {})
    assert [item["state"] for item in world.status["measurements"]] == ["Stale"]
    assert world.brief("Ready") == ("True", "Serving")
    resize(world, pod, "1")
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"] == former


def test_a_measurement_after_the_resize_is_current() -> None:
    world = World()
    world.come_up()
    pod = limited(world)
    resize(world, pod, "50m")
    uid = pod["metadata"]["uid"]
    small = dataclasses.replace(MEASURED, cpu_limit_millis=50)
    again = world.measurement(next(iter(world.names("Deployment"))))
    world.reports[uid] = dataclasses.replace(world.reports[uid], environment=small, measurement=again)
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert [item["state"] for item in world.status["measurements"]] == ["Complete", "Stale"]


def test_a_probe_pod_of_the_spec_s_size_does_not_make_them_current() -> None:
    world = World()
    world.come_up()
    pod = limited(world)
    world.raw["metadata"].setdefault("annotations", {})[MEASURE_AGAIN_ANNOTATION] = "again"
    world.reconcile(1)
    resize(world, pod, "50m")
    (probe,) = world.pods("probe")
    world.runs(probe, "Probing", environment=MEASURED)
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")


def test_figures_do_not_hold_for_one_of_two_pods_that_was_resized() -> None:
    """They stayed current and Clean, as the other pod had its size: twice the capacity of one."""
    world = World({**MOCK_SPEC, "replicas": 2})
    world.come_up()
    for pod in world.pods("server"):
        uid = pod["metadata"]["uid"]
        world.reports[uid] = dataclasses.replace(world.reports[uid], environment=MEASURED)
    world.raw["status"].pop("measurements", None)
    world.reconcile(1)
    former = world.status["summary"]
    assert (world.brief("Measured"), former["confidence"]) == (("True", "MeasurementComplete"), "Clean")
    first, second = world.pods("server")
    resize(world, second, "50m")
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert f"Pod {second['metadata']['name']} was resized" in world.condition("Measured")["message"]
    summary = world.status["summary"]
    assert summary["confidence"] == "Provisional"
    assert summary["outputTokensPerSecondShown"] == f"~{former['outputTokensPerSecond']}"
    assert [item["state"] for item in world.status["measurements"]] == ["Complete"], (
        "the scaler's, of the other pod"
    )
    assert world.pods("probe") == []
    resize(world, first, "50m")
    assert "summary" not in world.status
    for pod in (first, second):
        resize(world, pod, "1")
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"] == former


def test_a_size_that_was_measured_has_its_own_figures() -> None:
    """Resized to it again, without a new measurement in this run of the pod."""
    world = World()
    world.come_up()
    pod = limited(world)
    uid = pod["metadata"]["uid"]
    small = dataclasses.replace(MEASURED, cpu_limit_millis=50)
    world.reports[uid] = dataclasses.replace(world.reports[uid], environment=small)
    resize(world, pod, "50m")
    world.reports[uid] = dataclasses.replace(world.reports[uid], environment=MEASURED)
    resize(world, pod, "50m")
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"]["confidence"] == "Clean"
