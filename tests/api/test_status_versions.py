"""A status that comes late, on a real API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.shell.api_errors import ApiError, Fenced
from tacho_operator.shell.kube import Kube, connect
from tacho_operator.shell.status_writes import write_status
from tools.cluster.handle import Cluster
from tools.harness.operating import NAME, resource
from tools.harness.operator_process import ACCOUNT, NAMESPACE, PATIENCE_SECONDS, POD, pod_kubeconfig


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
        with pytest.raises(ApiError, match="409"):
            await write_status(kube, new, LLMDeploymentStatus(replicas=2, url="http://older"))
    assert api.get("llmd", NAME, "-n", namespace)["status"]["url"] == "http://former"


@pytest.fixture
def lease(api: Cluster, account: Path) -> Iterator[None]:
    metadata = {"name": ACCOUNT, "namespace": NAMESPACE}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
    api.apply({**lease, "spec": {"holderIdentity": POD}})
    yield
    api.kubectl("delete", "lease", ACCOUNT, "-n", NAMESPACE)


@pytest.mark.usefixtures("lease")
async def test_a_status_of_the_present_version_is_taken_from_the_holder_of_the_lease_alone(
    api: Cluster, namespace: str, account: Path
) -> None:
    """One that names a former version is refused for that, before any policy is asked."""
    api.apply(resource(namespace))
    async with (
        connect(str(account)) as holder,
        connect(str(pod_kubeconfig(api, "tacho-former"))) as former,
    ):

        async def refused(kube: Kube, url: str) -> int:
            raw = api.get("llmd", NAME, "-n", namespace)
            try:
                assert await write_status(kube, raw, LLMDeploymentStatus(url=url))
            except Fenced as error:
                return error.status
            return 200

        deadline = time.monotonic() + PATIENCE_SECONDS
        while await refused(former, "http://early") == 200 and time.monotonic() < deadline:
            await asyncio.sleep(0.2)  # the API server learns of the Lease by a watch
        assert await refused(holder, "http://holder") == 200
        assert await refused(former, "http://former") == 403
    assert api.get("llmd", NAME, "-n", namespace)["status"]["url"] == "http://holder"
