"""What a plan reads of the nodes: enough for the same plan, and no more."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from tacho_operator.core.planner.inputs import inputs_hash, nodes_read, plan_inputs, subject_hash
from tacho_operator.core.planner.plan import fails_for_any_model, plan_model, plan_of
from tacho_operator.core.types import NodeFacts, Observed
from tests.properties import examples
from tests.unit.planner.choosing import spec
from tools.harness.resources import CONFIG, raw_resource, resource
from tools.mock.specs import smollm2

TAINTS = ({"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "own", "effect": "NoSchedule"})
LABELS = st.fixed_dictionaries(
    {"host": st.text(max_size=3)},
    optional={
        "nvidia.com/gpu.product": st.sampled_from(["NVIDIA-L4", "L4", "NVIDIA-A100-SXM4-40GB", "Unheard-Of"]),
        "nvidia.com/gpu.memory": st.sampled_from(["23034", "512"]),
        "nvidia.com/gpu.compute.major": st.sampled_from(["7", "8"]),
        "nvidia.com/gpu.replicas": st.sampled_from(["1", "4", "x"]),
        "zone": st.sampled_from(["a", "b"]),
    },
)
RESOURCES = st.fixed_dictionaries(
    {"pods": st.just("110")},
    optional={
        "memory": st.sampled_from(["1Gi", "64Gi", "?"]),
        "nvidia.com/gpu": st.sampled_from(["0", "1", "8", "?"]),
        "amd.com/gpu": st.sampled_from(["0", "8"]),
    },
)
NODES = st.lists(
    st.builds(
        NodeFacts,
        name=st.text("abc", min_size=1, max_size=2),
        labels=LABELS,
        allocatable=RESOURCES,
        taints=st.lists(st.sampled_from(TAINTS), max_size=2).map(tuple),
        ready=st.sampled_from([True, True, False]),
        unschedulable=st.sampled_from([False, False, True]),
    ),
    max_size=12,
).map(tuple)
ASKS: tuple[dict[str, Any], ...] = (
    {},
    {"gpu": {"count": 0}},
    {"gpu": {"count": 1}},
    {"gpu": {"products": ["L4"]}},
    {"podTemplate": {"spec": {"nodeSelector": {"zone": "a"}}}},
    {"podTemplate": {"spec": {"tolerations": [{"key": "own", "operator": "Exists"}]}}},
)


def seen(nodes: tuple[NodeFacts, ...] | None) -> Observed:
    return Observed(resource=resource(), raw=raw_resource(), nodes=nodes)


@examples(3)
@given(NODES, st.sampled_from(ASKS))
def test_a_plan_of_what_is_read_is_the_plan_of_all_nodes(
    nodes: tuple[NodeFacts, ...], asks: dict[str, Any]
) -> None:
    found = plan_inputs(spec(**asks), smollm2(), seen(nodes), CONFIG)
    whole = plan_model(found.spec, found.facts, nodes=nodes, history=(), config=CONFIG)
    assert plan_of(found) == whole


def hashed(*nodes: NodeFacts) -> str:
    found = plan_inputs(spec(), smollm2(), seen(nodes), CONFIG)
    return inputs_hash(found, subject_hash(found))


def gpu_node(name: str, product: str = "NVIDIA-L4", **labels: str) -> NodeFacts:
    described = {"nvidia.com/gpu.product": product, **labels}
    return NodeFacts(name=name, labels=described, allocatable={"nvidia.com/gpu": "8", "cpu": name})


def test_the_hash_changes_with_what_a_plan_reads_and_with_nothing_else() -> None:
    many = [gpu_node(f"n{number:04}") for number in range(2000)]
    assert hashed(*many) == hashed(*many[:10], many[-1])
    assert len(plan_inputs(spec(), smollm2(), seen(tuple(many)), CONFIG).nodes or ()) == 6
    assert hashed(gpu_node("a", zone="x")) == hashed(gpu_node("a", zone="y"))
    assert hashed(gpu_node("a")) != hashed(gpu_node("a", product="NVIDIA-H100-80GB-HBM3"))
    assert hashed(gpu_node("a")) != hashed()


@examples(3)
@given(NODES, st.sampled_from(ASKS))
def test_what_no_model_avoids_is_as_it_is_of_all_nodes(
    nodes: tuple[NodeFacts, ...], asked: dict[str, Any]
) -> None:
    asks = spec(**asked)
    read = nodes_read(asks, nodes, CONFIG)
    assert fails_for_any_model(asks, read, CONFIG) == fails_for_any_model(asks, nodes, CONFIG)
