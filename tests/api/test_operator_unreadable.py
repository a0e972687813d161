"""Objects of a tenant that are too long or nested too deep, on a real API server."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tools.cluster.handle import Cluster
from tools.harness.operating import bring_up, resource
from tools.harness.operator_process import Kubelet, Operator, eventually

DEEP = 3000
V1ALPHA1 = "tacho.dev/v1alpha1"
KINDS = {"v1": "ConfigMap", V1ALPHA1: "LLMDeployment"}
CLAIM = f'"labels":{{"{DEPLOYMENT_LABEL}":"x"}}'


@pytest.fixture
def proxy(api: Cluster) -> Iterator[str]:
    with api.proxy() as url:
        yield url


def put(url: str, body: str, method: str = "POST") -> tuple[int, str]:
    """As it is: no client of Python's reads such a text."""
    kind = "application/json" if method == "POST" else "application/merge-patch+json"
    request = urllib.request.Request(url, data=body.encode(), headers={"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()[:2000]


def nested(key: str) -> str:
    return f'{{"{key}":' * DEEP + "{}" + "}" * DEEP


def metric(operator: Operator, name: str, kind: str) -> float:
    """0 where it has no such series, or does not answer."""
    try:
        with urllib.request.urlopen(operator.metrics_url, timeout=30) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    found = re.search(rf'^tacho_operator_{name}{{kind="{kind}"}} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def counted(operator: Operator, kind: str) -> float:
    return metric(operator, "unreadable_objects_total", kind)


def held(operator: Operator, kind: str) -> float:
    return metric(operator, "store_objects", kind)


def _other(namespace: str) -> dict[str, Any]:
    found = resource(namespace)
    found["metadata"]["name"] = "other"
    return found


@pytest.mark.usefixtures("claim")
def test_no_object_ends_the_operator_or_holds_up_another_resource(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator, proxy: str
) -> None:
    def metadata(name: str, more: str = "") -> str:
        return f'"metadata":{{"name":"{name}",{CLAIM}{more}}}'

    bring_up(api, kubelet, namespace)
    process = operator._process
    assert isinstance(process, subprocess.Popen)
    core, apps = f"{proxy}/api/v1/namespaces/{namespace}", f"{proxy}/apis/apps/v1/namespaces/{namespace}"
    ours = f"{proxy}/apis/tacho.dev/v1alpha1/namespaces/{namespace}/llmdeployments"
    long = json.dumps("<" * 700_000)
    assert put(f"{core}/configmaps", f'{{{metadata("long")},"data":{{"a":{long}}}}}')[0] == 201
    owner = f'"ownerReferences":[{{"apiVersion":"v1","kind":"Pod","uid":"u","name":{long}}}]'
    volume = '"accessModes":["ReadWriteOnce"],"storageClassName":"","resources":{"requests":{"storage":"1"}}'
    unlabelled = f'{{"metadata":{{"name":"long",{owner}}},"spec":{{{volume}}}}}'
    assert put(f"{core}/persistentvolumeclaims", unlabelled)[0] == 201
    revisions = f"{apps}/controllerrevisions"
    assert put(revisions, f'{{{metadata("deep")},"revision":1,"data":{nested("a")}}}')[0] == 201
    for kind, count in (("ConfigMap", 1), ("ControllerRevision", 1), ("PersistentVolumeClaim", 1)):
        eventually(f"{kind} is counted", lambda k=kind, n=count: counted(operator, k) >= n or None)
    fields = f'{{"manager":"m","operation":"Update","fieldsType":"FieldsV1","fieldsV1":{nested("f:a")}'
    spec = json.dumps(resource(namespace)["spec"])
    for url, version, content in ((f"{core}/configmaps", "v1", ""), (ours, V1ALPHA1, f',"spec":{spec}')):
        entry = f'{fields},"apiVersion":"{version}"}}'
        named = metadata("fields", f',"managedFields":[{entry}]')
        text = f'{{"apiVersion":"{version}","kind":"{KINDS[version]}",{named}{content}}}'
        assert put(url, text)[0] == 201, "managedFields of any depth are taken"
    eventually("it is skipped", lambda: counted(operator, "LLMDeployment") or None)
    api.apply(_other(namespace))
    eventually("the watch goes on", lambda: held(operator, "LLMDeployment") == 2 or None)
    eventually(
        "and so does what is decided",
        lambda: (api.get("llmd", "other", "-n", namespace).get("status") or {}).get("observedGeneration"),
    )
    objects = held(operator, "ControllerRevision")
    api.kubectl("delete", "controllerrevision", "deep", "-n", namespace)
    assert held(operator, "ControllerRevision") == objects, "it was never held"
    assert process.poll() is None, "the process that began"
    forged = {"annotations": {"kopf.zalando.org/last-handled-configuration": "{"}}
    assert put(f"{ours}/other", json.dumps({"metadata": forged}), "PATCH")[0] == 200
    operator.stop()
    operator.start()
    eventually(
        "it starts beside what it cannot read", lambda: held(operator, "ConfigMap") > 0 or None, seconds=60
    )
    assert held(operator, "LLMDeployment") == 2, "a note in kopf's name withholds nothing"
