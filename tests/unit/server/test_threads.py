"""How many compute threads an engine starts, from files as kernels write them, and whose work is next."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from pathlib import Path

import pytest

from tacho_contract.launch import ENV_CPU_REQUEST
from tacho_server.threads import REQUEST, TimedThread, usable_cpus

V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


def test_the_variable_is_the_one_that_the_operator_sets() -> None:
    assert REQUEST == ENV_CPU_REQUEST


@pytest.mark.parametrize(
    ("files", "request_millicores", "cpus"),
    [
        ({}, "", 8),
        ({"cpu.max": "150000 100000\n"}, "", 2),
        ({"cpu.max": "1600000 100000\n"}, "", 8),
        ({"cpu.max": "max 100000\n"}, "", 8),
        ({"cpu.max": "max 100000\n"}, "3000", 3),
        ({"cpu.max": "600000 100000\n"}, "3000", 6),
        ({V1[0]: "50000\n", V1[1]: "100000\n"}, "", 1),
        ({V1[0]: "-1\n", V1[1]: "100000\n"}, "", 8),
        ({V1[0]: "50000\n"}, "2000", 2),
        ({}, "500", 1),
        ({}, "2001", 3),
        ({}, "16000", 8),
        ({}, "0", 8),
        ({}, "2.5", 8),
    ],
)
def test_a_limit_comes_before_a_request_before_the_affinity(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    request_millicores: str,
    cpus: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path, {REQUEST: request_millicores}) == cpus


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
