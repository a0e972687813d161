"""What planning reads of a node, and which nodes take a pod."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tacho_operator.api.defaults import GPU_TOLERATIONS
from tacho_operator.core.pods.nodes import (
    PodPlacement,
    eligible,
    memory_bytes,
    node_facts,
    on_nodes,
    resource_count,
    tolerates,
)
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import NodeFacts

READY = {"type": "Ready", "status": "True"}
TAINT = {"key": "team", "value": "ml", "effect": "NoSchedule"}


def test_what_is_read_of_a_node() -> None:
    found = node_facts(
        {
            "metadata": {"name": "n", "labels": {"zone": "a"}},
            "spec": {"taints": [TAINT], "unschedulable": True},
            "status": {"allocatable": {"cpu": "4"}, "conditions": [READY]},
        }
    )
    assert found == NodeFacts(
        name="n",
        labels={"zone": "a"},
        allocatable={"cpu": "4"},
        taints=(TAINT,),
        ready=True,
        unschedulable=True,
    )


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"spec": {}, "status": {}},
        {"spec": {"taints": None}, "status": {"allocatable": None, "conditions": None}},
    ],
)
def test_a_node_that_says_nothing_is_not_ready(node: dict[str, Any]) -> None:
    assert node_facts({"metadata": {"name": "n"}, **node}) == NodeFacts(
        name="n", labels={}, allocatable={}, ready=False
    )


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ([{"type": "MemoryPressure", "status": "False"}, READY], True),
        ([{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
    ],
)
def test_a_node_is_ready_by_its_ready_condition_alone(conditions: list[dict[str, str]], ready: bool) -> None:
    assert node_facts({"metadata": {"name": "n"}, "status": {"conditions": conditions}}).ready == ready


@pytest.mark.parametrize(
    ("toleration", "accepts"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "team", "value": "ml"}, True),
        ({"key": "team", "operator": "Equal", "value": "ml"}, True),
        ({"key": "team", "operator": "Equal", "value": "web"}, False),
        ({"key": "other", "value": "ml"}, False),
        ({"key": "team"}, False),
        ({"key": "team", "value": "ml", "effect": "NoSchedule"}, True),
        ({"key": "team", "value": "ml", "effect": "NoExecute"}, False),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_a_toleration_accepts_a_taint_as_the_scheduler_reads_it(
    toleration: dict[str, str], accepts: bool
) -> None:
    assert tolerates(TAINT, [toleration]) == accepts
    assert tolerates(TAINT, [{"key": "other", "effect": "NoExecute"}, toleration]) == accepts


def test_a_taint_without_a_value_is_met_by_a_toleration_without_one() -> None:
    taint = {"key": "team", "effect": "NoSchedule"}
    assert tolerates(taint, [{"key": "team"}])
    assert not tolerates(taint, [{"key": "team", "value": "ml"}])
    assert not tolerates(taint, [])


@pytest.mark.parametrize(
    ("node", "gpu", "taken"),
    [
        ({}, False, True),
        ({"ready": False}, False, False),
        ({"unschedulable": True}, False, False),
        ({"labels": {"zone": "b"}}, False, False),
        ({"labels": {}}, False, False),
        ({"taints": (TAINT,)}, False, False),
        ({"taints": ({**TAINT, "effect": "PreferNoSchedule"},)}, False, True),
        ({"taints": ({"key": "nvidia.com/gpu", "effect": "NoSchedule"},)}, True, True),
        ({"taints": ({"key": "nvidia.com/gpu", "effect": "NoSchedule"},)}, False, False),
        ({"taints": ({"key": "nvidia.com/gpu", "effect": "NoSchedule"}, TAINT)}, True, False),
        ({"taints": ({"key": "spot", "effect": "NoSchedule"},)}, False, True),
    ],
)
def test_which_nodes_take_a_pod(node: dict[str, Any], gpu: bool, taken: bool) -> None:
    facts = NodeFacts(**{"name": "n", "labels": {"zone": "a", "rack": "1"}, "allocatable": {}, **node})
    tolerations = ({"key": "spot", "operator": "Exists"}, *(GPU_TOLERATIONS if gpu else ()))
    found = eligible([facts], PodPlacement(selector={"zone": "a"}, tolerations=tolerations))
    assert found == ((facts,) if taken else ())


@pytest.mark.parametrize(
    ("allocatable", "memory", "gpus"),
    [
        ({"memory": "8Gi", "nvidia.com/gpu": "4"}, 8 << 30, 4),
        ({}, 0, 0),
        ({"memory": "much", "nvidia.com/gpu": "some"}, 0, 0),
    ],
)
def test_what_a_node_offers(allocatable: dict[str, str], memory: int, gpus: int) -> None:
    node = NodeFacts(name="n", labels={}, allocatable=allocatable)
    assert (memory_bytes(node), resource_count(node, "nvidia.com/gpu")) == (memory, gpus)


@pytest.mark.parametrize(
    ("node", "nodes", "is_ready"),
    [
        ("n1", ("n1", "n2"), True),
        ("n1", ("n2",), False),
        ("", ("n2",), True),
        ("n1", (), True),
        ("n1", None, True),
    ],
)
def test_a_pod_whose_node_was_deleted_is_not_ready(
    node: str, nodes: tuple[str, ...] | None, is_ready: bool
) -> None:
    kept = {"type": "PodScheduled", "status": "True"}
    conditions = [kept, {"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions}
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": node}, "status": status}
    before = copy.deepcopy(pod)
    known = nodes and tuple(NodeFacts(name=name, labels={}, allocatable={}) for name in nodes)
    (found,) = map(PodView, on_nodes([pod], known))
    assert (found.ready, found.reason) == (is_ready, "" if is_ready else "NodeDeleted")
    assert found.condition("PodScheduled").status == "True"
    assert pod == before
