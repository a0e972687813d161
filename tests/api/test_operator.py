"""The operator's life with one resource, on a real API server: from apply to gone, through restarts."""

from __future__ import annotations

import json
import time
from pathlib import Path

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
    assert status["plan"]["model"]["digest"] == FACTS.files.digest
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
    assert {"PlanReady", "Serving", "MeasurementComplete"} <= reasons, reasons
    refused = [
        item
        for item in requests_of_operator(api, namespace, started)
        if item["responseStatus"]["code"] == 403
    ]
    assert not refused, [(item["verb"], item["requestURI"]) for item in refused]


@pytest.mark.usefixtures("claim")
def test_an_unchanged_resource_causes_no_request(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    bring_up(api, kubelet, namespace)
    time.sleep(3)
    since, before = time.time(), operator.reconciles()
    time.sleep(12)  # two resyncs at least
    assert operator.reconciles() > before, "the resource was not even looked at: nothing is proved"
    requests = requests_of_operator(api, namespace, since)
    assert [(item["verb"], item["requestURI"]) for item in requests] == []


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


@pytest.mark.usefixtures("claim")
def test_an_operator_upgrade_restarts_no_model_pod(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    bring_up(api, kubelet, namespace)
    (before,) = api.get("deployments", "-n", namespace)["items"]
    operator.kill()
    since = time.time()
    operator.start(TACHO_IMAGE="example/tacho:next", TACHO_ENGINE_IMAGE_LLAMACPP="example/llamacpp:next")
    eventually("the new operator has looked", lambda: operator.reconciles() or None)
    time.sleep(4)
    (after,) = api.get("deployments", "-n", namespace)["items"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    writes = [
        item["requestURI"] for item in requests_of_operator(api, namespace, since) if item["verb"] in MUTATING
    ]
    assert writes == []


@pytest.mark.timeout(240)
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

    def chosen() -> str:
        """The one revision that the Service selects, empty while it selects both."""
        selector: dict[str, str] = api.get("service", NAME, "-n", namespace)["spec"]["selector"]
        return selector.get("tacho.dev/revision", "")

    eventually("the Service takes the new revision in beside the old one", lambda: chosen() == "" or None)
    assert both() == {old, new}
    eventually("the Service selects the new revision alone", lambda: chosen() == new or None, seconds=90)

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
def test_who_asks_has_the_service_measured_again_in_a_throwaway_pod(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bring_up(api, kubelet, namespace)
    serving = {pod["metadata"]["uid"] for pod in kubelet.pods("server")}
    api.kubectl("annotate", "llmd", NAME, "-n", namespace, "tacho.dev/measure-again=1")
    throwaway = kubelet.serve(role="probe", tokens_per_second=99)
    variables = throwaway["spec"]["containers"][0]["env"]
    assert {"name": "TACHO_FULL_PROBE", "value": "1"} in variables

    def speeds() -> list[str]:
        found = api.get("llmd", NAME, "-n", namespace)["status"]["measurements"]
        return [item["capacity"]["outputTokensPerSecond"] for item in found]

    eventually("the new figures", lambda: speeds() == ["99"] or None)
    eventually("the throwaway pod is gone", lambda: not kubelet.pods("probe") or None)

    def answered() -> dict[str, str] | None:
        live = api.get("configmap", f"{NAME}-live", "-n", namespace)
        found = live["metadata"].get("annotations", {}).get("tacho.dev/measured-again")
        return live["data"] if found == "1" else None

    live = json.loads(eventually("the request is dealt with", answered)["live.json"])
    assert [item["outputTokensPerSecond"] for item in live["baselines"]] == [99.0]
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
