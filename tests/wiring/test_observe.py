"""Nodes are read once for all workers, and never all at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx

from tacho_operator.shell.kube import Forbidden, Kube
from tacho_operator.shell.observe import Observer

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
