"""KEDA scales LLMDeployments by what tacho exports: the examples, but for names and shorter windows."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import yaml

from tests.e2e.load import Load, service_url
from tests.e2e.mocks import OUTPUT_TOKENS, fill_model, mock
from tests.e2e.resource import Llmd, eventually
from tests.nightly.scalers.conftest import Scalers
from tools import lab

pytestmark = pytest.mark.timeout(1500)

EXAMPLES = lab.ROOT / "examples" / "autoscaling"
TRIGGERS = ("metrics-api", "prometheus")
FILES = {"metrics-api": "keda.yaml", "prometheus": "keda-prometheus.yaml"}
LAW = ("--itl-base-ms=63", "--itl-per-seq-ms=0")
"""A good second for each request, however many run: no doubt about the speed changes the demand."""
CONTEXT = {"maxModelLen": 3000, "concurrency": 6}
CLIENTS = 14
"""Each asks again at once, and every connection gets a pod by chance.

Demand is what arrives in a second, over what a replica was measured to serve. Who waits for an answer sends
nothing, so only what runs counts. Replayed with the mock's scheduler, for 1, 2 and 3 replicas of 6 places:

    1: 6 run, demand 0.99, over 0.8 = 2 replicas
    2: 11.0 of 12 run, as chance leaves places empty; demand 1.81 (1.71 to 1.87), 13 % over 2 x 0.8
    3: 13.4 run, demand 2.18; more than 1.6, for which two suffice, less than 2.64, 10 % over 3 x 0.8

A HorizontalPodAutoscaler tolerates 10 %: 1.76 of two. After a start of the operator the first sample knows
no rate and counts requests: 14 / 6 = 2.33. Six clients for three places were 5.1 requests a second, or 1.65.

Demand is over the lower bound of what was measured. With an interval of 25 % it was 3.0 of three replicas,
and a fourth was right.
"""
PATIENCE_SECONDS = 420
"""Of a rise that is looked at every 30 s, and of a fall that is smoothed over three minutes."""


def scaled_object(trigger: str, llmd: Llmd) -> dict[str, Any]:
    """The example with the resource's name in it."""
    text = (EXAMPLES / FILES[trigger]).read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    document["metadata"] = {"name": llmd.name, "namespace": llmd.namespace}
    spec = document["spec"]
    spec["scaleTargetRef"]["name"] = llmd.name
    for item in spec["triggers"]:
        item["metadata"] = {
            key: value.replace("default/chat", f"{llmd.namespace}/{llmd.name}")
            .replace('"default"', f'"{llmd.namespace}"')
            .replace('"chat"', f'"{llmd.name}"')
            for key, value in item["metadata"].items()
        }
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    behavior["scaleDown"] = {
        "stabilizationWindowSeconds": 10,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 10}],
    }
    return document


def autoscaler(llmd: Llmd) -> dict[str, Any]:
    """The HorizontalPodAutoscaler that KEDA made."""
    found: dict[str, Any] = llmd.cluster.get("hpa", f"keda-hpa-{llmd.name}", "-n", llmd.namespace)
    return found


def await_active(llmd: Llmd, status: str, reason: str) -> None:
    """Until the autoscaler says that of the number it scales by."""

    def look() -> bool | None:
        made = llmd.cluster.get("hpa", "-n", llmd.namespace)["items"]
        name = f"keda-hpa-{llmd.name}"
        found = [item.get("status") or {} for item in made if item["metadata"]["name"] == name]
        conditions = [item for shown in found for item in shown.get("conditions") or ()]
        told = [(item["type"], item["status"], item["reason"]) for item in conditions]
        return ("ScalingActive", status, reason) in told or None

    eventually(f"an autoscaler of {llmd.name} with ScalingActive={status} {reason}", look)


@pytest.fixture
def both(scalers: Scalers, namespace: str) -> dict[str, Llmd]:
    fill_model(scalers.tacho, namespace)
    found = {trigger: Llmd(scalers.cluster, namespace, f"by-{trigger}") for trigger in TRIGGERS}
    probe = {"budgetSeconds": 45, "timeoutSeconds": 120}  # in 20 s the capacity is known to 25 %
    for llmd in found.values():  # one after the other: each is to be measured without the other beside it
        llmd.apply(mock(scalers.tacho, *LAW, context=CONTEXT, replicas=1, probe=probe))
        llmd.await_condition("Ready", "True", "Serving")
        llmd.await_figures()
    return found


def test_one_to_three_to_one_by_prometheus_and_by_json(scalers: Scalers, both: dict[str, Llmd]) -> None:
    for trigger, llmd in both.items():
        scalers.cluster.apply(scaled_object(trigger, llmd))
        await_active(llmd, "True", "ValidMetricFound")
    await_scraped(scalers, both)

    sizes: dict[str, list[int]] = {trigger: [] for trigger in both}

    def all_are(size: int) -> bool | None:
        for trigger, llmd in both.items():
            sizes[trigger].append(len(llmd.pods()))
        return all(found[-1] == size for found in sizes.values()) or None

    body = {"model": "mine", "prompt": "Once upon a time", "max_tokens": OUTPUT_TOKENS, "ignore_eos": True}
    loads = [
        Load(service_url(llmd, "/v1/completions"), body, clients=CLIENTS, pause_seconds=0)
        for llmd in both.values()
    ]
    try:
        with contextlib.ExitStack() as stack:
            for load in loads:
                stack.enter_context(load.running())
            eventually("three replicas each", lambda: all_are(3), PATIENCE_SECONDS)
            for llmd in both.values():
                llmd.await_condition("Ready", "True", "Serving")
                shows_who_scales(llmd)
            without_the_operator_nothing_changes(scalers, both)
            assert all_are(3)
        eventually("one replica each", lambda: all_are(1), PATIENCE_SECONDS)
    finally:
        print({trigger: changes(found) for trigger, found in sizes.items()})
        for llmd in both.values():
            print(json.dumps(autoscaler(llmd).get("status"), indent=1))
    assert [load.lost for load in loads] == [[], []]
    assert all(load.answered > CLIENTS for load in loads)
    assert {trigger: max(found) for trigger, found in sizes.items()} == dict.fromkeys(TRIGGERS, 3)


def changes(sizes: list[int]) -> list[int]:
    """Without repetitions."""
    return [size for index, size in enumerate(sizes) if index == 0 or size != sizes[index - 1]]


def await_scraped(scalers: Scalers, both: dict[str, Llmd]) -> None:
    """Prometheus has found the operator and a pod of each, and has the series that the query asks for."""
    (namespace,) = {llmd.namespace for llmd in both.values()}
    series = f'tacho_llmdeployment_utilization_ratio{{namespace="{namespace}"}}'
    eventually("the operator scraped", lambda: scalers.prometheus.values('up{job="tacho"}') == [1] or None)
    eventually(
        "a pod of each scraped", lambda: scalers.prometheus.values('sum(up{job="models"})') == [2] or None
    )
    eventually("the utilization of each", lambda: len(scalers.prometheus.query(series)) == 2 or None)


def shows_who_scales(llmd: Llmd) -> None:
    """The number came through /scale, from an autoscaler with the plain example's target."""
    plain = yaml.safe_load((EXAMPLES / "horizontal-pod-autoscaler.yaml").read_text())
    (metric,) = autoscaler(llmd)["spec"]["metrics"]
    assert metric["external"]["target"] == plain["spec"]["metrics"][0]["external"]["target"]
    found = llmd.get()
    assert found["spec"]["replicas"] == 3
    writers = {entry["manager"] for entry in managed_fields(llmd) if entry.get("subresource") == "scale"}
    assert writers == {"kube-controller-manager"}
    assert "autoscaling" not in (found.get("status") or {})


def managed_fields(llmd: Llmd) -> list[dict[str, Any]]:
    told = llmd.cluster.get("llmd", llmd.name, "-n", llmd.namespace, "--show-managed-fields")
    found: list[dict[str, Any]] = told["metadata"]["managedFields"]
    return found


def without_the_operator_nothing_changes(scalers: Scalers, both: dict[str, Llmd]) -> None:
    """No number is no reason to give replicas up: both autoscalers hold, and say why."""

    def operators(count: int) -> None:
        scale = ("scale", f"deployment/{lab.RELEASE}", "-n", lab.OPERATOR_NAMESPACE, f"--replicas={count}")
        scalers.cluster.kubectl(*scale)

    operators(0)
    try:
        for llmd in both.values():
            await_active(llmd, "False", "FailedGetExternalMetric")
            assert llmd.get()["spec"]["replicas"] == 3
    finally:
        operators(1)
    for llmd in both.values():
        await_active(llmd, "True", "ValidMetricFound")
        assert llmd.get()["spec"]["replicas"] == 3
