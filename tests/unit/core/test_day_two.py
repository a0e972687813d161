"""What the pages of docs/ say of changes that people make to a cluster that serves."""

from __future__ import annotations

import copy
import dataclasses

from tacho_contract.measurement import Environment
from tacho_operator.core.types import NodeFacts
from tests.unit.core.measured_world import measured_world
from tools.harness.resources import CONFIG, HUB_SPEC, changed, facts, hub_facts
from tools.harness.world import MOCK_SPEC, World

GPU_SPEC = changed(MOCK_SPEC, gpu={"count": 1, "products": ["NVIDIA-L4"]})
NODE = NodeFacts(
    name="node-1", labels={"nvidia.com/gpu.product": "NVIDIA-L4"}, allocatable={"nvidia.com/gpu": "1"}
)


def gpu_world() -> World:
    world = World(GPU_SPEC, dataclasses.replace(CONFIG, gpu_prices={"NVIDIA-L4": "0.60"}))
    world.nodes = (NODE,)
    world.come_up()
    return world


def hub_world() -> World:
    world = World(changed(HUB_SPEC, engine=MOCK_SPEC["engine"]))
    world.reconcile()
    world.inspected(hub_facts())
    world.settle(world.serve_all)
    return world


def tokens(world: World) -> dict[str, str]:
    """Secret of the hub's token by revision."""
    return {
        name: variable["valueFrom"]["secretKeyRef"]["name"]
        for (kind, name), item in world.objects.items()
        if kind == "Deployment"
        for container in item["spec"]["template"]["spec"]["initContainers"]
        for variable in container.get("env", [])
        if variable["name"] == "HF_TOKEN"
    }


def test_a_price_changes_what_tokens_cost_and_nothing_that_runs() -> None:
    world = gpu_world()
    before, writes = world.status["summary"]["costPerMillionOutputTokens"], world.mutations
    world.config = dataclasses.replace(world.config, gpu_prices={"NVIDIA-L4": "1.20"})
    world.reconcile(1)
    assert float(world.status["summary"]["costPerMillionOutputTokens"]) == 2 * float(before)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.mutations == writes


def test_another_secret_reaches_new_revisions_alone() -> None:
    world = hub_world()
    (first,) = tokens(world)
    world.change(model={**HUB_SPEC["model"], "tokenSecretRef": {"name": "rotated"}})
    world.settle(world.serve_all)
    assert tokens(world) == {first: "hf"}
    world.raw["metadata"]["annotations"] = {"tacho.dev/replan": "rotated"}
    world.reconcile(1)
    world.inspected(hub_facts())
    world.reconcile(1)
    (second,) = set(tokens(world)) - {first}
    assert tokens(world)[second] == "rotated"


def test_a_cordoned_node_changes_nothing_that_serves() -> None:
    world = gpu_world()
    writes = world.mutations
    world.nodes = (dataclasses.replace(NODE, unschedulable=True),)
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Planned") == ("True", "PlanReady")
    assert world.mutations == writes


def test_slices_in_place_of_the_planned_gpu_replace_no_plan_until_it_is_asked_for() -> None:
    world = gpu_world()
    sliced = {"nvidia.com/gpu.product": "NVIDIA-H200-MIG-1g.18gb"}
    world.nodes = (dataclasses.replace(NODE, labels=sliced),)
    world.settle(world.serve_all)
    (revision,) = world.names("ControllerRevision")
    assert world.status["plan"]["gpu"]["product"] == "NVIDIA-L4"
    world.change(gpu={"count": 1, "products": ["NVIDIA-H200-MIG-1g.18gb"]})
    world.reconcile(1)
    (second,) = world.names("ControllerRevision") - {revision}
    assert world.plan_key(second) != world.plan_key(revision), "it is measured in full"


def test_a_new_driver_makes_the_figures_stale() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    world.remove_pod(pod)
    world.deployment_controller()
    (pod,) = world.pods("server")
    world.runs(pod, "Probing", environment=Environment(cpu_model="EPYC", driver_version="600.1"))
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert "A new measurement follows" in world.condition("Measured")["message"]


def test_another_claim_is_a_new_revision_whose_figures_are_known() -> None:
    world = hub_world()
    (first,) = world.names("ControllerRevision")
    world.change(cache={"persistentVolumeClaim": {"claimName": "cache-2"}})
    world.reconcile(1)
    (second,) = world.names("ControllerRevision") - {first}
    assert world.plan_key(second) == world.plan_key(first)
    assert world.brief("Ready") == ("True", "Serving"), "the first one serves meanwhile"
    world.settle(world.serve_all)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_a_lost_status_is_read_back_from_pods_that_run() -> None:
    world = measured_world()
    before, writes = copy.deepcopy(world.status), world.mutations
    del world.raw["status"]
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.status["measurements"] == before["measurements"]
    assert world.mutations == writes


def test_with_the_pods_lost_too_the_plan_stays_and_the_first_pod_is_measured() -> None:
    world = measured_world()
    revisions = world.names("ControllerRevision")
    del world.raw["status"]
    for pod in world.pods("server"):
        world.remove_pod(pod)
    world.reconcile(1)
    assert world.brief("Planned") == ("True", "PlanReady")
    assert world.brief("Measured") == ("Unknown", "NotMeasuredYet")
    assert world.names("ControllerRevision") == revisions
    assert not world.pods("inspect")


def test_a_resource_without_its_children_is_inspected_planned_and_measured_as_at_first() -> None:
    world = measured_world()
    revisions = world.names("ControllerRevision")
    del world.raw["status"]
    world.objects.clear()
    world.reconcile()
    assert len(world.pods("inspect")) == 1
    world.inspected(facts())
    world.settle(world.serve_all)
    assert world.names("ControllerRevision") == revisions
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_node_that_boots_with_another_driver_gives_no_old_figures_a_new_machine() -> None:
    """Its pods keep their files, and told the last measurement beside the new driver, or a new image."""
    world = measured_world()
    (pod,), (before,) = world.pods("server"), world.status["measurements"]
    report = world.reports[pod["metadata"]["uid"]]
    machine = dataclasses.replace(report.environment, driver_version="600")
    world.reconcile(60)
    world.runs(pod, "Serving", ready=True, environment=machine, measurement=report.measurement)
    pod["status"]["containerStatuses"][0] |= {"restartCount": 1}
    world.reconcile(1)
    (entry,) = world.status["measurements"]
    assert (entry["fingerprint"], entry["state"]) == (before["fingerprint"], "Stale")
    assert world.brief("Measured") == ("False", "MeasurementStale")
    world.serves(pod, state="Complete")
    pod["status"]["containerStatuses"][0] |= {"restartCount": 1}
    world.reports[pod["metadata"]["uid"]] = dataclasses.replace(
        world.reports[pod["metadata"]["uid"]], environment=machine
    )
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete"), "it is of this run"
