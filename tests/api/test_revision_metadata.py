"""What others may change about a revision that the operator made: its metadata."""

from __future__ import annotations

import json

import pytest

from tacho_operator.shell.kube import connect
from tools.cluster.handle import Cluster


@pytest.mark.parametrize("kind", ["strategic", "merge"])
async def test_its_owner_and_labels_may_be_changed(api: Cluster, namespace: str, kind: str) -> None:
    """Kubernetes' collector takes the owner away where the resource is deleted with --cascade=orphan."""
    numbers = [1, 2.5, 2.0, -0.0, 5e-05, 1e-06, 9e-07, 1.5e-10, 1.5e16, 1e20, 1e21, -1.5e300]
    content = {"b": [*numbers, True, None], "a": {"text": '<x> & \u2028 é \U0001f6d1 \\ "', "c": {}}}
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "a", "namespace": namespace},
        "data": content,
        "revision": 1,
    }
    async with connect(str(api.kubeconfig)) as kube:
        await kube.create(revision)
    change = json.dumps({"metadata": {"labels": {"changed": "yes"}}})
    api.kubectl("patch", "controllerrevision", "a", "-n", namespace, f"--type={kind}", "-p", change)
    found = api.get("controllerrevision", "a", "-n", namespace)
    assert (found["metadata"]["labels"], found["data"]) == ({"changed": "yes"}, content)
