"""What administrators bound, judged by a real API server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.harness.helm import Helm
from tools.harness.operating import NAME, resource
from tools.harness.operator_process import eventually

MOCK = {"name": "custom", "custom": {"command": ["serve"], "port": 8000}}
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def mock(image: str, **spec: Any) -> dict[str, Any]:
    return {"quantization": None, "engine": {**MOCK, "image": image}, **spec}


def autoscaling(maximum: int, scheduled: int) -> dict[str, Any]:
    schedule = {"schedule": "0 8 * * 1", "maxReplicas": scheduled}
    return {"autoscaling": {"mode": "Recommend", "maxReplicas": maximum, "schedules": [schedule]}}


@contextmanager
def bounds(api: Cluster, namespace: str) -> Iterator[None]:
    """Little may be asked for in that namespace; no other one is bounded."""
    own = {"replicas": 2, "gpusPerReplica": 1, "imagePrefixes": ["registry.example/"]}
    manifests = Helm(binaries.helm(print)).template({"bounds": {"namespaces": {namespace: own}}})
    policies = [
        item for item in manifests if item["kind"] in POLICIES and "-bounds." in item["metadata"]["name"]
    ]
    api.apply(*policies)
    eventually("the policy is in force", lambda: "at most" in refusal(api, namespace, replicas=3) or None)
    yield
    for item in policies:
        api.kubectl("delete", item["kind"], item["metadata"]["name"])


@pytest.fixture
def bounded(api: Cluster, namespace: str) -> Iterator[str]:
    with bounds(api, namespace):
        yield namespace


def document(namespace: str, **spec: Any) -> dict[str, Any]:
    found = resource(namespace, **spec)
    found["spec"] = {key: value for key, value in found["spec"].items() if value is not None}
    return found


def attempt(api: Cluster, *command: str, stdin: str = "") -> str:
    """Why it was refused; "" where it was not."""
    try:
        api.kubectl(*command, stdin=stdin)
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


def refusal(api: Cluster, namespace: str, verb: str = "create", **spec: Any) -> str:
    return attempt(api, verb, "--dry-run=server", "-f", "-", stdin=json.dumps(document(namespace, **spec)))


def test_no_more_is_asked_for_than_is_allowed(api: Cluster, bounded: str) -> None:
    few, gpus, prefix = "2 replicas at most", "1 GPUs at most", "must begin with one of: registry.example/"
    for spec, says in (
        ({"replicas": 2}, ""),
        ({"replicas": 3}, few),
        (autoscaling(2, 2), ""),
        (autoscaling(3, 2), few),
        (autoscaling(2, 3), few),
        (mock("registry.example/mock:1", gpu={"count": 1}), ""),
        (mock("registry.example/mock:1", gpu={"count": 2}), gpus),
        (mock("registry.example/mock:1", gpu=None), "set spec.gpu.count"),
        # Without a number in it, the plan chooses as many as fit.
        (mock("registry.example/mock:1", gpu=None, parallelism={}), "set spec.gpu.count"),
        ({"quantization": None, "engine": {"name": "vllm"}, "gpu": None, "parallelism": {"tensor": 2}}, gpus),
        (mock("elsewhere.example/mock:1"), prefix),
    ):
        found = refusal(api, bounded, **spec)
        assert says in found if says else found == "", (spec, found)


def test_a_scale_is_bounded_too_and_what_was_there_before_keeps_its_labels(
    api: Cluster, bounded: str
) -> None:
    api.apply(resource(bounded))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        api.kubectl("scale", "llmd", NAME, "-n", bounded, "--replicas=3")
    assert "2 replicas at most" in refused.value.stderr
    api.kubectl("scale", "llmd", NAME, "-n", bounded, "--replicas=2")
    other = "default"
    assert refusal(api, other, replicas=9) == "", "no other namespace is bounded"


def test_what_was_above_a_new_bound_may_stay_or_fall(api: Cluster, namespace: str) -> None:
    above = mock("elsewhere.example/mock:1", gpu={"count": 4}, replicas=5, **autoscaling(7, 6))
    api.apply(document(namespace, **above))
    few, gpus, prefix = "2 replicas at most", "1 GPUs at most", "must begin with one of: registry.example/"
    with bounds(api, namespace):
        for change, says in (
            ({"startupTimeoutSeconds": 700}, ""),
            ({"replicas": 4}, ""),
            ({"replicas": 6}, few),
            (autoscaling(3, 6), ""),
            (autoscaling(7, 7), few),
            (autoscaling(8, 6), few),
            ({"gpu": {"count": 3}}, ""),
            ({"gpu": {"count": 5}}, gpus),
            ({"gpu": None}, "set spec.gpu.count"),
            (mock("elsewhere.example/mock:2"), prefix),
        ):
            found = refusal(api, namespace, "replace", **{**above, **change})
            assert says in found if says else found == "", (change, found)
        api.kubectl("scale", "llmd", NAME, "-n", namespace, "--replicas=4")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            api.kubectl("scale", "llmd", NAME, "-n", namespace, "--replicas=5")
        assert few in refused.value.stderr


def test_a_plan_without_a_count_of_gpus_may_stay(api: Cluster, namespace: str) -> None:
    above = {"quantization": None, "engine": {"name": "vllm"}, "gpu": None}
    api.apply(document(namespace, **above))
    with bounds(api, namespace):
        assert refusal(api, namespace, "replace", **above, replicas=2) == ""
        cache = {"persistentVolumeClaim": {"claimName": "cache"}}
        for change in ({"context": {"maxModelLen": 64}}, {"cache": cache}):
            assert "set spec.gpu.count" in refusal(api, namespace, "replace", **{**above, **change})
        for annotation, refused in (("tacho.dev/replan=again", True), ("team=search", False)):
            answer = attempt(api, "annotate", "llmd", NAME, "-n", namespace, "--dry-run=server", annotation)
            assert ("set spec.gpu.count" in answer) is refused, annotation
