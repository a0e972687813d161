"""What an absent field means: the same in code, in the field's description and in the runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.launch import ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api import defaults
from tacho_operator.api.crd.schema import resource_schema
from tacho_operator.api.types import LLMDeployment
from tests.unit.api.rows import Row

SPEC = resource_schema(())["properties"]["spec"]
DESCRIBED = {
    **{path: value for path, value in defaults.MEANT.items() if path != ("engine", "custom", "port")},
    ("workload", "inputTokens"): Workload().input_tokens,
    ("workload", "outputTokens"): Workload().output_tokens,
    ("slo", "percentile"): ServiceLevel().percentile,
    ("autoscaling", "mode"): "Enforce",
    ("probe", "policy"): ProbeSettings().policy,
    ("probe", "budgetSeconds"): ProbeSettings().budget_seconds,
    ("probe", "timeoutSeconds"): f"twice the budget, at least {ProbeSettings().timeout_seconds}",
}


def described(path: tuple[str, ...]) -> str:
    node: Any = SPEC
    for name in path:
        node = node["properties"][name]
    return " ".join(node["description"].split())


@pytest.mark.parametrize("path", DESCRIBED, ids=".".join)
def test_the_description_says_what_absence_means(path: tuple[str, ...]) -> None:
    assert f"Absent: {DESCRIBED[path]}" in described(path)


def spec(**change: object) -> Any:
    return LLMDeployment.read(Row(name="x", change=change).document()).spec


def test_what_is_said_is_taken_and_the_rest_is_the_contracts() -> None:
    said = spec(workload={"inputTokens": 9}, slo={"ttftMilliseconds": 7}, probe={"policy": "Always"})
    assert defaults.workload(said) == Workload(input_tokens=9)
    assert defaults.service_level(said) == ServiceLevel(ttft_milliseconds=7)
    assert defaults.probe_settings(said) == ProbeSettings(policy="Always")
    assert defaults.workload(spec()) == Workload()
    assert defaults.gpu_resource(spec()) == "nvidia.com/gpu"
    assert (
        defaults.gpu_resource(spec(gpu={"resourceName": "nvidia.com/gpu.shared"})) == "nvidia.com/gpu.shared"
    )
    assert defaults.grace_seconds(spec()) == 120
    assert defaults.scaling_mode(spec()) is None
    assert defaults.scaling_mode(spec(autoscaling={"maxReplicas": 2})) == "Enforce"
    assert defaults.scaling_mode(spec(autoscaling={"maxReplicas": 2, "mode": "Recommend"})) == "Recommend"
