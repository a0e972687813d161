"""The work queue: merged, one at a time, retried, woken early."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given, strategies as st

from tacho_operator.shell.workqueue import MAX_BACKOFF_SECONDS, Key, WorkQueue, backoff_seconds

A, B = Key("ns", "a"), Key("ns", "b")
Process = Callable[[Key], Awaitable[float | None]]


@contextlib.asynccontextmanager
async def running(process: Process, workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(process, workers=workers, randomness=random.Random(1))
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_key_added_many_times_before_its_turn_is_processed_once() -> None:
    seen: list[Key] = []

    async def process(key: Key) -> None:
        seen.append(key)

    queue = WorkQueue(process, workers=2)
    for _ in range(5):
        await queue.add(A)
    await queue.add(B)
    assert queue.depth == 2
    task = asyncio.create_task(queue.run())
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(seen) == [A, B]


async def test_a_key_is_never_processed_twice_at_once_but_again_when_it_changed_meanwhile() -> None:
    release = asyncio.Event()
    active = 0
    turns = 0
    together: list[int] = []

    async def process(key: Key) -> None:
        nonlocal active, turns
        active += 1
        turns += 1
        together.append(active)
        await release.wait()
        active -= 1

    async with running(process) as queue:
        await queue.add(A)
        await settle()
        await queue.add(A)
        await queue.add(A)
        await settle()
        assert turns == 1
        release.set()
        await settle()
        assert turns == 2
    assert together == [1, 1], "what fails inside would only be tried again"


async def test_one_slow_resource_does_not_hold_up_another() -> None:
    done: list[Key] = []

    async def process(key: Key) -> None:
        if key == A:
            await asyncio.sleep(3600)
        done.append(key)

    async with running(process, workers=2) as queue:
        await queue.add(A)
        await queue.add(B)
        await settle()
        assert done == [B]


async def test_a_failure_is_retried_and_does_not_stop_the_workers(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[Key] = []

    async def process(key: Key) -> None:
        tries.append(key)
        if len(tries) == 1:
            raise RuntimeError("the API server said no")

    async with running(process, workers=1) as queue:
        await queue.add(A)
        async with asyncio.timeout(5):
            while len(tries) < 2:
                await asyncio.sleep(0.01)
    assert "ns/a: the API server said no; next try in" in caplog.text


async def test_a_delayed_key_is_pulled_forward_by_a_change() -> None:
    seen = asyncio.Event()

    async def process(key: Key) -> None:
        seen.set()

    async with running(process) as queue:
        await queue.add(A, 3600)
        await settle()
        assert not seen.is_set()
        await queue.add(A)
        async with asyncio.timeout(5):
            await seen.wait()
        assert queue.depth == 0, "the later time was superseded, not kept beside it"


async def test_the_returned_delay_brings_the_key_back() -> None:
    turns = 0
    enough = asyncio.Event()

    async def process(key: Key) -> float | None:
        nonlocal turns
        turns += 1
        if turns == 3:
            enough.set()
            return None
        return 0.001

    async with running(process) as queue:
        await queue.add(A)
        async with asyncio.timeout(5):
            await enough.wait()


async def test_overdue_counts_only_what_waits() -> None:
    async def process(key: Key) -> None:
        await asyncio.sleep(3600)

    async with running(process, workers=1) as queue:
        await queue.add(A)
        await settle()
        assert queue.oldest_overdue_seconds() == 0.0
        await queue.add(B)
        await asyncio.sleep(0.02)
        assert queue.oldest_overdue_seconds() >= 0.02


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_grows_and_stays_bounded(failures: int, jitter: float) -> None:
    delay = backoff_seconds(failures, jitter)
    assert 0.5 <= delay <= MAX_BACKOFF_SECONDS
    assert backoff_seconds(failures + 1, jitter) >= delay
