"""Nodes with GPUs that take no pod of a resource: why, and what a user can set."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.planner.inputs import NAMED_NODES, nodes_read
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, PlanResult
from tacho_operator.core.types import NodeFacts
from tools.harness.resources import resource
from tools.mock.specs import CONFIG, cpu_node, gpu_node, smollm2, spec

SKU = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
ODH = {"key": "odh/gpu", "value": "", "effect": "NoSchedule"}
SLICES = {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "3", "nvidia.com/mig-2g.20gb": "2"}
SHARED = {"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}


def l4(name: str = "g-0", **fields: Any) -> NodeFacts:
    return dataclasses.replace(gpu_node(name, "NVIDIA-L4", memory_mib=23034, compute="8.9"), **fields)


def planned(*nodes: NodeFacts, **fields: Any) -> PlanResult:
    """The plan in the operator; one of all nodes, as the command line makes it, is the same."""
    asked, facts = spec(**fields), smollm2()
    read = nodes_read(asked, nodes, CONFIG)
    found = plan_model(asked, facts, nodes=read, history=(), config=CONFIG)
    assert found == plan_model(asked, facts, nodes=nodes, history=(), config=CONFIG)
    return found


def tolerated(*tolerations: dict[str, str]) -> dict[str, Any]:
    return {"podTemplate": {"spec": {"tolerations": list(tolerations)}}}


def affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return {"podTemplate": {"spec": {"affinity": {"nodeAffinity": nodes}}}}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "tainted": (
        {"taints": (SKU,)},
        {},
        "has the taint sku=gpu:NoSchedule",
        'Add {key: sku, value: "gpu", effect: NoSchedule} to podTemplate.spec.tolerations',
    ),
    "tainted, no value": (
        {"taints": (ODH,)},
        {},
        "has the taint odh/gpu:NoSchedule",
        "Add {key: odh/gpu, operator: Exists, effect: NoSchedule} to podTemplate.spec.tolerations",
    ),
    "tainted twice, one of them tolerated": (
        {"taints": (SKU, ODH)},
        tolerated({"key": "sku", "operator": "Exists"}),
        "has the taint odh/gpu:NoSchedule",
        "Add {key: odh/gpu, operator: Exists, effect: NoSchedule} to podTemplate.spec.tolerations",
    ),
    "GPU taint of another effect": (
        {"taints": ({"key": "nvidia.com/gpu", "effect": "NoExecute"},)},
        {},
        "has the taint nvidia.com/gpu:NoExecute",
        "Add {key: nvidia.com/gpu, operator: Exists, effect: NoExecute} to podTemplate.spec.tolerations",
    ),
    "cordoned": (
        {
            "unschedulable": True,
            "taints": ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},),
        },
        {},
        "is cordoned",
        "Run kubectl uncordon g-0",
    ),
    "not ready": ({"ready": False}, {}, "is not ready", "See kubectl describe node g-0"),
    "short of disk": (
        {"taints": ({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},)},
        {},
        "has the taint node.kubernetes.io/disk-pressure:NoSchedule",
        "See kubectl describe node g-0",
    ),
    "not selected": (
        {},
        {"podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}}}},
        "lacks pool=gpu of podTemplate.spec.nodeSelector",
        "Run kubectl label node g-0 pool=gpu, or change podTemplate.spec.nodeSelector",
    ),
    "of another zone": (
        {},
        affinity({"key": "zone", "operator": "In", "values": ["a", "b"]}),
        "does not match podTemplate.spec.affinity.nodeAffinity",
        "Change that affinity",
    ),
    "slices": (
        {"allocatable": SLICES},
        {},
        "offers nvidia.com/mig-1g.10gb (3), nvidia.com/mig-2g.20gb (2), not nvidia.com/gpu",
        "Set gpu: {resourceName: nvidia.com/mig-2g.20gb}",
    ),
    "another slice": (
        {"allocatable": SLICES},
        {"gpu": {"resourceName": "nvidia.com/mig-3g.40gb"}},
        "offers nvidia.com/mig-1g.10gb (3), nvidia.com/mig-2g.20gb (2), not nvidia.com/mig-3g.40gb",
        "Set gpu: {resourceName: nvidia.com/mig-2g.20gb}",
    ),
    "renamed shares": (
        {"allocatable": {"nvidia.com/gpu.shared": "4"}},
        {},
        "offers nvidia.com/gpu.shared (4), not nvidia.com/gpu",
        "Set gpu: {resourceName: nvidia.com/gpu.shared}",
    ),
    "tainted and renamed": (
        {"taints": (SKU,), "allocatable": {"nvidia.com/gpu.shared": "4"}},
        {},
        "has the taint sku=gpu:NoSchedule and offers nvidia.com/gpu.shared (4), not nvidia.com/gpu",
        'Add {key: sku, value: "gpu", effect: NoSchedule} to podTemplate.spec.tolerations and set gpu: '
        "{resourceName: nvidia.com/gpu.shared}",
    ),
}


@pytest.mark.parametrize(
    "asked",
    [
        {"podTemplate": {"spec": {"nodeSelector": {"pool": "cpu"}}}},
        affinity({"key": "pool", "operator": "In", "values": ["cpu"]}),
    ],
    ids=["selector", "affinity"],
)
def test_a_template_that_chooses_nodes_without_gpus_chooses_the_cpu(asked: dict[str, Any]) -> None:
    plain = dataclasses.replace(cpu_node(), labels={"pool": "cpu"})
    found = planned(l4(), plain, **asked)
    assert isinstance(found, ModelPlan)
    assert found.gpu_count == 0


def test_more_gpus_than_an_eligible_node_has_name_the_node_that_has_them() -> None:
    many = dataclasses.replace(
        gpu_node("big", "NVIDIA-H100-80GB-HBM3", 8, memory_mib=81559, compute="9.0"), taints=(SKU,)
    )
    found = planned(l4(), many, gpu={"count": 4})
    assert isinstance(found, ModelPlan)
    assert "Not eligible: big (NVIDIA-H100-80GB-HBM3) has the taint sku=gpu:NoSchedule" in found.message


@pytest.mark.parametrize(
    "key", ["ToBeDeletedByClusterAutoscaler", "node.cloudprovider.kubernetes.io/uninitialized"]
)
def test_taints_of_nodes_that_come_or_go_are_not_to_be_tolerated(key: str) -> None:
    found = planned(l4(taints=({"key": key, "effect": "NoSchedule"},)), cpu_node())
    assert isinstance(found, PlanFailure)
    assert "See kubectl describe node g-0" in found.failure.next_step


@pytest.mark.parametrize(("fields", "asked", "why", "step"), CASES.values(), ids=CASES)
def test_gpus_that_are_all_ineligible_are_named_and_no_cpu_is_planned(
    fields: dict[str, Any], asked: dict[str, Any], why: str, step: str
) -> None:
    """Without a word on GPUs, too; the model is small enough for a CPU."""
    found = planned(l4(**fields), cpu_node(), **asked)
    assert isinstance(found, PlanFailure)
    said = found.failure.message
    assert said.startswith("No node with GPUs is eligible: g-0 (NVIDIA-L4")
    assert said.endswith(f") {why}.")
    assert found.failure.next_step == f"{step}. To run on the CPU, set gpu.count to 0."


def test_what_the_step_says_makes_the_node_eligible() -> None:
    tolerations = tolerated({"key": "sku", "value": "gpu", "effect": "NoSchedule"})
    shared = l4(allocatable={"nvidia.com/gpu.shared": "4"})
    shared = dataclasses.replace(shared, labels={**shared.labels, **SHARED})
    for node, fields in (
        (l4(taints=(SKU,)), tolerations),
        (l4(allocatable=SLICES), {"gpu": {"resourceName": "nvidia.com/mig-2g.20gb"}}),
        (shared, {"gpu": {"resourceName": "nvidia.com/gpu.shared"}}),
        (l4(taints=(SKU,)), {"gpu": {"count": 0}}),
    ):
        assert isinstance(planned(node, cpu_node(), **fields), ModelPlan)


@pytest.mark.parametrize("operator", ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])
@pytest.mark.parametrize("value", [None, "1", "3", "x"])
def test_required_affinity_is_read_as_the_scheduler_reads_it(operator: str, value: str | None) -> None:
    values = ["2"] if operator in ("Gt", "Lt") else ["1", "x"] if operator in ("In", "NotIn") else []
    node = l4()
    node = dataclasses.replace(node, labels=node.labels | ({"k": value} if value else {}))
    found = planned(node, **affinity({"key": "k", "operator": operator, "values": values}))
    fits = {
        "In": value in ("1", "x"),
        "NotIn": value not in ("1", "x"),
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "Gt": value == "3",
        "Lt": value == "1",
    }
    assert isinstance(found, ModelPlan) == fits[operator]


def test_nodes_of_a_kind_are_counted_and_few_kinds_are_described() -> None:
    nodes = [l4(f"a-{n}", taints=(SKU,)) for n in range(NAMED_NODES + 3)]
    nodes += [
        l4("b-0", ready=False),
        l4("c-0", unschedulable=True),
        l4("d-0", taints=(ODH,)),
        l4("d-1", taints=(ODH,)),
    ]
    found = planned(*nodes)
    assert isinstance(found, PlanFailure)
    assert "a-0 (NVIDIA-L4; 7 more like it) has the taint sku=gpu:NoSchedule; b-0" in found.failure.message
    assert found.failure.message.endswith("c-0 (NVIDIA-L4) is cordoned; 2 other nodes as well.")


def test_a_product_whose_nodes_are_ineligible_is_not_said_to_be_on_no_node() -> None:
    found = planned(l4(taints=(SKU,)), gpu={"products": ["L4"]})
    assert isinstance(found, ModelPlan)
    assert found.gpu_product == "NVIDIA-L4"
    assert "No node has this GPU" not in found.message
    assert found.warnings[-1] == (
        "Not eligible: g-0 (NVIDIA-L4) has the taint sku=gpu:NoSchedule. To use it, add {key: sku, value: "
        '"gpu", effect: NoSchedule} to podTemplate.spec.tolerations.'
    )
    elsewhere = planned(l4(taints=(SKU,)), gpu={"products": ["H100"]})
    assert isinstance(elsewhere, ModelPlan)
    assert "No node has this GPU now; planned from the catalog." in elsewhere.message


def test_a_product_that_only_an_ineligible_node_describes_is_planned() -> None:
    node = dataclasses.replace(gpu_node("g-0", "NVIDIA-NEW", memory_mib=24000, compute="9.0"), taints=(SKU,))
    found = planned(node, gpu={"products": ["NVIDIA-NEW"]})
    assert isinstance(found, ModelPlan)
    assert found.gpu_memory_bytes > 20 * 2**30


def test_where_the_eligible_gpu_is_too_small_the_others_are_named() -> None:
    small = dataclasses.replace(gpu_node("t-0", "NVIDIA-TINY", memory_mib=1000, compute="8.6"))
    found = planned(small, l4(taints=(SKU,)), gpu={"count": 1})
    assert isinstance(found, PlanFailure)
    assert "Not eligible: g-0 (NVIDIA-L4) has the taint sku=gpu:NoSchedule." in found.failure.next_step


def test_a_shared_gpu_that_is_too_small_says_with_how_many() -> None:
    node = gpu_node("t-0", "Tesla-T4", 4, memory_mib=5000, compute="7.5", **SHARED)
    found = planned(node, gpu={"count": 1}, context={"maxModelLen": 8192, "concurrency": 16})
    assert isinstance(found, PlanFailure)
    assert "Tesla-T4, which 4 pods share, provides" in found.failure.message


@pytest.mark.parametrize(
    ("fields", "configured", "tolerations"),
    [
        ({"gpu": {"count": 1}}, CONFIG.gpu_tolerations, list(CONFIG.gpu_tolerations)),
        ({"gpu": {"count": 1}}, (), None),
        ({"gpu": {"count": 0}}, CONFIG.gpu_tolerations, None),
        ({"gpu": {"count": 1}, **tolerated(SKU)}, CONFIG.gpu_tolerations, [SKU, *CONFIG.gpu_tolerations]),
        (
            {"gpu": {"count": 1, "resourceName": "amd.com/gpu"}},
            CONFIG.gpu_tolerations,
            [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        ),
    ],
)
def test_pods_with_gpus_tolerate_the_taint_of_gpu_nodes(
    fields: dict[str, Any], configured: tuple[dict[str, str], ...], tolerations: list[dict[str, str]] | None
) -> None:
    plan = planned(l4())
    assert isinstance(plan, ModelPlan)
    plan = dataclasses.replace(plan, gpu_count=fields["gpu"]["count"])
    config = dataclasses.replace(CONFIG, gpu_tolerations=configured)
    found = resource({"model": {"uri": "hf://owner/name"}, **fields})
    template = pod_template(found, plan, revision="r", plan_key="k", config=config)
    assert template["spec"].get("tolerations") == tolerations


def test_without_the_toleration_the_taint_of_gpu_nodes_counts() -> None:
    config = dataclasses.replace(CONFIG, gpu_tolerations=())
    tainted = l4(taints=({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},))
    found = plan_model(spec(), smollm2(), nodes=(tainted,), history=(), config=config)
    assert isinstance(found, PlanFailure)
    assert "has the taint nvidia.com/gpu=present:NoSchedule" in found.failure.message
    assert isinstance(planned(tainted), ModelPlan)
