"""What goes wrong, as the user sees it: which condition says what, and what goes on regardless."""

from __future__ import annotations

import pytest

from tacho_contract.failure import Failure
from tacho_operator.core import names
from tacho_operator.core.status.requeue import STALLED_SECONDS
from tacho_operator.core.types import ChildRefusal, NodeFacts
from tools.harness.pod_states import container_state, insufficient
from tools.harness.resources import CLAIM_SPEC, changed, facts
from tools.harness.world import MOCK_SPEC, World, copied, world_of
from tools.mock.specs import cpu_node, gpu_node, smollm2


def test_a_model_that_does_not_fit_starts_no_engine_pod() -> None:
    world = World(changed(CLAIM_SPEC, context={"maxModelLen": 131072, "concurrency": 512}))
    world.reconcile()
    world.inspected(
        Failure(failure_class="DoesNotFit", message="It needs 3 TiB.", next_step="Shorten the context.")
    )
    world.reconcile(2)
    assert world.brief("Ready") == ("False", "DoesNotFit")
    assert world.brief("Stalled") == ("True", "DoesNotFit")
    assert not world.names("Deployment")


def test_the_plan_of_a_model_that_does_not_fit_has_figures() -> None:
    world = World(changed(CLAIM_SPEC, context={"maxModelLen": 8192, "concurrency": 4}))
    world.nodes = (cpu_node(memory="512Mi"),)
    world.reconcile()
    world.inspected(smollm2())
    world.reconcile(1)
    assert world.brief("Stalled") == ("True", "DoesNotFit")
    predicted = world.status["plan"]["predicted"]
    assert predicted["totalBytes"] > predicted["budgetBytes"] > predicted["weightsBytes"] > 0
    assert not world.names("Deployment")


def test_an_engine_without_an_image_is_planned_and_stalled() -> None:
    spec = changed(
        MOCK_SPEC, engine={"name": "custom", "custom": {"command": ["x"]}}, model=CLAIM_SPEC["model"]
    )
    world = World(spec)
    world.reconcile()
    world.inspected(facts())
    world.reconcile(1)
    assert world.brief("Planned")[0] == "False"
    assert world.brief("Stalled") == ("True", "InvalidConfig")
    assert "Set engine.image" in world.condition("Ready")["message"]


def test_a_bad_change_keeps_the_old_revision_serving() -> None:
    world = World()
    world.come_up()
    (old,) = world.names("Deployment")
    world.change(model={"uri": "pvc://models/other"})
    world.reconcile(1)
    assert world.brief("Planned") == ("Unknown", "Inspecting")
    assert world.brief("Ready") == ("True", "Serving")
    world.inspected(
        Failure(failure_class="ModelNotFound", message="No such folder.", next_step="Check model.uri.")
    )
    decision = world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Planned") == ("False", "ModelNotFound")
    assert world.brief("Stalled") == ("True", "ModelNotFound")
    assert world.brief("Reconciling") == ("False", "Failed")
    assert world.names("Deployment") == {old}
    assert decision.requeue_after_seconds is not None
    assert ("Warning", "ModelNotFound") in world.events


def test_a_first_pod_without_room_is_not_said_to_need_nobody() -> None:
    world = World()
    world.first_pods()
    insufficient(world.pods("server")[0])
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Unschedulable")
    assert world.brief("Stalled") == ("False", "Progressing")
    assert world.condition("Stalled")["message"] == "It may still resolve by itself. See Ready."


def test_a_request_that_no_node_can_meet_has_figures() -> None:
    greedy = {"requests": {"cpu": "1", "memory": "64Gi"}}
    world = World(changed(MOCK_SPEC, engine={**MOCK_SPEC["engine"], "resources": greedy}))
    memory = ("12Gi", "31Gi", "what")
    world.nodes = tuple(
        NodeFacts(name=size, labels={}, allocatable={"cpu": "4", "memory": size}) for size in memory
    )
    world.first_pods()
    (pod,) = world.pods("server")
    insufficient(pod, "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory.")
    world.reconcile(1)
    message = world.condition("Ready")["message"]
    asked = "No node has enough cpu, memory (64.0 GiB requested, 31.0 GiB at most) for a pod."
    assert message.startswith(f"{asked} Lower spec.engine.resources, or add a larger node. Details: 0/3")


def test_a_candidate_without_room_says_so_and_goes_on_later() -> None:
    world = World()
    world.come_up()
    (old,) = world.names("Deployment")
    world.roll_out()
    (new,) = world.names("Deployment") - {old}
    (pod,) = world.pods("server", new)
    insufficient(pod)
    world.reconcile(60)
    assert world.brief("Stalled")[0] == "False"
    assert "No node has enough memory" in world.condition("RolloutAccepted")["message"]
    world.reconcile(600)
    assert world.brief("Stalled") == ("True", "Unschedulable")
    assert world.brief("RolloutAccepted") == ("False", "Unschedulable")
    assert world.brief("Ready") == ("True", "Serving")
    assert world.selected() == old
    world.serves(pod)
    world.settle()
    assert world.selected() == new
    assert world.names("Deployment") == {new}


def without_spare_gpu(**more: object) -> tuple[World, str]:
    """(A world whose candidate waits for the GPU of the active revision, the latter's name)."""
    world = World(changed(MOCK_SPEC, gpu={"count": 1}, **more))
    world.come_up()
    (old,) = world.names("Deployment")
    world.roll_out()
    (pod,) = [pod for pod in world.pods("server") if old not in pod["metadata"]["name"]]
    insufficient(pod, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    world.reconcile(700)
    return world, old


def test_a_candidate_that_waits_for_the_actives_gpu_has_a_class_of_its_own() -> None:
    world, old = without_spare_gpu()
    assert world.brief("RolloutAccepted") == ("False", "NoSpareGPU")
    assert world.brief("Stalled") == ("True", "NoSpareGPU")
    assert "until it serves. From 1, set 0, then 1 again." in world.condition("Stalled")["message"]
    world.change(replicas=0)
    world.settle()
    world.change(replicas=1)
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")
    assert old not in world.names("Deployment")


def test_a_candidate_that_waits_for_a_gpu_beside_a_scaler_is_not_helped_by_replicas() -> None:
    """The message said to run fewer replicas, which autoscaling ignores."""
    world, _ = without_spare_gpu(autoscaling={"maxReplicas": 4})
    assert world.brief("Stalled") == ("True", "NoSpareGPU")
    assert "or remove spec.autoscaling and run fewer replicas until" in world.condition("Stalled")["message"]
    world.change(replicas=0, autoscaling=None)
    world.settle()
    world.change(replicas=1)
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")


def test_a_candidate_does_not_wait_for_a_gpu_of_an_active_revision_on_the_cpu() -> None:
    world = World(changed(MOCK_SPEC, gpu={"count": 0}))
    world.come_up()
    (old,) = world.names("Deployment")
    world.change(gpu={"count": 1})
    world.reconcile(1)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if old not in pod["metadata"]["name"]]
    insufficient(pod, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    world.reconcile(700)
    assert world.brief("RolloutAccepted") == ("False", "Unschedulable")


def test_a_candidate_does_not_wait_for_a_gpu_of_another_product() -> None:
    """NoSpareGPU advised to scale to 0, which frees GPUs that the candidate does not select."""
    products = ("NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3")
    world = World(changed(MOCK_SPEC, gpu={"count": 1, "products": [products[0]]}))
    world.nodes = tuple(gpu_node(name, product=name) for name in products)
    world.come_up()
    (old,) = world.names("Deployment")
    world.change(gpu={"count": 1, "products": [products[1]]})
    world.reconcile(1)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if old not in pod["metadata"]["name"]]
    insufficient(pod, "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had taints.")
    world.reconcile(700)
    assert world.brief("RolloutAccepted") == ("False", "Unschedulable")
    assert "run fewer replicas" not in world.condition("Stalled")["message"]


def test_quota_on_the_inspect_pod_is_named() -> None:
    world = World()
    said = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1'
    world.refusals = (ChildRefusal(kind="Pod", name="smol-inspect-x-1", role="inspect", message=said),)
    world.reconcile()
    assert world.brief("Ready") == ("False", "QuotaExceeded")
    assert world.brief("Stalled") == ("True", "QuotaExceeded")


def without_pods(message: str) -> World:
    """Its ReplicaSet could create no pod, for the reason in ``message``."""
    world = World()
    world.reconcile()
    world.inspected(facts())
    world.reconcile(1)
    (name,) = world.names("Deployment")
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    world.objects["ReplicaSet", f"{name}-1"] = {
        "kind": "ReplicaSet",
        "metadata": {"name": f"{name}-1", "labels": {names.REVISION_LABEL: name}},
        "status": {"conditions": [failed]},
    }
    world.reconcile(1)
    return world


def test_admission_that_refuses_pods_is_named() -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    world = without_pods(message)
    assert world.brief("Ready") == ("False", "AdmissionDenied")


def test_a_webhook_that_does_not_answer_is_named_and_awaited() -> None:
    """It was said that admission refuses the pods, and to change spec: nothing had been refused."""
    message = (
        'Internal error occurred: failed calling webhook "pods.policy.example": failed to call webhook: '
        'Post "https://policy.svc:443/": context deadline exceeded'
    )
    world = without_pods(message)
    assert world.brief("Ready") == ("False", "AdmissionUnavailable")
    assert "admission webhook pods.policy.example does not answer" in world.condition("Ready")["message"]
    assert world.brief("Stalled") == ("False", "Progressing")
    assert world.condition("Reconciling")["status"] == "True"


def test_a_pod_more_than_desired_that_waits_for_a_node_is_named_with_the_cause() -> None:
    """As of a node selector that somebody added to the Deployment: it stayed Pending unexplained."""
    world = World()
    world.come_up()
    (pod,) = world.pods("server")
    more = {**copied(pod), "spec": {}}
    more["metadata"] |= {"name": "smol-more", "uid": "more"}
    insufficient(more, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
    world.objects["Pod", "smol-more"] = more
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.condition("Reconciling")["message"] == (
        "spec.replicas is 1; 2 pods exist. Pod smol-more waits for a node. "
        "Details: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    )


def test_a_pod_more_than_desired_of_an_edited_template_is_explained() -> None:
    world = World()
    world.come_up()
    (pod,) = world.pods("server")
    more = copied(pod)
    more["metadata"] |= {"name": "smol-more", "uid": "more"}
    world.objects["Pod", "smol-more"] = more
    for each, uid in ((pod, "old"), (more, "new")):
        owner = {"kind": "ReplicaSet", "name": uid, "uid": uid, "controller": True}
        each["metadata"]["ownerReferences"] = [owner]
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Scaling")
    (name,) = world.names("Deployment")
    assert world.condition("Reconciling")["message"] == (
        f"spec.replicas is 1; 2 pods exist. Deployment {name} replaces pods of an earlier ReplicaSet."
    )


def test_a_missing_claim_is_named_before_any_pod_is_made() -> None:
    world = World()
    world.claims = {"models": None}
    decision = world.reconcile()
    assert world.brief("Ready") == ("False", "CacheNotFound")
    assert "PersistentVolumeClaim models" in world.condition("Ready")["message"]
    assert world.brief("Planned") == ("False", "CacheNotFound")
    assert not world.objects
    assert decision.requeue_after_seconds == STALLED_SECONDS
    world.claims = {"models": {"spec": {"accessModes": ["ReadWriteOnce"]}}}
    world.reconcile(30)
    assert world.brief("Ready") == ("False", "Inspecting")


def test_a_claim_for_one_pod_holds_back_replicas_and_candidates() -> None:
    world = World(changed(MOCK_SPEC, replicas=2))
    world.claims = {"models": {"spec": {"accessModes": ["ReadWriteOncePod"]}}}
    world.come_up()
    assert set(world.sizes().values()) == {1}
    assert world.brief("Stalled") == ("True", "CacheNotShareable")
    assert world.brief("Ready") == ("True", "PartlyServing")
    assert world.condition("Ready")["message"].startswith("1 of 2 replicas serve. Claim models is")
    world.change(replicas=1)
    world.settle()
    assert world.brief("Stalled")[0] == "False"
    before = world.names("Deployment")
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.settle()
    assert world.names("Deployment") == before
    assert world.brief("Stalled") == ("True", "CacheNotShareable")
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("RolloutAccepted") == ("False", "CacheNotShareable")
    newest = world.status["revisions"][0]
    assert (newest["phase"], newest["reason"]) == ("Candidate", "CacheNotShareable")


def test_the_engine_that_crashes_is_quoted() -> None:
    world = World()
    world.first_pods()
    (pod,) = world.pods("server")
    message = (
        '{"failureClass":"ModelInvalid","message":"The file is cut.","nextStep":"Upload it again.",'
        '"logTail":["gguf_init: bad magic"]}'
    )
    container_state(
        pod,
        restartCount=1,
        state={"waiting": {"reason": "CrashLoopBackOff"}},
        lastState={"terminated": {"exitCode": 1, "message": message}},
    )
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "ModelInvalid")
    assert world.brief("Stalled") == ("True", "ModelInvalid")
    said = world.condition("Ready")["message"]
    assert "Upload it again." in said
    assert "bad magic" in said
    assert world.events[-1] == ("Warning", "ModelInvalid")


INVALID = (
    'Deployment.apps "x" is invalid: spec.template.labels: Invalid value: "a b": name part must consist of'
)
REPEATED = (
    "failed to create typed patch object (ml/x; apps/v1, Kind=Deployment): "
    '.spec.template.spec.topologySpreadConstraints: duplicate entries for key [topologyKey="zone"]'
)
DENIED = 'admission webhook "policy.example" denied the request: no'
TOO_LARGE = "Request entity too large: limit is 3145728"


@pytest.mark.parametrize(
    ("said", "reason", "field"),
    [
        (INVALID, "InvalidConfig", "spec.template.labels"),
        (REPEATED, "InvalidConfig", "spec.template.spec.topologySpreadConstraints"),
        (TOO_LARGE, "InvalidConfig", "Request entity too large"),
        (DENIED, "AdmissionDenied", ""),
    ],
)
def test_a_refused_candidate_is_told_beside_the_revision_that_serves(
    said: str, reason: str, field: str
) -> None:
    world = World(MOCK_SPEC)
    world.come_up()
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    (candidate,) = {name for name in _applied(world, "Deployment") if name not in world.sizes()}
    world.refusals = (ChildRefusal(kind="Deployment", name=candidate, message=said, invalid=True),)
    world.reconcile(1)
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("True", reason)
    assert world.brief("Reconciling") == ("False", "Failed")
    assert world.brief("RolloutAccepted") == ("False", reason)
    message = world.condition("Stalled")["message"]
    assert field in message
    assert said[:200] in message


def test_ready_follows_the_pods_while_a_child_is_refused_or_unanswered() -> None:
    world = World()
    world.come_up()
    said = ChildRefusal(kind="Deployment", name="smol-x", message=INVALID, invalid=True)
    (pod,) = world.pods("server")
    for refusals, unanswered in (((said,), None), ((), said)):
        world.refusals, world.unanswered = refusals, unanswered
        world.serves(pod)
        world.reconcile(1)
        assert world.brief("Ready") == ("True", "Serving")
        world.crash(pod)
        world.reconcile(1)
        assert world.brief("Ready")[0] == "False"
        assert world.brief("Reconciling") != ("False", "Settled")


def test_a_refused_candidate_is_no_refused_change_of_the_size() -> None:
    world = world_of()
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    (candidate,) = {name for name in _applied(world, "Deployment") if name not in world.sizes()}
    world.refusals = (ChildRefusal(kind="Deployment", name=candidate, message=INVALID, invalid=True),)
    world.reconcile(1)
    assert world.brief("ScalingActive")[1] != "FailedUpdateScale"
    (active,) = world.sizes().keys() - {candidate}
    world.refusals = (ChildRefusal(kind="Deployment", name=active, message=INVALID, invalid=True),)
    world.reconcile(1)
    assert world.brief("ScalingActive") == ("False", "FailedUpdateScale")


def _applied(world: World, kind: str) -> set[str]:
    decision = world.decision()
    return {item["metadata"]["name"] for item in decision.apply if item["kind"] == kind}
