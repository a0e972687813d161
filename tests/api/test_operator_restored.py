"""A resource from a backup: other uids, no status, and children whose owner does not exist."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, bring_up, condition
from tools.harness.operator_process import Kubelet, Operator, eventually

CHILDREN = "controllerrevisions,configmaps,services,networkpolicies,deployments"
OWN = f"tacho.dev/deployment={NAME}"
MADE_BY_THE_CLUSTER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


def backed_up(manifest: dict[str, Any]) -> dict[str, Any]:
    """The object as a backup restores it."""
    kept = {key: value for key, value in manifest.items() if key != "status"}
    named = {key: value for key, value in manifest["metadata"].items() if key not in MADE_BY_THE_CLUSTER}
    if "clusterIP" in kept.get("spec", {}):
        spec = {key: value for key, value in kept["spec"].items() if key not in ("clusterIP", "clusterIPs")}
        kept = {**kept, "spec": spec}
    return {**kept, "metadata": named}


def owners(api: Cluster, namespace: str) -> set[str]:
    items = api.get(CHILDREN, "-n", namespace, "-l", OWN)["items"]
    return {owner["uid"] for item in items for owner in item["metadata"]["ownerReferences"]}


def played(api: Cluster, namespace: str, kubelet: Kubelet, uid: str) -> bool | None:
    """Pods run as they come, but none of a child that is collected soon. True once all is measured."""
    with contextlib.suppress(subprocess.CalledProcessError):  # a pod that went meanwhile
        if any(pod["status"].get("phase") == "Pending" for pod in kubelet.pods("inspect")):
            kubelet.finish_inspection(FACTS)
        if owners(api, namespace) == {uid}:
            kubelet.serve_all()
    return True if condition(api, namespace, "Measured").get("status") == "True" else None


@pytest.mark.nightly
@pytest.mark.usefixtures("claim")
@pytest.mark.parametrize("children", [True, False], ids=["with children", "spec alone"])
def test_it_serves_again_and_is_measured_anew(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator, children: bool
) -> None:
    bring_up(api, kubelet, namespace)
    found = api.get("llmd", NAME, "-n", namespace)
    revision = found["status"]["plan"]["revision"]
    backup = [backed_up(item) for item in api.get(CHILDREN, "-n", namespace, "-l", OWN)["items"]]
    operator.kill()
    api.kubectl("delete", "llmd", NAME, "-n", namespace, "--timeout=20s")
    left = (f"{CHILDREN},pods", "-n", namespace, "-l", OWN)
    eventually("nothing of it is left", lambda: api.get(*left)["items"] == [] or None)
    assert len(backup) > 4
    api.apply(*(backup if children else []), backed_up(found))
    operator.start()
    again = api.get("llmd", NAME, "-n", namespace)["metadata"]["uid"]
    assert again != found["metadata"]["uid"]
    eventually("it is measured", lambda: played(api, namespace, kubelet, again))
    assert condition(api, namespace, "Ready")["status"] == "True"
    assert api.get("llmd", NAME, "-n", namespace)["status"]["plan"]["revision"] == revision
    assert owners(api, namespace) == {again}
