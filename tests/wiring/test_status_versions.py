"""Which version of a resource a status is written to: the API server compares no uid there."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.shell.api_errors import ApiError, Conflict
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.status_writes import STATUS_TRIES, write_status

RAW: dict[str, Any] = {
    "apiVersion": "tacho.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "demo", "namespace": "team", "uid": "now", "resourceVersion": "1"},
}
STATUS = LLMDeploymentStatus(replicas=1)


class Server:
    """Takes a status for its present version alone. ``changes``: how often others change it first."""

    def __init__(self, uid: str = "now", changes: int = 0, status: dict[str, Any] | None = None) -> None:
        self.uid, self.version, self._changes = uid, 1, changes
        self.status = status or {}
        self.requests: list[str] = []

    def _resource(self, **content: Any) -> dict[str, Any]:
        metadata = {**RAW["metadata"], "uid": self.uid, "resourceVersion": str(self.version)}
        return {**RAW, "metadata": metadata, "status": self.status, **content}

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self.requests.append("get")
        return self._resource()

    async def apply(self, manifest: dict[str, Any], *, uid: str, subresource: str) -> dict[str, Any]:
        self.requests.append(f"apply {manifest['metadata']['resourceVersion']}")
        if self._changes:
            self.version, self._changes = self.version + 1, self._changes - 1
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict(409, "the object has been modified")
        self.version, self.status = self.version + 1, manifest["status"]
        return self._resource()


async def test_a_resource_that_others_change_gets_its_status() -> None:
    server = Server(changes=2)
    assert await write_status(cast(Kube, server), RAW, STATUS)
    assert server.requests == ["apply 1", "get", "apply 2", "get", "apply 3"]


async def test_one_that_is_changed_at_each_write_gets_it_later() -> None:
    server = Server(changes=100)
    with pytest.raises(ApiError) as raised:
        await write_status(cast(Kube, server), RAW, STATUS)
    assert (type(raised.value), raised.value.status) == (ApiError, 409), "its name is not taken"
    assert server.requests.count("get") == STATUS_TRIES


async def test_a_status_under_way_is_not_that_of_a_resource_made_anew() -> None:
    """It was Ready, with the figures of the former, while its model was still inspected."""
    server = Server(uid="new", changes=1)
    assert not await write_status(cast(Kube, server), RAW, STATUS)
    assert server.requests == ["apply 1", "get"]


NEWER = {"replicas": 2, "observedGeneration": 7}


async def test_a_newer_status_is_not_written_over() -> None:
    """Another leader wrote it while this one decided by the former."""
    server = Server(changes=1, status=NEWER)
    with pytest.raises(ApiError) as raised:
        await write_status(cast(Kube, server), RAW, STATUS)
    assert (type(raised.value), raised.value.status) == (ApiError, 409)
    assert "status" in raised.value.message
    assert (server.requests, server.status) == (["apply 1", "get"], NEWER)


@pytest.mark.parametrize("kept", [{}, {"conditions": [{"type": "Audited", "status": "True"}]}])
async def test_conditions_of_other_types_are_no_newer_status(kept: dict[str, Any]) -> None:
    former = {"conditions": [], "replicas": 3}
    server = Server(changes=1, status={**former, **kept})
    assert await write_status(cast(Kube, server), {**RAW, "status": former}, STATUS)
    assert server.requests[:3] == ["apply 1", "get", "apply 2"]
