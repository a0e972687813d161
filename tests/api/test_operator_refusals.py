"""What stands in the operator's way, on a real API server: strangers, drift, quotas, missing models."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request

import pytest

from tacho_contract.failure import Failure, FailureClass
from tests.wiring.test_metrics import page_labels
from tools.cluster.handle import Cluster
from tools.harness.operating import (
    FACTS,
    NAME,
    await_condition,
    bring_up,
    condition,
    resource,
)
from tools.harness.operator_process import Kubelet, Operator, eventually


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


@pytest.mark.usefixtures("operator", "claim")
def test_a_deployment_that_somebody_paused_goes_on(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """Else pods of a template that was put right would stay, and status would say that all is well."""
    bring_up(api, kubelet, namespace)
    (found,) = api.get("deployments", "-n", namespace)["items"]
    name = found["metadata"]["name"]
    api.kubectl("rollout", "pause", f"deployment/{name}", "-n", namespace)
    eventually(
        "it is not paused",
        lambda: not api.get("deployment", name, "-n", namespace)["spec"].get("paused") or None,
    )


@pytest.mark.usefixtures("operator", "claim")
def test_a_model_that_is_not_there_says_so_with_what_to_do(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(
        Failure(
            failure_class=FailureClass.MODEL_NOT_FOUND,
            message="demo is not in the claim models; it holds: other.gguf.",
            next_step="Set model.uri to one of these.",
        )
    )
    stalled = await_condition(api, namespace, "Stalled", "True", FailureClass.MODEL_NOT_FOUND)
    assert "other.gguf" in stalled["message"]
    assert "Set model.uri" in stalled["message"]
    ready = condition(api, namespace, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", FailureClass.MODEL_NOT_FOUND)
    assert not api.get("deployments", "-n", namespace)["items"]


@pytest.mark.usefixtures("operator", "claim")
def test_a_quota_of_replica_sets_is_named(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """Kubernetes tells it on the Deployment alone, in another condition than a refused pod's."""
    hard = {"hard": {"count/replicasets.apps": "0"}}
    metadata = {"name": "few", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": hard})
    api.kubectl("wait", "resourcequota/few", "-n", namespace, "--for=jsonpath={.status.hard}")
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    stalled = await_condition(api, namespace, "Stalled", "True", "QuotaExceeded")
    assert "replicasets.apps" in stalled["message"]


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
    # What the page, the alerts and the dashboards name is what a real operator exports.
    exported = set(re.findall(r"^# TYPE (tacho_\S+?) ", text, re.MULTILINE))
    assert {name for name in exported if not name.endswith("_created")} == set(page_labels())
    for name, series_labels in re.findall(r"^(tacho_[a-z_]+)\{(.*)\} \S+$", text, re.MULTILINE):
        kind = re.sub("_(bucket|sum|count|created)$", "", name)
        known = page_labels().get(kind, page_labels().get(f"{kind}_total"))
        assert known is not None, name
        assert set(re.findall(r'(\w+)="', series_labels)) == known | ({"le"} if "_bucket" in name else set())
    assert read(f"{operator.health_url}/healthz") == '{"workers": "ok"}'
    assert read(f"{operator.readiness_url}/readyz") == "ok\n"
    api.kubectl("delete", "llmd", NAME, "-n", namespace)
    eventually("its series are gone", lambda: labels not in read(operator.metrics_url) or None)
