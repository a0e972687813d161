"""How many compute threads an engine starts, and whose work is next."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial

import pytest

from tacho_contract.launch import ENV_USABLE_CPUS
from tacho_server.threads import USABLE_CPUS, TimedThread, usable_cpus


def test_the_variable_is_the_one_that_the_runtime_sets() -> None:
    assert USABLE_CPUS == ENV_USABLE_CPUS


def test_what_the_runtime_tells_comes_before_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert usable_cpus({USABLE_CPUS: "3"}) == 3
    assert usable_cpus({}) == 8


async def test_the_smallest_work_is_next_and_what_is_cancelled_is_left_out() -> None:
    thread, begun, gate, order = TimedThread("test", 60), threading.Event(), threading.Event(), list[int]()

    def first() -> None:
        begun.set()
        gate.wait(10)

    tasks = [asyncio.ensure_future(thread.run(first, 9))]
    while not begun.is_set():
        await asyncio.sleep(0.001)
    tasks += [asyncio.ensure_future(thread.run(partial(order.append, size), size)) for size in (5, 1, 3, 2)]
    await asyncio.sleep(0)
    tasks[-1].cancel()
    await asyncio.gather(tasks[-1], return_exceptions=True)
    gate.set()
    await asyncio.gather(*tasks[:-1])
    assert order == [1, 3, 5]
