"""Pods select the label that a node has, however its product is called there."""

from __future__ import annotations

from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tools.harness.resources import CONFIG, raw_resource, resource
from tools.mock.specs import gpu_node, smollm2


def test_pods_select_a_short_name_and_the_plan_has_the_product() -> None:
    """The runtime compares the plan with what the driver says, and a short name stopped each pod."""
    asked = resource({**raw_resource()["spec"], "gpu": {"count": 1}})
    plan = plan_model(asked.spec, smollm2(), nodes=(gpu_node("a", "L4"),), history=(), config=CONFIG)
    assert isinstance(plan, ModelPlan)
    assert plan.gpu_product == "NVIDIA-L4"
    found = pod_template(asked, plan, revision="smol-0123456789", plan_key="k" * 10, config=CONFIG)["spec"]
    assert found["nodeSelector"] == {"nvidia.com/gpu.product": "L4"}
