"""A pod that is at its limit of processes and threads: what serves goes on, a failed start says why."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tacho_engines.base import EngineStartup
from tacho_runtime.probe.load.engine_counters import EngineCounters, counters_of
from tacho_runtime.supervisor import lifecycle
from tacho_runtime.supervisor.engine_memory import MemoryWatch
from tacho_runtime.supervisor.machine_check import ObservedMachine
from tacho_runtime.supervisor.process import Reaper
from tools.harness.documents import plain_measurement

FULL = RuntimeError("can't start new thread")


@contextlib.contextmanager
def no_more() -> Iterator[None]:
    def start(_self: threading.Thread) -> None:
        raise FULL

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        yield


async def test_the_load_is_unknown_and_ends_neither_service_nor_drain() -> None:
    with no_more():
        assert await counters_of("vllm:num_requests_running 3\n") == EngineCounters()


async def test_a_measurement_stays_without_the_last_figures_of_memory() -> None:
    measured = plain_measurement()
    watch = MemoryWatch(ObservedMachine(), os.getpid())
    with no_more():
        assert (await watch.recorded_in(measured, EngineStartup())).state == "Complete"


async def test_the_end_of_an_engine_keeps_its_last_lines() -> None:
    reaper = Reaper(asyncio.get_running_loop())
    try:
        engine = reaper.start(["sh", "-c", "echo the cause; exec sleep 60"], environment=os.environ)
        while not engine.last_lines():
            await asyncio.sleep(0.01)
        engine.signal(signal.SIGKILL)
        assert await engine.exit_status == -signal.SIGKILL
        with no_more():
            assert await engine.final_output() == ("the cause",)
    finally:
        reaper.close()


def test_the_limit_is_named() -> None:
    fork = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    for failure in (lifecycle.own_failure(FULL), lifecycle.not_started("vllm", fork)):
        assert failure.failure_class == "EngineCrashed"
        assert "limit" in failure.message
        assert "podPidsLimit" in failure.next_step
    other = lifecycle.not_started("vllm", OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC)))
    assert "architecture" in other.next_step
