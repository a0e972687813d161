"""The definition on a real API server: installed, explained, defaulted, stored without loss."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tacho_operator.api.crd.schema import Schema, resource_schema
from tacho_operator.api.rules import RULES
from tacho_operator.shell.store.resource_state import is_reported
from tests.unit.api.rows import Row
from tests.unit.api.samples import sample
from tools.cluster.handle import Cluster

SCHEMA = resource_schema(RULES)


def create(api: Cluster, namespace: str, name: str = "smollm2") -> None:
    """The resource of the README, as `kubectl apply` makes it."""
    document = Row(name="x", resource_name=name).document()
    api.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))


def read(api: Cluster, namespace: str, name: str = "smollm2") -> dict[str, Any]:
    """The resource as stored."""
    stored: dict[str, Any] = api.get("llmd", name, "-n", namespace)
    return stored


def apply_status(api: Cluster, namespace: str, manager: str, status: dict[str, Any]) -> None:
    """Server-side apply of status, as the operator writes it."""
    api.kubectl(
        *("apply", "--server-side", "--subresource=status", f"--field-manager={manager}", "-f", "-"),
        stdin=json.dumps(
            {
                "apiVersion": "tacho.dev/v1alpha1",
                "kind": "LLMDeployment",
                "metadata": {"name": "smollm2", "namespace": namespace},
                "status": status,
            }
        ),
    )


def test_the_schema_is_structural_and_its_rules_are_affordable(api: Cluster) -> None:
    stored = api.get("crd", "llmdeployments.tacho.dev")
    conditions = {c["type"]: c["status"] for c in stored["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_a_client_side_apply_of_the_definition_can_be_repeated(api: Cluster) -> None:
    annotations = api.get("crd", "llmdeployments.tacho.dev")["metadata"]["annotations"]
    assert len(annotations["kubectl.kubernetes.io/last-applied-configuration"]) < 256 * 1024


def test_until_an_operator_comes_it_says_that_it_waits(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    stored = read(api, namespace)
    assert stored["spec"]["replicas"] == 1
    assert [(c["type"], c["status"], c["reason"]) for c in stored["status"]["conditions"]] == [
        ("Ready", "Unknown", "WaitingForOperator")
    ]
    assert not is_reported(stored), "what the API server fills in, no operator has said"
    with pytest.raises(subprocess.CalledProcessError) as waited:
        api.kubectl("wait", "-n", namespace, "--for=condition=Ready", "llmd/smollm2", "--timeout=1s")
    assert "timed out waiting" in waited.value.stderr


def test_only_the_status_subresource_writes_status(api: Cluster, namespace: str) -> None:
    document = {**Row(name="x").document(), "status": {"url": "http://elsewhere"}}
    api.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    assert "url" not in read(api, namespace)["status"]


def test_every_field_of_status_is_stored_as_written(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    status = sample(SCHEMA["properties"]["status"])
    apply_status(api, namespace, "tacho", status)
    stored = read(api, namespace)["status"]
    waiting, condition = stored.pop("conditions")
    assert waiting["type"] == "Ready"
    assert [condition] == status.pop("conditions")
    assert stored == status


def test_conditions_of_two_writers_stand_side_by_side(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    for manager, kind in (("tacho", "Planned"), ("other", "Measured")):
        condition = {
            "type": kind,
            "status": "True",
            "reason": "X",
            "message": "x",
            "lastTransitionTime": "2026-11-20T08:00:00Z",
        }
        apply_status(api, namespace, manager, {"conditions": [condition]})
    assert {c["type"] for c in read(api, namespace)["status"]["conditions"]} == {
        "Ready",
        "Planned",
        "Measured",
    }


def test_get_shows_what_matters(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    apply_status(
        api,
        namespace,
        "tacho",
        {
            "replicas": 1,
            "summary": {
                "outputTokensPerSecond": "812.4",
                "ttftMilliseconds": "143",
                "confidence": "Provisional",
                "outputTokensPerSecondShown": "~812",
                "ttftMillisecondsShown": "~143",
            },
            "plan": {"quantizationMethod": "gguf", "gpu": {"product": "CPU"}, "revision": "smollm2-abc"},
        },
    )
    head, row = api.kubectl("get", "tacho", "-n", namespace).splitlines()
    assert head.split() == [
        "NAME",
        "MODEL",
        "QUANT",
        "GPU",
        "READY",
        "REASON",
        "REPLICAS",
        "TOK/S",
        *("TTFT", "MS"),
        "AGE",
    ]
    assert row.split()[:9] == [
        *("smollm2", "pvc://models/smollm2", "gguf", "CPU"),
        *("Unknown", "WaitingForOperator", "1", "~812", "~143"),
    ]
    wide = api.kubectl("get", "llmd", "-n", namespace, "-o", "wide").splitlines()[0].split()
    assert wide[-2:] == ["AGE", "REVISION"], "no column without figures"


def objects(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every object a person can ask `kubectl explain` about."""
    if "properties" in schema:
        yield path, schema
        for name, child in schema["properties"].items():
            yield from objects(child, f"{path}.{name}")
    elif "items" in schema:
        yield from objects(schema["items"], path)


def test_explain_is_useful_at_every_level(api: Cluster) -> None:
    deadline = time.monotonic() + 30
    while "No description" in (first := explain(api, "llmd.spec")) and time.monotonic() < deadline:
        time.sleep(0.5)  # the API server publishes a new definition's schema a moment later
    assert "tacho chooses the value of an absent field" in " ".join(first.split())
    silent = []
    for part in ("spec", "status"):
        for path, schema in objects(SCHEMA["properties"][part], f"llmd.{part}"):
            text = explain(api, path)
            described = text.split("DESCRIPTION:", 1)[1].split("FIELDS:", 1)
            if "<empty>" in text or "<no description>" in text or not described[0].strip():
                silent.append(path)
            silent += [
                f"{path}.{name}" for name in schema["properties"] if f"  {name}\t<" not in described[1]
            ]
    assert silent == []


def explain(api: Cluster, path: str) -> str:
    """What `kubectl explain` says; empty-handed while the schema is not published."""
    try:
        return api.kubectl("explain", path)
    except subprocess.CalledProcessError:
        return "No description"
