"""The gate of a rollout on a real API server: a slower revision is rejected, and stays so."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import (
    FACTS,
    MUTATING,
    NAME,
    await_condition,
    bring_up,
    condition,
    requests_of_operator,
    resource,
)
from tools.harness.operator_process import Kubelet, Operator, eventually

SHORTER = {"maxModelLen": 512, "concurrency": 2}
GATE: dict[str, Any] = {"gate": {}}


def active(api: Cluster, namespace: str) -> str:
    notes: dict[str, str] = api.get("service", NAME, "-n", namespace)["metadata"].get("annotations") or {}
    return notes.get("tacho.dev/active-revision", "")


def deployments(api: Cluster, namespace: str) -> set[str]:
    return {item["metadata"]["name"] for item in api.get("deployments", "-n", namespace)["items"]}


def phases(api: Cluster, namespace: str) -> dict[str, str]:
    found = api.get("llmd", NAME, "-n", namespace)["status"]["revisions"]
    return {item["name"]: item["phase"] for item in found}


def replicas(api: Cluster, namespace: str) -> int:
    return int(api.get("llmd", NAME, "-n", namespace)["status"]["replicas"])


@pytest.mark.usefixtures("claim")
def test_a_slower_revision_is_rejected_and_an_admitted_one_says_what_was_compared(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kubelet.boundary = "Edge"
    bring_up(api, kubelet, namespace, rollout=GATE)
    before = active(api, namespace)
    api.apply(resource(namespace, rollout=GATE, context=SHORTER))
    pod = kubelet.serve(tokens_per_second=70.0)
    candidate = pod["metadata"]["labels"]["tacho.dev/revision"]
    judging = await_condition(api, namespace, "RolloutAccepted", "Unknown", "Judging")
    assert judging["message"]
    kubelet.measures_again(pod, 69.0)
    found = await_condition(api, namespace, "RolloutAccepted", "False", "Regression")
    assert f"Revision {candidate}: throughput 100 -> 69 tok/s (-31.0 %, tolerance 10 %)." in found["message"]
    assert f"compared with revision {before}" in found["message"]
    await_condition(api, namespace, "Stalled", "True", "Regression")
    await_condition(api, namespace, "Ready", "True", "Serving")
    eventually("its GPU is free", lambda: deployments(api, namespace) == {before} or None)
    eventually("its pod counts no more", lambda: replicas(api, namespace) == 1 or None)
    assert phases(api, namespace) == {before: "Active", candidate: "Rejected"}
    service = api.get("service", NAME, "-n", namespace)
    assert service["spec"]["selector"]["tacho.dev/revision"] == before

    operator.kill()  # the verdict is in the Service
    since = time.time()
    operator.start()
    eventually("it reconciles again", lambda: operator.reconciles() >= 2 or None)
    assert deployments(api, namespace) == {before}
    writes = [event for event in requests_of_operator(api, namespace, since) if event["verb"] in MUTATING]
    assert [(event["verb"], event["requestURI"]) for event in writes] == []
    events = api.get("events", "-n", namespace)["items"]
    assert sum(item["reason"] == "Regression" and item["type"] == "Warning" for item in events) == 1

    # A person tolerates it.
    tolerant = {"gate": {"tolerancePercent": {"throughput": 50}}}
    api.apply(resource(namespace, rollout=tolerant, context=SHORTER))
    kubelet.serve(revision=candidate, tokens_per_second=70.0)
    accepted = await_condition(api, namespace, "RolloutAccepted", "True", "Accepted")
    assert "throughput 100 -> 70 tok/s (-30.0 %, tolerance 50 %)" in accepted["message"]
    assert active(api, namespace) == candidate


@pytest.mark.usefixtures("operator", "claim")
def test_reverted_while_it_is_judged(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    kubelet.boundary = "Edge"
    bring_up(api, kubelet, namespace, rollout=GATE)
    before = active(api, namespace)
    api.apply(resource(namespace, rollout=GATE, context=SHORTER))
    pod = kubelet.serve(tokens_per_second=70.0)
    kubelet.measures_again(pod, 100.0)  # asked: the first was judged
    api.apply(resource(namespace, rollout=GATE))
    eventually("the candidate goes", lambda: deployments(api, namespace) == {before} or None)
    await_condition(api, namespace, "Reconciling", "False", "Settled")
    notes = api.get("service", NAME, "-n", namespace)["metadata"]["annotations"]
    assert "tacho.dev/gate" not in notes


@pytest.mark.usefixtures("operator", "claim")
def test_changed_as_soon_as_it_is_measured(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """The first revision was dropped before its readiness probe, and the slower one was the first."""
    kubelet.boundary = "Edge"
    api.apply(resource(namespace, rollout=GATE))
    kubelet.finish_inspection(FACTS)
    first = kubelet.serve(ready=False)
    await_condition(api, namespace, "Measured", "True")
    assert condition(api, namespace, "Ready")["status"] == "False"
    api.apply(resource(namespace, rollout=GATE, context=SHORTER))
    pod = kubelet.serve(tokens_per_second=70.0, ready=False)
    kubelet.gets_ready(first)
    before = first["metadata"]["labels"]["tacho.dev/revision"]
    eventually("the first one serves", lambda: active(api, namespace) == before or None)
    kubelet.gets_ready(pod)
    kubelet.measures_again(pod, 69.0)
    found = await_condition(api, namespace, "RolloutAccepted", "False", "Regression")
    assert f"compared with revision {before}" in found["message"]
    await_condition(api, namespace, "Ready", "True", "Serving")
    eventually("the slower one goes", lambda: deployments(api, namespace) == {before} or None)
