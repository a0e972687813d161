"""The operator's contract with the API server, on a real one: ownership, silence, restarts, refusals."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tacho_runtime.contract import (
    MODEL_NOT_FOUND,
    Architecture,
    Failure,
    LayerGroup,
    ModelFacts,
    StoredQuantization,
    TensorClass,
)
from tests.api.operator_process import ACCOUNT, NAMESPACE, Kubelet, Operator, eventually, install_rights
from tests.cluster.handle import Cluster

MUTATING = {"create", "update", "patch", "delete", "deletecollection"}
OPERATOR_USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
NAME = "demo"

FACTS = ModelFacts(
    uri="pvc://models/demo",
    digest="d" * 64,
    files=("demo.gguf",),
    file_count=1,
    total_bytes=100_000_000,
    files_digest="f" * 64,
    model_file="demo.gguf",
    format="gguf",
    architecture=Architecture(
        name="llama",
        hidden_size=576,
        layers=30,
        attention_heads=9,
        key_value_heads=3,
        head_dim=64,
        intermediate_size=1536,
        vocabulary=49152,
        max_positions=8192,
        layer_groups=(
            LayerGroup(kind="full", layers=30, key_value_heads=3, key_head_dim=64, value_head_dim=64),
        ),
    ),
    quantization=StoredQuantization(method="gguf", scheme="Q4_1"),
    tensors=(
        TensorClass(
            kind="linear", dtype="Q4_1", tensors=210, parameters=106_168_320, stored_bytes=66_355_200
        ),
    ),
)


@pytest.fixture(scope="module")
def account(api: Cluster) -> Path:
    return install_rights(api)


@pytest.fixture
def operator(account: Path, tmp_path: Path) -> Iterator[Operator]:
    process = Operator(account, tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()
    print(process.log.read_text()[-20000:])


@pytest.fixture
def kubelet(api: Cluster, namespace: str) -> Iterator[Kubelet]:
    player = Kubelet(api, namespace)
    with player.answering():
        yield player


@pytest.fixture
def claim(api: Cluster, namespace: str) -> None:
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    )


def resource(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "model": {"uri": "pvc://models/demo"},
            "quantization": {"method": "gguf"},
            "engine": {"name": "llamacpp", "resources": {"limits": {"memory": "2Gi"}}},
            "gpu": {"count": 0},
            "context": {"maxModelLen": 1024, "concurrency": 2},
            **spec,
        },
    }


def condition(cluster: Cluster, namespace: str, kind: str) -> dict[str, Any]:
    status = cluster.get("llmd", NAME, "-n", namespace).get("status") or {}
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {})


def await_condition(
    cluster: Cluster, namespace: str, kind: str, status: str, reason: str = ""
) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = condition(cluster, namespace, kind)
        matches = found.get("status") == status and reason in ("", found.get("reason"))
        return found if matches else None

    return eventually(f"{kind}={status} {reason}", look)


def bring_up(cluster: Cluster, kubelet: Kubelet, namespace: str, **spec: Any) -> None:
    cluster.apply(resource(namespace, **spec))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    await_condition(cluster, namespace, "Measured", "True")


def requests_of_operator(cluster: Cluster, since: float) -> list[dict[str, Any]]:
    # The audit log has microseconds: a request of the same second, but before, is none of these.
    stamp = datetime.fromtimestamp(since, UTC).isoformat(timespec="microseconds")
    return [
        event
        for event in cluster.audit_events()
        if event["user"]["username"] == OPERATOR_USER and event["requestReceivedTimestamp"] >= stamp
    ]


@pytest.mark.usefixtures("operator", "claim")
def test_from_apply_to_measured(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    started = time.time()
    api.apply(resource(namespace))
    inspecting = kubelet.finish_inspection(FACTS)
    assert inspecting["spec"]["activeDeadlineSeconds"] > 0
    kubelet.serve(tokens_per_second=123.4)
    await_condition(api, namespace, "Measured", "True")
    ready = await_condition(api, namespace, "Ready", "True")
    found = api.get("llmd", NAME, "-n", namespace)
    status = found["status"]
    assert ready["observedGeneration"] == found["metadata"]["generation"] == status["observedGeneration"]
    assert status["summary"]["outputTokensPerSecond"] == "123.4"
    assert status["selector"] == f"tacho.dev/deployment={NAME},tacho.dev/role=server"
    assert status["plan"]["model"]["digest"] == FACTS.digest
    assert "finalizers" not in found["metadata"]
    row = api.kubectl("get", "llmd", NAME, "-n", namespace, "--no-headers").split()
    assert "123.4" in row
    assert "True" in row
    eventually("the inspect pod is cleaned up", lambda: not kubelet.pods("inspect") or None)
    reasons = {
        item["reason"]
        for item in api.get("events", "-n", namespace)["items"]
        if item["involvedObject"]["name"] == NAME
    }
    assert {"Ready", "Measured"} & reasons or reasons, reasons
    refused = [item for item in requests_of_operator(api, started) if item["responseStatus"]["code"] == 403]
    assert not refused, [(item["verb"], item["requestURI"]) for item in refused]


@pytest.mark.usefixtures("operator", "claim")
def test_an_unchanged_resource_causes_no_mutating_request(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bring_up(api, kubelet, namespace)
    time.sleep(3)
    since = time.time()
    time.sleep(12)  # two resyncs at least
    requests = requests_of_operator(api, since)
    reads = [
        item for item in requests if item["verb"] == "get" and f"llmdeployments/{NAME}" in item["requestURI"]
    ]
    assert reads, "the resource was not even looked at: nothing is proved"
    writes = [(item["verb"], item["requestURI"]) for item in requests if item["verb"] in MUTATING]
    assert writes == []


@pytest.mark.usefixtures("claim")
def test_killed_at_every_step_it_goes_on(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    api.apply(resource(namespace))
    kubelet.await_pod("inspect")
    operator.kill()
    operator.start()
    kubelet.finish_inspection(FACTS)
    kubelet.await_pod("server")
    operator.kill()
    kubelet.serve()
    operator.start()
    await_condition(api, namespace, "Measured", "True")
    assert len(kubelet.pods("server")) == 1


@pytest.mark.usefixtures("claim")
def test_applied_before_the_operator_runs_it_waits_and_is_picked_up(
    api: Cluster, namespace: str, kubelet: Kubelet, account: Path, tmp_path: Path
) -> None:
    api.apply(resource(namespace))
    assert condition(api, namespace, "Ready")["reason"] == "WaitingForOperator"
    process = Operator(account, tmp_path / "operator.log")
    process.start()
    try:
        kubelet.finish_inspection(FACTS)
        kubelet.serve()
        await_condition(api, namespace, "Ready", "True")
        assert process.stop() == 0
    finally:
        process.kill()


@pytest.mark.usefixtures("claim")
def test_deleted_with_the_operator_down_nothing_is_left(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    bring_up(api, kubelet, namespace)
    operator.kill()
    api.kubectl("delete", "llmd", NAME, "-n", namespace, "--timeout=20s")
    kinds = (
        "deployments,replicasets,controllerrevisions,services,networkpolicies,poddisruptionbudgets,configmaps"
    )

    def gone() -> bool | None:
        items = api.get(kinds, "-n", namespace, "-l", f"tacho.dev/deployment={NAME}")["items"]
        return True if not items else None

    eventually("garbage collection has taken every child", gone)


@pytest.mark.usefixtures("operator", "claim")
def test_a_strangers_service_is_never_touched(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }
    api.apply(stranger)
    before = api.get("service", NAME, "-n", namespace)
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    stalled = await_condition(api, namespace, "Stalled", "True", "NameConflict")
    assert f"Service {NAME}" in stalled["message"]
    assert condition(api, namespace, "Ready")["status"] != "True"
    assert api.get("service", NAME, "-n", namespace) == before
    api.kubectl("delete", "service", NAME, "-n", namespace)
    await_condition(api, namespace, "Ready", "True")
    assert condition(api, namespace, "Stalled").get("status") != "True"


@pytest.mark.usefixtures("operator", "claim")
def test_drift_is_corrected(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    bring_up(api, kubelet, namespace)
    wanted = api.get("service", NAME, "-n", namespace)["spec"]["selector"]
    change = json.dumps({"spec": {"selector": {"app": "nobody"}}})
    api.kubectl("patch", "service", NAME, "-n", namespace, "--type=merge", "-p", change)

    def restored() -> bool | None:
        selector = api.get("service", NAME, "-n", namespace)["spec"]["selector"]
        return True if wanted.items() <= selector.items() else None

    eventually("the selector is restored", restored)
    api.kubectl("delete", "service", NAME, "-n", namespace)

    def back() -> bool | None:
        try:
            return (
                api.get("service", NAME, "-n", namespace)["spec"]["selector"].items() >= wanted.items()
                or None
            )
        except subprocess.CalledProcessError:
            return None

    eventually("the Service is back", back)


@pytest.mark.usefixtures("claim")
def test_an_operator_upgrade_restarts_no_model_pod(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    bring_up(api, kubelet, namespace)
    (before,) = api.get("deployments", "-n", namespace)["items"]
    operator.kill()
    since = time.time()
    operator.start(TACHO_IMAGE="example/tacho:next", TACHO_ENGINE_IMAGE_LLAMACPP="example/llamacpp:next")
    eventually(
        "the new operator has looked",
        lambda: (
            [
                item
                for item in requests_of_operator(api, since)
                if f"llmdeployments/{NAME}" in item["requestURI"]
            ]
            or None
        ),
    )
    time.sleep(4)
    (after,) = api.get("deployments", "-n", namespace)["items"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    writes = [item["requestURI"] for item in requests_of_operator(api, since) if item["verb"] in MUTATING]
    assert writes == []


@pytest.mark.usefixtures("operator", "claim")
def test_an_identity_change_surges_and_the_service_turns_when_the_new_one_is_ready(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bring_up(api, kubelet, namespace)
    (old,) = [item["metadata"]["name"] for item in api.get("deployments", "-n", namespace)["items"]]
    api.apply(resource(namespace, context={"maxModelLen": 2048, "concurrency": 2}))

    def both() -> set[str] | None:
        names = {item["metadata"]["name"] for item in api.get("deployments", "-n", namespace)["items"]}
        return names if len(names) == 2 else None

    (new,) = eventually("a second Deployment", both) - {old}
    assert api.get("service", NAME, "-n", namespace)["spec"]["selector"]["tacho.dev/revision"] == old
    assert condition(api, namespace, "Ready")["status"] == "True"
    kubelet.serve(revision=new, tokens_per_second=200)

    def turned() -> bool | None:
        selector = api.get("service", NAME, "-n", namespace)["spec"]["selector"]
        return True if selector["tacho.dev/revision"] == new else None

    eventually("the Service selects the new revision", turned)

    def alone() -> bool | None:
        names = {item["metadata"]["name"] for item in api.get("deployments", "-n", namespace)["items"]}
        return True if names == {new} else None

    eventually("the old Deployment is gone", alone)
    assert condition(api, namespace, "Ready")["status"] == "True"


@pytest.mark.usefixtures("operator", "claim")
def test_a_changed_workload_makes_figures_stale_and_is_measured_in_a_throwaway_pod(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bring_up(api, kubelet, namespace)
    serving = {pod["metadata"]["uid"] for pod in kubelet.pods("server")}
    api.apply(resource(namespace, workload={"inputTokens": 64, "outputTokens": 32}))
    await_condition(api, namespace, "Measured", "False")
    status = api.get("llmd", NAME, "-n", namespace)["status"]
    assert [item["state"] for item in status["measurements"]] == ["Stale"]
    assert "summary" not in status
    throwaway = kubelet.serve(role="probe", tokens_per_second=77)
    assert throwaway["metadata"]["ownerReferences"][0]["kind"] == "LLMDeployment"
    await_condition(api, namespace, "Measured", "True")
    summary = api.get("llmd", NAME, "-n", namespace)["status"]["summary"]
    assert summary["outputTokensPerSecond"] == "77"
    eventually("the throwaway pod is gone", lambda: not kubelet.pods("probe") or None)
    assert {pod["metadata"]["uid"] for pod in kubelet.pods("server")} == serving


@pytest.mark.usefixtures("operator", "claim")
def test_scaling_reaches_the_deployment_and_the_budget(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bring_up(api, kubelet, namespace)
    api.kubectl("scale", "llmd", NAME, "-n", namespace, "--replicas=2")
    kubelet.serve()

    def scaled() -> bool | None:
        status = api.get("llmd", NAME, "-n", namespace)["status"]
        return True if status.get("readyReplicas") == 2 else None

    eventually("two ready replicas", scaled)
    assert api.get("poddisruptionbudgets", "-n", namespace)["items"]


@pytest.mark.usefixtures("operator", "claim")
def test_a_model_that_is_not_there_says_so_with_what_to_do(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(
        Failure(
            failure_class=MODEL_NOT_FOUND,
            message="demo is not in the claim models; it holds: other.gguf.",
            next_step="Set model.uri to one of these.",
        )
    )
    stalled = await_condition(api, namespace, "Stalled", "True", MODEL_NOT_FOUND)
    assert "other.gguf" in stalled["message"]
    assert "Set model.uri" in stalled["message"]
    ready = condition(api, namespace, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", MODEL_NOT_FOUND)
    assert not api.get("deployments", "-n", namespace)["items"]


@pytest.mark.usefixtures("operator", "claim")
def test_a_quota_is_named(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.await_pod("server")
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "few", "namespace": namespace},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    api.kubectl("delete", "pods", "--all", "-n", namespace, "--force", "--grace-period=0")
    ready = await_condition(api, namespace, "Ready", "False", "QuotaExceeded")
    assert "few" in ready["message"]


@pytest.mark.usefixtures("claim")
def test_its_own_metrics_and_health(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    bring_up(api, kubelet, namespace)

    def read(url: str) -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    labels = f'name="{NAME}",namespace="{namespace}"'
    measured = f"tacho_llmdeployment_measured_output_tokens_per_second{{{labels}}} 100.0"
    # The status is written first, the series follow.
    text = eventually(
        "its figures", lambda: found if measured in (found := read(operator.metrics_url)) else None
    )
    assert 'tacho_operator_reconcile_total{result="success"}' in text
    assert "queue" in read(operator.health_url)
    api.kubectl("delete", "llmd", NAME, "-n", namespace)
    eventually("its series are gone", lambda: labels not in read(operator.metrics_url) or None)
