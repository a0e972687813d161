"""What the tests of the choice share: three kinds of nodes, and plans made on them."""

from __future__ import annotations

from benchmarks.planner.models import facts
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tools.mock.specs import CONFIG, gpu_node, spec

T4 = gpu_node("t4", "Tesla-T4", 4, memory_mib=15360, compute="7.5")
L4 = gpu_node("l4", "NVIDIA-L4", 1, memory_mib=23034, compute="8.9")
H100 = gpu_node("h100", "NVIDIA-H100-80GB-HBM3", 8, memory_mib=81559, compute="9.0")


def plan(model, nodes=None, history=(), **fields):
    return plan_model(spec(**fields), facts(model), nodes=nodes, history=history, config=CONFIG)


def fitting(model, nodes=None, **fields) -> ModelPlan:
    found = plan(model, nodes, **fields)
    assert isinstance(found, ModelPlan), found
    return found


def refused(model, nodes=None, **fields) -> PlanFailure:
    found = plan(model, nodes, **fields)
    assert isinstance(found, PlanFailure), found
    return found
