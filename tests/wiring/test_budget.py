"""A namespace whose objects cost the event loop much waits, and no other does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from tacho_operator.shell import workqueue
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.budget import BURST_SECONDS, LONGEST_DEBT_SECONDS, SHARE, NamespaceBudget
from tacho_operator.shell.kube import FRUGAL_BYTES, Kube
from tacho_operator.shell.workqueue import Key
from tests.wiring.test_kube import Watching
from tests.wiring.test_workqueue import running

COSTLY, OTHER = Key("costly", "a"), Key("other", "b")


class Clocks:
    """Time, and the CPU time of the event loop."""

    def __init__(self) -> None:
        self.now = 100.0
        self.used = 0.0

    def budget(self) -> NamespaceBudget:
        return NamespaceBudget(lambda: self.now, lambda: self.used)


def test_what_a_namespace_used_is_paid_off_at_its_share() -> None:
    clocks = Clocks()
    budget = clocks.budget()
    budget.charge("a", BURST_SECONDS)
    assert not budget.is_over("a")
    assert not budget.any_over()
    budget.charge("a", 0.5)
    assert (budget.is_over("a"), budget.is_over("b"), budget.any_over()) == (True, False, True)
    clocks.now += 0.5 / SHARE
    assert (budget.is_over("a"), budget.any_over()) == (False, False)
    budget.charge("a", 1000.0)
    clocks.now += LONGEST_DEBT_SECONDS / SHARE
    assert not budget.is_over("a"), "no debt is longer"


async def test_the_long_steps_of_a_coroutine_are_charged_and_it_runs_as_without() -> None:
    clocks = Clocks()
    budget = clocks.budget()

    async def work(fails: bool) -> str:
        for _ in range(3):
            clocks.used += 0.02
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(9)
        clocks.used += 2.0
        if fails:
            raise ValueError("refused")
        return "done"

    assert await budget.charged("a", work(False)) == "done"
    assert budget.is_over("a")
    clocks.now += 0.98 / SHARE + 0.001
    assert not budget.is_over("a"), "short steps are free, and so is waiting"
    with pytest.raises(ValueError, match="refused"):
        await budget.charged("b", work(True))
    assert budget.is_over("b")
    task = asyncio.create_task(budget.charged("c", asyncio.sleep(9)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_namespace_over_its_share_begins_no_reconcile_and_others_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resource with 5,000 pods took the event loop for seconds at each of their changes."""
    monkeypatch.setattr(workqueue, "OVER_SECONDS", 0.01)
    clocks, begun = Clocks(), Counter[Key]()

    async def process(key: Key) -> float:
        begun[key] += 1
        clocks.used += 3.0 if key == COSTLY else 0.011
        return 0.001

    async def turns(count: int) -> None:
        async with asyncio.timeout(20):
            before = begun[OTHER]
            while begun[OTHER] < before + count:
                await asyncio.sleep(0.001)

    async with running(process, budget=clocks.budget()) as queue:
        queue.add(COSTLY)
        queue.add(OTHER)
        await turns(20)
        assert begun[COSTLY] == 1
        clocks.now += 3.0 / SHARE
        await turns(20)
        assert begun[COSTLY] == 2


async def test_a_namespace_whose_events_cost_more_than_its_share_is_reconciled_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would wait as long as they come, and the operator would end its process as one that hangs."""
    monkeypatch.setattr(workqueue, "OVER_SECONDS", 0.01)
    monkeypatch.setattr(workqueue, "LONGEST_WAIT_SECONDS", 0.05)
    begun, thrice, budget = Counter[Key](), asyncio.Event(), Clocks().budget()
    budget.charge(COSTLY.namespace, 1000.0)

    async def process(key: Key) -> float:
        begun[key] += 1
        if begun[key] == 3:
            thrice.set()
        return 0.001

    async with running(process, budget=budget) as queue:
        queue.add(COSTLY)
        async with asyncio.timeout(20):
            await thrice.wait()


async def test_a_namespace_that_paid_off_while_the_queue_looked_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workqueue, "OVER_SECONDS", 0.01)
    clocks, begun = Clocks(), asyncio.Event()

    class PaidOff(NamespaceBudget):
        def is_over(self, namespace: str) -> bool:
            found = super().is_over(namespace)
            clocks.now += 100.0
            return found

    async def process(key: Key) -> None:
        begun.set()

    budget = PaidOff(lambda: clocks.now, lambda: clocks.used)
    budget.charge(COSTLY.namespace, 1000.0)
    async with running(process, budget=budget) as queue:
        queue.add(COSTLY)
        async with asyncio.timeout(20):
            await begun.wait()


def event(namespace: str, length: int) -> bytes:
    metadata = {"name": "a", "namespace": namespace, "uid": "u", "resourceVersion": "8"}
    manifest = {"kind": "ConfigMap", "metadata": metadata, "data": {"a": "x" * length}}
    return json.dumps({"type": "MODIFIED", "object": manifest}, separators=(",", ":")).encode() + b"\n"


async def test_of_the_long_events_of_a_namespace_over_its_share_the_metadata_is_read() -> None:
    clocks = Clocks()
    sent = [
        event("a", FRUGAL_BYTES), event("b", FRUGAL_BYTES), event("a", FRUGAL_BYTES), event("a", 9),
        event("b", FRUGAL_BYTES),
    ]  # fmt: skip
    kube = Kube(Watching(*sent), budget=clocks.budget())
    whole = []
    async with kube.watch("ConfigMap", None, "a", "7") as events:
        async for _, manifest in events:
            whole.append(METADATA_ONLY not in manifest)
            if manifest["metadata"]["namespace"] == "a":
                clocks.used += 2.0  # what it takes to store it
    assert whole == [True, True, False, True, True]


async def test_the_long_changes_of_a_node_over_its_share_are_left_out_but_not_its_deletion() -> None:
    """No request gets a node: of its metadata alone it would lose its GPUs."""
    clocks = Clocks()
    deleted = event("", FRUGAL_BYTES).replace(b"MODIFIED", b"DELETED")
    other = event("", FRUGAL_BYTES).replace(b'"name":"a"', b'"name":"b"')
    sent = [event("", FRUGAL_BYTES)] * 2 + [event("", 9), other, deleted]
    kube = Kube(Watching(*(line.replace(b'"namespace":"",', b"") for line in sent)), budget=clocks.budget())
    found = []
    async with kube.watch("Node", None, "", "7") as events:
        async for what, manifest in events:
            found.append((what, "data" in manifest))
            assert manifest["metadata"]["resourceVersion"] == "8"
            clocks.used += 2.0 if len(found) == 1 else 0.0
    whole = ("MODIFIED", True)
    assert found == [whole, ("BOOKMARK", False), whole, whole, ("DELETED", False)]
