"""Nodes are read once for all workers, and never all at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.revisions.step import wanted_revision
from tacho_operator.shell.kube import Forbidden, Kube
from tacho_operator.shell.observe import Observer, UnreadableResource, read_resource
from tacho_operator.shell.workqueue import Key
from tests.unit.core.builders import CLAIM_SPEC, raw_resource

NODE = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2"}}}


class Nodes:
    """Counts how often it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self._error = error

    async def pages(self, kind: str, *_: Any, **__: Any) -> AsyncIterator[list[dict[str, Any]]]:
        assert kind == "Node"
        self.asked += 1
        await asyncio.sleep(0)
        if self._error:
            raise self._error
        yield [NODE]
        yield [NODE]


class Stored:
    """A namespace with one resource that was planned in vain before."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.raw = raw_resource(CLAIM_SPEC)
        self.raw["status"] = {
            "observedGeneration": self.raw["metadata"]["generation"],
            "plan": {"message": "x"},
        }
        self.revisions: list[dict[str, Any]] = []

    async def get(self, kind: str, *_: Any) -> dict[str, Any] | None:
        return self.raw if kind == "LLMDeployment" else {}

    async def list_all(self, kind: str, *_: Any) -> list[dict[str, Any]]:
        self.listed.append(kind)
        return self.revisions if kind == "ControllerRevision" else []

    async def pages(self, *_: Any) -> AsyncIterator[list[dict[str, Any]]]:
        yield []


async def test_earlier_measurements_are_read_for_every_plan_and_for_nothing_else() -> None:
    """A second plan of the same spec must not come out differently for want of them."""
    stored = Stored()
    one = Observer(cast(Kube, stored), cast(httpx.AsyncClient, None))
    for _ in range(2):
        stored.listed.clear()
        await one.observe(Key("ml", "smol"))
        assert "LLMDeployment" in stored.listed
    resource = LLMDeployment.read(stored.raw)
    owner = {"uid": resource.metadata.uid, "controller": True}
    stored.revisions = [{"metadata": {"name": wanted_revision(resource), "ownerReferences": [owner]}}]
    stored.listed.clear()
    await one.observe(Key("ml", "smol"))
    assert "LLMDeployment" not in stored.listed


def observer(nodes: Nodes) -> Observer:
    return Observer(cast(Kube, nodes), cast(httpx.AsyncClient, None))


async def test_workers_share_one_list_of_nodes() -> None:
    nodes = Nodes()
    one = observer(nodes)
    answers = await asyncio.gather(*(one._read_nodes() for _ in range(8)))
    assert nodes.asked == 1
    assert all(found is not None and len(found) == 2 for found in answers)


async def test_without_the_right_to_list_nodes_they_are_unknown() -> None:
    one = observer(Nodes(Forbidden(403, "no")))
    assert await one._read_nodes() is None


def test_a_status_of_another_version_never_hides_the_resource() -> None:
    raw = raw_resource(CLAIM_SPEC)
    raw["status"] = {"revisions": [{"name": f"r{n}"} for n in range(9)], "observedGeneration": 1}
    found = read_resource(raw)
    assert found.spec.model.uri == CLAIM_SPEC["model"]["uri"]
    assert found.status.to_wire() == {}


def test_a_spec_that_cannot_be_read_says_where() -> None:
    raw = raw_resource({**CLAIM_SPEC, "replicas": "many"})
    with pytest.raises(UnreadableResource, match=r"spec\.replicas"):
        read_resource(raw)
