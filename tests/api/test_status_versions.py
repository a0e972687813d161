"""A status that comes late, on a real API server."""

from __future__ import annotations

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.shell.kube import connect
from tacho_operator.shell.status_writes import write_status
from tools.cluster.handle import Cluster
from tools.harness.operating import NAME, resource


async def test_the_status_of_a_deleted_resource_is_not_that_of_the_next_one(
    api: Cluster, namespace: str
) -> None:
    """The API server compares no uid of a custom resource where its status is written."""
    api.apply(resource(namespace))
    former = api.get("llmd", NAME, "-n", namespace)
    api.kubectl("delete", "llmd", NAME, "-n", namespace)
    api.apply(resource(namespace))
    new = api.get("llmd", NAME, "-n", namespace)
    late = LLMDeploymentStatus(replicas=1, url="http://former")
    async with connect(str(api.kubeconfig)) as kube:
        assert not await write_status(kube, former, late)
        assert api.get("llmd", NAME, "-n", namespace)["status"] == new["status"]
        api.kubectl("annotate", "llmd", NAME, "-n", namespace, "changed=yes")
        assert await write_status(kube, new, late), "others may change it meanwhile"
    assert api.get("llmd", NAME, "-n", namespace)["status"]["url"] == "http://former"
