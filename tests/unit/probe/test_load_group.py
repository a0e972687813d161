"""Several processes that ask: how many, the same figures as one, and none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tacho_contract.measurement import Workload
from tacho_runtime.probe.load import workers
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.workers import CHUNKS_PER_SECOND_PER_PROCESS, processes_for
from tests.unit.probe.engines import gauge, mock_engine, target
from tests.unit.probe.test_steady_loop import made, never, nothing_runs, terms

QUICK = {"ttft_base_ms": 10, "ttft_per_token_ms": 0.02, "itl_base_ms": 10, "itl_per_seq_ms": 0.1}
SMALL = Workload(input_tokens=24, output_tokens=20)
RUNTIME = Path(__file__).parents[3] / "runtime"


@pytest.mark.parametrize(
    ("chunks", "cpus", "count"),
    [
        (0, 64, 1),
        (CHUNKS_PER_SECOND_PER_PROCESS, 64, 1),
        (CHUNKS_PER_SECOND_PER_PROCESS + 1, 64, 2),
        (3.5 * CHUNKS_PER_SECOND_PER_PROCESS, 64, 4),
        (3.5 * CHUNKS_PER_SECOND_PER_PROCESS, 6, 3),
        (3.5 * CHUNKS_PER_SECOND_PER_PROCESS, 2, 1),
        (1e6, 1000, 8),
        (1e6, 0, 1),
    ],
)
def test_how_many_processes(chunks: float, cpus: int, count: int) -> None:
    assert processes_for(chunks, cpus) == count


@contextlib.asynccontextmanager
async def asked_by(processes: int, port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SocketEngine]:
    monkeypatch.setattr("tacho_runtime.probe.load.loops.processes_for", lambda *_: processes)
    engine = await SocketEngine.open(target(port), Random(1))
    try:
        await engine.first_request(10)
        yield engine
    finally:
        await engine.close()


async def test_several_processes_find_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_engine(**QUICK) as port:
        async with asked_by(2, port, monkeypatch) as engine:
            loop = await engine.steady_loop(SMALL, spread=0.25)
            levels = [await loop.level(terms(streams), never) for streams in (6, 3)]
            await loop.close()
            arrived = await engine.open_loop(20, SMALL, spread=0.25, seconds=2)
        await nothing_runs(port)
    for trace in (*levels, arrived):
        assert trace.client.processes == 2
        assert (trace.failures, trace.broken) == ((), False)
        assert len(trace.bins) * trace.bin_nanoseconds == trace.end_ns - trace.start_ns
        assert sum(trace.bins) == pytest.approx(made(trace), rel=0.15)
    for trace in levels:
        assert trace.started
        assert all(15 <= round(stream.output_tokens) <= 25 for stream in trace.cohort)
    assert [sum(trace.first) for trace in levels] == [6, 0]
    assert arrived.concurrency >= 2
    assert list(arrived.intended_ns) == sorted(arrived.intended_ns)
    assert all(s.sent_ns >= due for s, due in zip(arrived.streams, arrived.intended_ns, strict=True))


async def test_processes_are_added_as_a_loop_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_engine(**QUICK) as port:
        async with asked_by(1, port, monkeypatch) as engine:
            loop = await engine.steady_loop(SMALL, spread=0.25)
            alone = await loop.level(terms(2), never)
            monkeypatch.setattr("tacho_runtime.probe.load.loops.processes_for", lambda *_: 3)
            grown = await loop.level(terms(9), never)
            await loop.close()
    assert (alone.client.processes, grown.client.processes) == (1, 3)
    assert (grown.started, sum(grown.first)) == (True, 7)


async def test_a_cancelled_level_leaves_no_request_and_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    others = _children()
    with mock_engine(**QUICK | {"itl_base_ms": 50}) as port:
        async with asked_by(2, port, monkeypatch) as engine:
            loop = await engine.steady_loop(SMALL, spread=0.25)
            level = asyncio.ensure_future(loop.level(terms(4, cohort=10_000), never))
            while gauge(port, "vllm:num_requests_running") < 4:
                await asyncio.sleep(0.02)
            level.cancel()
            with pytest.raises(asyncio.CancelledError):
                await level
            await loop.close()
            await nothing_runs(port)
        assert _children() - others == {_mock()}


async def test_more_streams_than_the_usual_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with mock_engine(**QUICK) as port:
        few = len(os.listdir("/proc/self/fd")) + 30
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
        try:
            async with asked_by(1, port, monkeypatch) as engine:
                loop = await engine.steady_loop(SMALL, spread=0.25)
                assert (await loop.level(terms(60), never)).failures == ()
                await loop.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((1024, INFINITE), [(workers.FILES, INFINITE)]),
        ((1024, 4096), [(4096, 4096)]),
        ((1024, 1 << 20), [(workers.FILES, 1 << 20)]),
        ((1 << 19, 1 << 20), []),
        ((INFINITE, INFINITE), []),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may(
    limits: tuple[int, int], raised: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(workers.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(workers.resource, "setrlimit", lambda _, wanted: found.append(wanted))
    workers.allow_files()
    assert found == raised


async def test_no_process_starts_where_no_more_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(workers.subprocess, "Popen", refused)
    assert await workers.WorkerPool().workers(2) == []


async def test_a_process_that_is_killed_breaks_its_level_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = _children()
    with mock_engine(**QUICK) as port:
        async with asked_by(2, port, monkeypatch) as engine:
            loop = await engine.steady_loop(SMALL, spread=0.25)
            level = asyncio.ensure_future(loop.level(terms(4, cohort=10_000), never))
            while gauge(port, "vllm:num_requests_running") < 4:
                await asyncio.sleep(0.02)
            os.kill(min(_children() - others - {_mock()}), signal.SIGKILL)
            trace = await level
            assert trace.broken
            assert "has ended" in trace.failures[0]
            await loop.close()
            loop = await engine.steady_loop(SMALL, spread=0.25)
            assert not (await loop.level(terms(2), never)).broken
            await loop.close()


def _children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def _mock() -> int:
    """The mock engine's process: the one that was there before any that asks."""
    return next(
        pid for pid in _children() if b"tools.mock.engine" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def test_processes_start_from_a_zipapp_without_site_packages(tmp_path: Path) -> None:
    """As the runtime runs in an engine's image: from one file, isolated."""
    import h11

    archive = tmp_path / "runtime.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for package in ("tacho_runtime", "tacho_engines", "tacho_contract"):
            for path in (RUNTIME / package).rglob("*.py"):
                packed.write(path, path.relative_to(RUNTIME))
        for path in Path(h11.__file__).parent.glob("*.py"):
            packed.write(path, f"h11/{path.name}")
        packed.writestr("__main__.py", ZIPPED)
    said = subprocess.run(
        [sys.executable, "-I", "-S", str(archive)], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.stdout == "2 ready\n", said.stderr


ZIPPED = """
import asyncio
from tacho_runtime.probe.load.workers import WorkerPool

async def main():
    pool = WorkerPool()
    print(len(await pool.workers(2)), "ready")
    await pool.close()

asyncio.run(main())
"""
