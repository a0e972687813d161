"""Why no node takes a pod, by the scheduler's words."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.scheduling import with_figures
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import Problem
from tacho_operator.core.status.condition_value import condition_message
from tacho_operator.core.types import NodeFacts
from tests.unit.core.test_diagnosis import unscheduled
from tools.harness.pod_states import insufficient
from tools.harness.resources import changed
from tools.harness.world import MOCK_SPEC, World
from tools.mock.specs import gpu_node


def test_waiting_for_a_node_too_long_needs_a_person() -> None:
    found = diagnose(unscheduled("no"), lost_nodes=(), schedule_overdue=True)
    assert found is not None
    assert found.needs_user_action


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        (
            "0/3 nodes: 3 Insufficient nvidia.com/gpu, 1 Insufficient memory, 2 Insufficient memory.",
            ("memory", "nvidia.com/gpu"),
        ),
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", ("nvidia.com/gpu",)),
        ("0/3 nodes are available: 3 node(s) had untolerated taints.", ()),
    ],
)
def test_what_no_node_has_enough_of(message: str, missing: tuple[str, ...]) -> None:
    found = diagnose(unscheduled(message), lost_nodes=(), schedule_overdue=False)
    assert found is not None
    assert found.missing_resources == missing
    lacks = f"has enough {', '.join(missing)} for" if missing else "fits"
    assert found.what == f"No node {lacks} pod p."
    assert found.quotation == message.rstrip(".")


@pytest.mark.parametrize(
    ("message", "next_step"),
    [
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "See kubectl desc"),
        ('0/3 nodes are available: persistentvolumeclaim "models" is being deleted.', "See kubectl desc"),
        ("0/3 nodes are available: 3 node(s) had volume node affinity conflict.", "See kubectl desc"),
        ("0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity.", "See kubectl"),
        ("0/1 nodes are available: 1 node(s) did not have enough free storage.", "See kubectl desc"),
        ("0/3 nodes: 1 node(s) had volume node affinity conflict, 2 Insufficient cpu.", "Add or free a node"),
        ("0/3 nodes are available: 3 node(s) had untolerated taint {pvc: yes}.", "If a tainted node"),
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", "Add or free a n"),
    ],
)
def test_of_a_claim_that_no_node_can_use_no_node_is_to_be_added(message: str, next_step: str) -> None:
    """The next step was to add a node or to change spec.gpu."""
    found = diagnose(unscheduled(message), lost_nodes=(), schedule_overdue=True)
    assert found is not None
    assert found.next_step.startswith(next_step)


@pytest.mark.parametrize(
    ("reasons", "tolerations"),
    [
        ("3 node(s) had untolerated taint(s)", "its taint (kubectl describe nodes)."),
        ("1 node(s) had untolerated taint {sku: gpu}", "{key: sku, operator: Exists}."),
        (
            "1 node(s) had untolerated taint {odh/gpu: }, 1 node(s) had untolerated taint "
            "{node-role.kubernetes.io/control-plane: }, 1 node(s) didn't match Pod's node affinity/selector",
            "{key: odh/gpu, operator: Exists}.",
        ),
        ("1 node(s) had untolerated taint {sku: gpu}, 2 Insufficient nvidia.com/gpu", None),
    ],
)
def test_a_taint_that_keeps_all_nodes_off_is_named(reasons: str, tolerations: str | None) -> None:
    """The operator may not be allowed to read nodes: the scheduler's words are all that is known."""
    found = diagnose(
        unscheduled(f"0/3 nodes are available: {reasons}."), lost_nodes=(), schedule_overdue=False
    )
    assert found is not None
    assert reasons in found.message
    if tolerations is None:
        assert "tolerations" not in found.next_step
    else:
        assert found.next_step.endswith(f"spec.podTemplate.spec.tolerations: {tolerations}")


def test_the_claim_may_be_another_pods() -> None:
    """As a claim in the mode ReadWriteOncePod."""
    message = (
        "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and "
        "ReadWriteOncePod access mode."
    )
    found = diagnose(unscheduled(message), lost_nodes=(), schedule_overdue=True)
    assert found is not None
    assert "used by another pod" in found.next_step


LABEL = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"}}
NOT_SELECTED = "node(s) didn't match Pod's node affinity/selector"


def test_the_labels_that_nodes_lack_are_quoted() -> None:
    view = unscheduled(f"0/2 nodes are available: 1 node(s) were unschedulable, 1 {NOT_SELECTED}.")
    found = diagnose(PodView({**view.raw, "spec": LABEL}), lost_nodes=(), schedule_overdue=False)
    assert found is not None
    assert found.what == "No node fits pod p."
    assert found.next_step.startswith("Add or free a node")
    assert found.quotation.startswith("the pod selects nvidia.com/gpu.product=NVIDIA-H200; 0/2 nodes")


def test_a_long_name_of_a_pod_hides_no_reason() -> None:
    view = unscheduled("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.")
    named = PodView({**view.raw, "metadata": {"name": f"{'long' * 15}-f9e9703e51-555b9456cf-gx6q5"}})
    found = diagnose(named, lost_nodes=(), schedule_overdue=False)
    assert found is not None
    told = condition_message(found.what, found.next_step, found.quotation)
    assert told.startswith("No node has enough cpu, memory")


def test_many_labels_leave_room_for_the_words_of_the_scheduler() -> None:
    view = unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
    selector = {"nodeSelector": {f"example.com/{number}": "x" * 63 for number in range(9)}}
    found = diagnose(PodView({**view.raw, "spec": selector}), lost_nodes=(), schedule_overdue=False)
    assert found is not None
    assert "node affinity/selector" in condition_message(found.what, found.next_step, found.quotation)


def test_labels_are_not_named_where_nodes_have_them() -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    raw = {**unscheduled(message).raw, "spec": {"nodeSelector": {"disk": "ssd"}}}
    found = diagnose(PodView(raw), lost_nodes=(), schedule_overdue=False)
    assert found is not None
    assert found.quotation == message


NODES = (
    NodeFacts(name="a", labels={"zone": "a"}, allocatable={"memory": "16Gi", "nvidia.com/gpu": "2"}),
    NodeFacts(name="b", labels={"zone": "b"}, allocatable={"memory": "64Gi", "nvidia.com/gpu": "wrong"}),
)


def container(memory: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"memory": memory}}, **more}


@pytest.mark.parametrize(
    ("spec", "missing", "figures", "next_step"),
    [
        ({"containers": [container("48Gi")]}, "memory", "", "as before"),
        (
            {"containers": [container("48Gi")], "nodeSelector": {"zone": "a"}},
            "memory",
            "(48.0 GiB requested, 16.0 GiB at most)",
            "Lower spec.engine.resources",
        ),
        (
            {
                "containers": [container("40Gi")],
                "initContainers": [container("30Gi", restartPolicy="Always"), container("90Gi")],
            },
            "memory",
            "(70.0 GiB requested, 64.0 GiB at most)",
            "Lower spec.engine.resources",
        ),
        (
            {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "4"}}}]},
            "nvidia.com/gpu",
            "(4 requested, 2 at most)",
            "as before",
        ),
        ({"containers": [{"resources": None}], "nodeSelector": None}, "memory", "", "as before"),
    ],
)
def test_a_request_beyond_every_selected_node_is_told_with_figures(
    spec: dict[str, Any], missing: str, figures: str, next_step: str
) -> None:
    before = Problem(reason="R", what="before", next_step="as before", missing_resources=(missing,))
    found = with_figures(before, spec, NODES)
    assert found.what == (f"No node has enough {missing} {figures} for a pod." if figures else "before")
    assert found.next_step.startswith(next_step)


def test_more_gpus_than_any_node_has_are_not_held_by_the_active_revision() -> None:
    """NoSpareGPU said 8 requested, 4 at most, and advised to scale to 0, which gives no node more."""
    product = "NVIDIA-H100-80GB-HBM3"
    world = World(changed(MOCK_SPEC, gpu={"count": 1, "products": [product]}))
    world.nodes = (gpu_node("node-1", product, 4),)
    world.come_up()
    (old,) = world.names("Deployment")
    world.change(gpu={"count": 8, "products": [product]})
    world.reconcile(1)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if old not in pod["metadata"]["name"]]
    insufficient(pod, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    world.reconcile(700)
    assert world.brief("Stalled") == ("True", "Unschedulable")
    message = world.condition("Stalled")["message"]
    assert message.startswith(
        "No node has enough nvidia.com/gpu (8 requested, 4 at most) for a pod. Add or free"
    )


@pytest.mark.parametrize("unknown", ["product", "revision"])
def test_gpus_of_which_nothing_is_known_may_be_those_that_a_candidate_waits_for(unknown: str) -> None:
    """Without a product in the plan, as no node was labelled, or without the active revision's record."""
    before, after = "NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"
    nodes = (gpu_node("node-1", before), gpu_node("node-2", after))
    known = unknown != "product"
    world = World(changed(MOCK_SPEC, gpu={"count": 1, **({"products": [before]} if known else {})}))
    world.nodes = nodes if known else None
    world.come_up()
    (old,) = world.names("Deployment")
    world.nodes = nodes
    world.change(gpu={"count": 1, "products": [after]})
    world.reconcile(1)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if old not in pod["metadata"]["name"]]
    insufficient(pod, "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had taints.")
    if unknown == "revision":
        del world.objects["ControllerRevision", old]
    world.reconcile(700)
    assert world.brief("Stalled") == ("True", "NoSpareGPU")
