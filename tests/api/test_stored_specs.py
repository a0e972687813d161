"""A resource that an earlier CRD accepted, and the present one does not: as after an upgrade."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tools.cluster.handle import Cluster
from tools.harness.definition import DEFINITION
from tools.harness.operating import await_condition, resource
from tools.harness.operator_process import Operator, eventually


def accept_preset(api: Cluster, name: str) -> None:
    """Adds a preset to those that the stored definition accepts."""
    found = yaml.safe_load(DEFINITION.read_text())
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    engine = schema["properties"]["spec"]["properties"]["engine"]["properties"]
    engine["custom"]["properties"]["preset"]["enum"].append(name)
    api.apply(found)


def test_a_preset_that_is_no_more_is_a_condition(
    api: Cluster, namespace: str, account: Path, tmp_path: Path
) -> None:
    stored = resource(namespace)
    custom = {"name": "custom", "image": "registry.example/tgi:1", "custom": {"preset": "tgi"}}
    stored["spec"] |= {"engine": custom, "gpu": {"count": 1}}
    for field in ("quantization", "context"):
        stored["spec"].pop(field, None)
    accept_preset(api, "tgi")
    try:
        eventually("the earlier definition holds", lambda: accepted(api, stored))
    finally:
        api.apply(yaml.safe_load(DEFINITION.read_text()))
    operator = Operator(account, tmp_path / "operator.log")
    operator.start()
    try:
        stalled = await_condition(api, namespace, "Stalled", "True", "UnreadableSpec")
        await_condition(api, namespace, "Ready", "False", "UnreadableSpec")
        assert "spec.engine.custom.preset: Input should be 'sglang' or 'trtllm'" in stalled["message"]
        api.apply(resource(namespace))
        await_condition(api, namespace, "Stalled", "True", "CacheNotFound")  # read again, as any other
    finally:
        operator.kill()


def accepted(api: Cluster, stored: dict[str, Any]) -> bool | None:
    """True once the API server validates by the changed definition."""
    try:
        api.apply(stored)
    except subprocess.CalledProcessError:
        return None
    return True
