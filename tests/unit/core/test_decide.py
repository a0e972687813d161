"""Whole stories, told against a cluster of dictionaries: what a user sees from apply to delete."""

from __future__ import annotations

import copy
import dataclasses

from tacho_contract.fetch import FetchProgress
from tacho_contract.uri import ClaimUri
from tacho_operator.core import names
from tacho_operator.core.reconcile import decide
from tacho_operator.core.revisions.identity import desired_revision_name
from tools.harness.resources import CLAIM_SPEC, CONFIG, HUB_SPEC, NOW, at, changed, facts, hub_facts
from tools.harness.world import MOCK_SPEC, World
from tools.mock.specs import smollm2

WAITING = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "WaitingForOperator",
    "message": "",
    "lastTransitionTime": at(-60),
}


def test_apply_to_measured() -> None:
    world = World()
    world.raw["status"] = {"conditions": [WAITING]}
    world.reconcile()
    assert world.names("Pod")
    assert not world.names("Deployment")
    assert world.status["selector"] == "tacho.dev/deployment=smol,tacho.dev/role=server"
    assert world.brief("Ready") == ("False", "Inspecting")
    assert world.brief("Planned") == ("Unknown", "Inspecting")
    assert world.brief("Reconciling") == ("True", "Inspecting")
    assert world.brief("Measured") == ("absent", "")
    world.inspected(facts())
    world.reconcile(3)
    assert world.brief("Planned") == ("True", "PlanReady")
    assert world.brief("Ready") == ("False", "Starting")
    assert world.brief("RolloutAccepted") == ("absent", "")
    world.deployment_controller()
    (pod,) = world.pods("server")
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Scheduling")
    assert not world.pods("inspect"), "the inspect pod has done its work"
    world.runs(pod, "Starting")
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Loading")
    world.runs(pod, "Probing")
    decision = world.reconcile(1)
    assert world.brief("Ready") == ("False", "Measuring")
    assert world.brief("Measured") == ("Unknown", "Measuring")
    assert decision.requeue_after_seconds == 2.0
    world.serves(pod)
    world.reconcile(30)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.brief("RolloutAccepted") == ("True", "FirstRevision")
    assert world.brief("Reconciling") == ("False", "Settled")
    assert world.status["summary"] == {
        "outputTokensPerSecond": "204.8",
        "ttftMilliseconds": "104",
        "confidence": "Clean",
        "outputTokensPerSecondShown": "204.8",
        "ttftMillisecondsShown": "104",
    }
    assert world.status["observedGeneration"] == 1
    assert world.status["startup"]["loadSeconds"] == 4
    assert world.events == [
        ("Normal", "PlanReady"),
        ("Normal", "Serving"),
        ("Normal", "MeasurementComplete"),
    ]
    assert world.reconcile(1).requeue_after_seconds is None


def test_nothing_changes_means_nothing_is_done() -> None:
    world = World()
    world.come_up()
    before = (world.mutations, copy.deepcopy(world.raw["status"]), list(world.events))
    for _ in range(3):
        decision = world.reconcile(3600)
        assert decision.delete == ()
    assert (world.mutations, world.raw["status"], world.events) == before


def test_an_operator_upgrade_restarts_no_pod() -> None:
    world = World()
    world.come_up()
    before = copy.deepcopy(world.objects)
    world.config = dataclasses.replace(
        CONFIG, tacho_image="registry.example/tacho:2.0.0", engine_images={"custom": "other:2"}
    )
    world.reconcile(10)
    assert world.objects == before
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    world.settle(world.serve_all)
    (name,) = world.names("Deployment")
    pod = world.objects["Deployment", name]["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["image"] == "registry.example/tacho:2.0.0", (
        "new revisions take the new one"
    )


def test_an_identity_change_surges_and_the_old_one_drains() -> None:
    world = World()
    world.come_up()
    (old,) = world.names("Deployment")
    world.roll_out()
    new = next(name for name in world.names("Deployment") if name != old)
    assert world.selected() == old
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling") == ("True", "RollingOut")
    assert world.brief("RolloutAccepted") == ("Unknown", "Judging")
    assert world.status["plan"]["revision"] == old
    assert {item["name"]: item["phase"] for item in world.status["revisions"]} == {
        old: "Active",
        new: "Candidate",
    }
    world.serve_all()
    world.reconcile(5)
    assert world.selected() == old, "a pod that has just become ready relieves nobody"
    world.reconcile(5)
    assert world.selected() == "", "both serve while it settles"
    assert world.brief("Reconciling") == ("True", "RollingOut")
    assert world.status["plan"]["revision"] == old
    world.reconcile(29)
    assert world.sizes() == {old: 1, new: 1}
    world.reconcile(1)
    assert world.selected() == new
    assert world.names("Deployment") == {new}
    assert world.status["plan"]["revision"] == new
    world.reconcile(1)
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert {item["name"]: item["phase"] for item in world.status["revisions"]} == {
        new: "Active",
        old: "Retired",
    }
    assert not world.pods("inspect"), "the same model needs no second inspection"


def test_going_back_while_the_candidate_is_pending() -> None:
    world = World()
    world.come_up()
    (old,) = world.names("Deployment")
    spec = copy.deepcopy(world.raw["spec"])
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    assert len(world.names("Deployment")) == 2
    world.raw["spec"] = spec
    world.raw["metadata"]["generation"] += 1
    world.settle()
    assert world.names("Deployment") == {old}
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling") == ("False", "Settled")


def test_going_back_later_takes_the_frozen_revision_up_again() -> None:
    world = World()
    world.come_up()
    (old,) = world.names("Deployment")
    first = copy.deepcopy(world.objects["Deployment", old]["spec"]["template"])
    spec = copy.deepcopy(world.raw["spec"])
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.settle(world.serve_all)
    world.config = dataclasses.replace(CONFIG, tacho_image="registry.example/tacho:2.0.0")
    world.raw["spec"] = spec
    world.settle(world.serve_all)
    assert world.names("Deployment") == {old}
    assert world.objects["Deployment", old]["spec"]["template"] == first
    assert world.brief("Measured") == ("True", "MeasurementComplete"), "its figures are still known"


def test_three_replicas_take_over_pod_by_pod() -> None:
    world = World(changed(MOCK_SPEC, replicas=3))
    world.reconcile()
    world.inspected(facts())
    world.reconcile(1)
    (old,) = world.sizes()
    assert world.sizes() == {old: 1}, "what fails fails once"
    world.settle(world.serve_all)
    assert world.sizes() == {old: 3}
    assert "PodDisruptionBudget" in {kind for kind, _ in world.objects}
    world.roll_out()
    (new,) = set(world.sizes()) - {old}
    assert world.sizes() == {old: 3, new: 1}
    ready = 3
    for _ in range(12):
        assert sum(world.sizes().values()) <= 4, "one more than replicas"
        pending = [pod for pod in world.pods("server", new) if "status" not in pod]
        if pending:
            world.serves(pending[0])
        world.reconcile(6)
        world.deployment_controller()
        assert world.brief("Ready")[0] == "True"
        selected = world.selected()
        ready = sum(
            1
            for pod in world.pods("server", selected)
            if pod.get("status", {}).get("conditions", [{}])[-1].get("status") == "True"
        )
        assert ready >= 3, "capacity never drops"
    assert world.sizes() == {new: 3}
    assert world.selected() == new


def test_scaling_changes_the_deployment_alone() -> None:
    world = World()
    world.come_up()
    (name,) = world.sizes()
    template = copy.deepcopy(world.objects["Deployment", name]["spec"]["template"])
    world.change(replicas=2)
    world.reconcile(1)
    world.deployment_controller()
    assert world.sizes() == {name: 2}
    assert world.objects["Deployment", name]["spec"]["template"] == template
    assert world.brief("Ready") == ("True", "PartlyServing")
    assert world.brief("Reconciling") == ("True", "Scaling")
    world.settle(world.serve_all)
    assert world.status["readyReplicas"] == world.status["replicas"] == 2
    assert len(world.status["measurements"]) == 1, "one measurement for one configuration"
    world.change(replicas=0)
    world.settle()
    assert world.brief("Ready") == ("False", "ScaledToZero")
    assert world.brief("Stalled") == ("False", "Progressing")
    assert ("PodDisruptionBudget", "smol") not in world.objects


def test_a_first_revision_that_never_served_gives_way_at_once() -> None:
    world = World()
    world.first_pods()
    (broken,) = world.names("Deployment")
    world.change(engine={**MOCK_SPEC["engine"], "image": "registry.example/mock:2"})
    world.reconcile(1)
    if world.pods("inspect"):
        world.inspected(facts())
    world.settle(world.serve_all)
    assert broken not in world.names("Deployment")
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("RolloutAccepted")[0] == "True"


def test_deletion_is_left_to_the_garbage_collector() -> None:
    world = World()
    world.come_up()
    world.raw["metadata"]["deletionTimestamp"] = at(0)
    decision = decide(world.observed(), CONFIG, NOW)
    assert (decision.apply, decision.delete, decision.events) == ((), (), ())
    assert world.written(decision) == world.raw["status"]


def test_every_child_is_owned_and_labelled() -> None:
    world = World(changed(MOCK_SPEC, replicas=2))
    world.come_up()
    assert {kind for kind, _ in world.objects} == {
        "ConfigMap",
        "ControllerRevision",
        "Deployment",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "Service",
    }
    for (kind, _), item in world.objects.items():
        if kind == "Pod":
            continue  # its Deployment's, not ours
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("uid-smol", True, True)
        assert item["metadata"]["labels"][names.DEPLOYMENT_LABEL] == "smol"


def test_every_selector_carries_the_role() -> None:
    world = World(changed(MOCK_SPEC, replicas=2))
    world.come_up()
    (deployment,) = (item for (kind, _), item in world.objects.items() if kind == "Deployment")
    selectors = [
        world.service()["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        world.objects["PodDisruptionBudget", "smol"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector[names.ROLE_LABEL] == "server" for selector in selectors)
    (role,) = world.objects["NetworkPolicy", "smol"]["spec"]["podSelector"]["matchExpressions"]
    assert role == {"key": names.ROLE_LABEL, "operator": "In", "values": ["probe", "server"]}


def test_download_progress_is_shown_and_counted() -> None:
    world = World(changed(MOCK_SPEC, model=HUB_SPEC["model"], cache=HUB_SPEC["cache"]))
    world.reconcile()
    world.inspected(hub_facts())
    world.reconcile(1)
    world.deployment_controller()
    (pod,) = world.pods("server")
    world.runs(
        pod,
        "WaitingForModel",
        fetch=FetchProgress(state="Downloading", bytes_done=1_200_000_000, bytes_total=4_400_000_000),
    )
    decision = world.reconcile(1)
    assert world.brief("Ready") == ("False", "Downloading")
    assert "downloading 1.2 of 4.4 GB (27 %)" in world.condition("Ready")["message"]
    assert world.status["startup"]["downloadedBytes"] == 1_200_000_000
    assert decision.requeue_after_seconds == 2.0


def test_a_changed_token_is_for_the_next_revision() -> None:
    world = World(changed(MOCK_SPEC, model=HUB_SPEC["model"], cache=HUB_SPEC["cache"]))
    world.reconcile()
    world.inspected(hub_facts())
    world.settle(world.serve_all)
    before = {key: copy.deepcopy(item) for key, item in world.objects.items() if key[0] == "Deployment"}
    world.change(model={**HUB_SPEC["model"], "tokenSecretRef": {"name": "other"}})
    world.settle(world.serve_all)
    assert {key: item for key, item in world.objects.items() if key[0] == "Deployment"} == before
    note = "The changed model.tokenSecretRef needs a new revision: give tacho.dev/replan a new value."
    assert note in world.condition("Planned")["message"]
    world.raw["metadata"]["annotations"] = {"tacho.dev/replan": "token"}
    world.settle(world.serve_all)
    assert note not in world.condition("Planned")["message"]


def test_history_is_pruned_to_five_and_keeps_what_serves() -> None:
    world = World()
    world.come_up()
    for length in range(256, 256 + 8):
        world.change(context={"maxModelLen": length, "concurrency": 2})
        world.settle(world.serve_all)
    assert len(world.names("ControllerRevision")) == 5
    assert desired_revision_name(world.observed().resource) in world.names("ControllerRevision")
    assert len(world.status["revisions"]) == 5
    assert len(world.status["measurements"]) == 4
    assert [item["phase"] for item in world.status["revisions"]].count("Active") == 1


def test_a_lost_service_comes_back_selecting_who_served() -> None:
    world = World()
    world.come_up()
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    before = world.selected()
    del world.objects["Service", "smol"]
    world.reconcile(1)
    assert world.selected() == before


def test_trusting_the_models_code_is_said_aloud() -> None:
    world = World(changed(MOCK_SPEC, model={**MOCK_SPEC["model"], "trustRemoteCode": True}))
    world.come_up()
    assert world.events.count(("Warning", "TrustRemoteCode")) == 1


def test_what_will_not_work_is_said_aloud_before_anything_serves_once_for_each_revision() -> None:
    world = World(CLAIM_SPEC)
    world.reconcile()
    world.inspected(dataclasses.replace(smollm2(), chat_template=False))
    world.reconcile(1)
    assert world.brief("Ready")[0] == "False"
    assert world.events.count(("Warning", "PlanWarning")) == 2
    chat, image = world.status["plan"]["warnings"]
    assert "no chat template" in chat
    assert image.startswith("No registry publishes tacho-llamacpp: build it")
    assert "engineImages.llamacpp" in image
    assert all(warning in world.status["plan"]["message"] for warning in (chat, image))
    world.settle(world.serve_all)
    assert world.events.count(("Warning", "PlanWarning")) == 2


def test_facts_of_former_revisions_are_kept_and_others_forgotten() -> None:
    world = World()
    world.come_up()
    first = set(world.objects["ConfigMap", "smol-facts"]["data"])
    world.change(model={"uri": "pvc://models/other", "servedName": "smollm2"})
    world.reconcile(1)
    world.change(model={"uri": "pvc://models/third", "servedName": "smollm2"})
    world.reconcile(1)
    assert set(world.objects["ConfigMap", "smol-facts"]["data"]) == first
    world.inspected(facts(uri=ClaimUri("models", "third")))
    world.reconcile(1)
    assert len(world.objects["ConfigMap", "smol-facts"]["data"]) == 2
