"""The work queue: merged, one at a time, retried, woken early."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given, strategies as st

from tacho_operator.shell import workqueue
from tacho_operator.shell.workqueue import MAX_BACKOFF_SECONDS, Key, WorkQueue, backoff_seconds

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("ns", "c")
Process = Callable[[Key], Awaitable[float | None]]


@contextlib.asynccontextmanager
async def running(process: Process, workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(process, workers=workers)
    queue._random = random.Random(1)
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
        queue.add(A)
    queue.add(B)
    assert sum(queue.depths().values()) == 2
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
        queue.add(A)
        await settle()
        queue.add(A)
        queue.add(A)
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
        queue.add(A)
        queue.add(B)
        await settle()
        assert done == [B]


async def test_a_failure_is_retried_and_does_not_stop_the_workers(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[Key] = []

    async def process(key: Key) -> None:
        tries.append(key)
        if len(tries) == 1:
            raise RuntimeError("the API server said no")

    async with running(process, workers=1) as queue:
        queue.add(A)
        async with asyncio.timeout(5):
            while len(tries) < 2:
                await asyncio.sleep(0.01)
    assert "ns/a: the API server said no; next try in" in caplog.text


async def test_events_do_not_undo_the_back_off_of_a_failure() -> None:
    tries: list[Key] = []

    async def process(key: Key) -> None:
        tries.append(key)
        raise RuntimeError("429: slow down")

    async with running(process) as queue:
        queue.add(A)
        await settle()
        for _ in range(5):
            queue.add(A)
            await settle()
        assert tries == [A]
        assert queue.depths()["delayed"] == 1


async def test_an_error_that_asks_for_a_pause_gets_it_whatever_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workqueue, "BASE_BACKOFF_SECONDS", 0.001)
    tries: list[Key] = []

    async def process(key: Key) -> None:
        tries.append(key)
        raise RuntimeError("slow down")

    queue = WorkQueue(process, workers=1, requested_pause_seconds=lambda error: 3600.0 if str(error) else 0.0)
    queue.add(A)
    task = asyncio.create_task(queue.run())
    await settle()
    queue.add(A)
    await asyncio.sleep(0.05)
    now = asyncio.get_running_loop().time()
    assert tries == [A]
    assert 3590 < queue._due[A] - now < 3600 * 1.2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_happened_during_a_turn_that_failed_does_not_undo_its_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workqueue, "BASE_BACKOFF_SECONDS", 3600.0)
    monkeypatch.setattr(workqueue, "HELD_SECONDS", 0.2)
    tries: list[Key] = []

    async def process(key: Key) -> None:
        tries.append(key)
        queue.add(key)
        if len(tries) == 1:
            raise RuntimeError("429")

    async with running(process) as queue:
        queue.add(A)
        await settle()
        assert len(tries) == 1
        async with asyncio.timeout(5):
            while len(tries) < 2:
                await asyncio.sleep(0.01)


async def test_a_delayed_key_is_pulled_forward_by_a_change() -> None:
    seen = asyncio.Event()

    async def process(key: Key) -> None:
        seen.set()

    async with running(process) as queue:
        queue.add(A, 3600)
        await settle()
        assert not seen.is_set()
        queue.add(A)
        async with asyncio.timeout(5):
            await seen.wait()
        assert sum(queue.depths().values()) == 0, "the later time was superseded, not kept beside it"


async def test_times_that_no_longer_count_are_thrown_away() -> None:
    """A resource that is looked at every few seconds and asks for an hour each time would fill the memory."""
    seen: list[Key] = []

    async def process(key: Key) -> float:
        seen.append(key)
        return 3600.0

    queue = WorkQueue(process, workers=2)
    task = asyncio.create_task(queue.run())
    for turn in range(1, 3001):
        queue.add(A)
        while len(seen) < turn:
            await asyncio.sleep(0)
    queue.add(B, 0.01)
    async with asyncio.timeout(5):
        while seen[-1] != B:
            await asyncio.sleep(0.001)
    assert len(queue._heap) < 2000
    assert sum(queue.depths().values()) == 2, "both come back"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


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
        queue.add(A)
        async with asyncio.timeout(5):
            await enough.wait()


async def test_stuck_is_only_what_waits_and_does_not_move() -> None:
    """A liveness probe hangs on it: a long line after an outage must not have the process killed."""
    turns = asyncio.Semaphore(0)

    async def process(key: Key) -> None:
        await turns.acquire()

    async with running(process, workers=1) as queue:
        queue.add(A)
        await settle()
        assert queue.stuck_seconds() == 0.0, "nothing waits"
        queue.add(B)
        queue.add(C)
        await asyncio.sleep(0.05)
        stuck = queue.stuck_seconds()
        assert stuck >= 0.05
        turns.release()
        await settle()
        assert sum(queue.depths().values()) == 1, "one waits still, for as long as the one before it did"
        assert queue.stuck_seconds() < stuck <= queue.oldest_seconds()


async def stuck_at_first(queue: WorkQueue) -> float:
    """How long the one worker is stuck, while A waits for its first answer, and B is queued."""
    queue.add(A)
    queue.add(B)
    await settle()
    await asyncio.sleep(0.05)
    stuck = queue.stuck_seconds()
    assert stuck >= 0.05, "A waits for its first answer"
    return stuck


async def test_what_cancels_a_reconcile_reaches_it() -> None:
    ended: list[str] = []

    async def process(key: Key) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key.name)

    async with running(process) as queue:
        queue.add(A)
        await settle()
    assert ended == [A.name]


async def test_nothing_is_begun_while_the_gate_is_closed() -> None:
    opened, seen = asyncio.Event(), asyncio.Event()

    async def process(key: Key) -> None:
        seen.set()

    async def gate() -> None:
        await opened.wait()

    queue = WorkQueue(process, workers=1, gate=gate)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await settle()
    assert not seen.is_set()
    opened.set()
    async with asyncio.timeout(5):
        await seen.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_grows_and_stays_bounded(failures: int, jitter: float) -> None:
    delay = backoff_seconds(failures, jitter)
    assert 0.5 <= delay <= MAX_BACKOFF_SECONDS
    assert backoff_seconds(failures + 1, jitter) >= delay
