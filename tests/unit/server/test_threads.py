"""How many compute threads an engine starts, and whose work is next."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator
from functools import partial
from types import SimpleNamespace

import pytest

from tacho_contract.launch import ENV_USABLE_CPUS
from tacho_server import threads
from tacho_server.backend import GenerationError
from tacho_server.threads import READ_AT_ONCE, USABLE_CPUS, Mailbox, TimedThread, Turns, usable_cpus


def test_the_variable_is_the_one_that_the_runtime_sets() -> None:
    assert USABLE_CPUS == ENV_USABLE_CPUS


def test_what_the_runtime_tells_comes_before_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert usable_cpus({USABLE_CPUS: "3"}) == 3
    assert usable_cpus({}) == 8


async def test_at_the_limit_of_threads_requests_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that could start no thread took a turn for ever: then all waited, behind a healthy
    server.
    """
    turns, tokenizing = Turns("test", 2), TimedThread("test", 60)

    def full(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    assert await asyncio.gather(*(turns.run(partial(int, at)) for at in range(4))) == [0, 1, 2, 3]
    assert await tokenizing.run(partial(int, 5)) == 5
    with pytest.raises(RuntimeError):
        Turns("test", 2)


def test_a_server_that_cannot_start_all_its_threads_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones would wait for the others, and Python for them, for ever."""
    started, start = list[threading.Thread](), threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        with pytest.raises(RuntimeError, match="can't start"):
            threads.started("test", 3)
    gc.collect()
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


async def test_the_smallest_work_is_next_and_what_is_cancelled_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "LONG_BYTES", 10)
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


async def test_large_work_comes_before_small_work_that_arrives_much_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three streams of texts of 300 KB kept one of 400 KB out for as long as they went on."""
    now = [0.0]
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: now[0]))
    thread, begun, gate, order = TimedThread("test", 60), threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        gate.wait(10)

    tasks = [asyncio.ensure_future(thread.run(first))]
    while not begun.is_set():
        await asyncio.sleep(0.001)
    for at, size, name in ((0, 400_000, "large"), (20, 300_000, "soon"), (1, 300_000, "at once")):
        now[0] = at
        tasks.append(asyncio.ensure_future(thread.run(partial(order.append, name), size)))
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["at once", "large", "soon"]


async def test_work_whose_caller_has_gone_is_ended_when_it_is_overdue() -> None:
    thread, begun = TimedThread("test", 0.1), threading.Event()
    stop = threading.Event()

    def without_end() -> None:
        begun.set()
        while not stop.is_set():
            time.sleep(0.001)

    task = asyncio.ensure_future(thread.run(without_end))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    try:
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(thread._executor.submit(lambda: True).result)
    finally:
        stop.set()


async def test_work_that_is_cancelled_before_its_turn_keeps_no_memory() -> None:
    thread, begun, gate = TimedThread("test", 60), threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        gate.wait(10)

    class Body:
        pass

    busy = asyncio.ensure_future(thread.run(first))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    body = Body()
    seen = weakref.ref(body)
    waiting = asyncio.ensure_future(thread.run(partial(id, body)))
    del body
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    del waiting
    await asyncio.sleep(0)  # the loop's own references go
    gc.collect()
    assert seen() is None
    gate.set()
    await busy


async def test_the_answer_with_the_most_unread_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 streams of 32,000 tokens with 20 log-probabilities each, read slowly, were 2.5 GB."""
    monkeypatch.setattr(threads, "UNREAD_LEAST", 10)
    monkeypatch.setattr(threads, "UNREAD_LIMIT", 100)
    given_up: list[str] = []
    slow, other, new = (Mailbox[int](partial(given_up.append, name)) for name in ("slow", "other", "new"))
    for item in range(9):
        slow.put(item, 10)
    other.put(1, 15)  # more than may be unread, and not the most
    await asyncio.sleep(0)
    assert not given_up
    slow.put(9, 10)
    slow.put(10, 10)
    new.put(1, 30)
    await asyncio.sleep(0)
    assert (given_up, slow._queue.qsize()) == (["slow"], 1)
    with pytest.raises(GenerationError, match="too slowly"):
        await anext(slow.read(lambda: None))
    for kept in (other, new):
        kept.end()
        assert [item async for item in kept.read(lambda: None)] == [1]


async def test_what_is_read_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "UNREAD_LEAST", 10)
    monkeypatch.setattr(threads, "UNREAD_LIMIT", 100)
    mailbox = Mailbox[int](lambda: pytest.fail("given up"))
    reader = mailbox.read(lambda: None)
    for item in range(20):
        mailbox.put(item, 60)
        assert await anext(reader) == item


async def test_what_a_reader_left_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an answer whose client has gone would have the place of those that are read."""
    monkeypatch.setattr(threads, "UNREAD_LEAST", 10)
    monkeypatch.setattr(threads, "UNREAD_LIMIT", 100)
    left, read = (Mailbox[int](lambda: pytest.fail("given up")) for _ in range(2))
    reader = left.read(lambda: None)
    left.put(0, 10)
    left.put(1, 60)
    assert await anext(reader) == 0
    assert isinstance(reader, AsyncGenerator)
    await reader.aclose()
    read.put(2, 70)
    await asyncio.sleep(0)
    assert await anext(read.read(lambda: None)) == 2


async def test_an_answer_with_much_unread_leaves_the_loop_to_others() -> None:
    """A reader that need not wait would else handle all of it at once, while more arrives."""
    mailbox, turns = Mailbox[int](lambda: None), 0

    async def read() -> None:
        assert [item async for item in mailbox.read(lambda: None)] == list(range(100))

    for item in range(100):
        mailbox.put(item)
    mailbox.end()
    await asyncio.sleep(0)
    reading = asyncio.ensure_future(read())
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    await reading
    assert turns > 100 // READ_AT_ONCE
