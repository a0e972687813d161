"""The chart's default mirror: for resources that name no hub, and for their downloads."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.fetch import ENV_FETCH_CONFIG, FetchConfig
from tacho_contract.model import ENV_INSPECT_CONFIG, InspectConfig
from tacho_operator.core.manifests.pod_template import pod_template
from tools.harness.resources import CONFIG, HUB_SPEC, changed, hub_plan, resource
from tools.harness.world import World

MIRROR = "https://mirror.example"
MODEL = {key: value for key, value in HUB_SPEC["model"].items() if key != "hub"}


def _variable(container: dict[str, Any], name: str) -> str:
    return next(str(item["value"]) for item in container["env"] if item["name"] == name)


@pytest.mark.parametrize(
    ("hub", "endpoint"),
    [
        ({}, MIRROR),
        ({"hub": {"endpoint": "https://own.example"}}, "https://own.example"),
        ({"hub": {"env": [{"name": "HF_ENDPOINT", "value": "https://own.example"}]}}, ""),
    ],
)
def test_a_hub_that_no_resource_names_is_the_operators(hub: dict[str, Any], endpoint: str) -> None:
    spec = changed(HUB_SPEC, model={**MODEL, **hub}, cache=None)
    config = dataclasses.replace(CONFIG, hub_endpoint=MIRROR)
    world = World(spec, config)
    world.reconcile()
    (inspecting,) = world.pods("inspect")[0]["spec"]["containers"]
    asked = codec.loads(InspectConfig, _variable(inspecting, ENV_INSPECT_CONFIG))
    assert asked.endpoint == endpoint
    template = pod_template(resource(spec), hub_plan(), revision="r", plan_key="k", config=config)
    fetching = next(item for item in template["spec"]["initContainers"] if item["name"] == "fetch")
    assert codec.loads(FetchConfig, _variable(fetching, ENV_FETCH_CONFIG)).endpoint == endpoint
