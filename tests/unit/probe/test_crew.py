"""Several processes that ask: how many, the same figures as one, and none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tacho_contract.measurement import Workload
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.workers import CHUNKS_PER_PROCESS, processes_for
from tests.unit.probe.engines import gauge, mock_engine, target

QUICK = {"ttft_base_ms": 10, "ttft_per_token_ms": 0.02, "itl_base_ms": 10, "itl_per_seq_ms": 0.1}
SMALL = Workload(input_tokens=24, output_tokens=20)
RUNTIME = Path(__file__).parents[3] / "runtime"


@pytest.mark.parametrize(
    ("chunks", "cpus", "count"),
    [
        (0, 64, 1),
        (CHUNKS_PER_PROCESS, 64, 1),
        (CHUNKS_PER_PROCESS + 1, 64, 2),
        (3.5 * CHUNKS_PER_PROCESS, 64, 4),
        (3.5 * CHUNKS_PER_PROCESS, 6, 3),
        (3.5 * CHUNKS_PER_PROCESS, 2, 1),
        (1e6, 1000, 8),
        (1e6, 0, 1),
    ],
)
def test_how_many_processes(chunks: float, cpus: int, count: int) -> None:
    found, reason = processes_for(chunks, cpus)
    assert found == count
    assert ("leave room" in reason) == (chunks > count * CHUNKS_PER_PROCESS)


@contextlib.asynccontextmanager
async def asked_by(processes: int, port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SocketEngine]:
    monkeypatch.setattr(
        "tacho_runtime.probe.load.socket_engine.processes_for", lambda *_: (processes, "told so")
    )
    engine = await SocketEngine.open(target(port), Random(1))
    try:
        await engine.first_request(10)
        yield engine
    finally:
        await engine.close()


async def test_several_processes_find_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_engine(**QUICK) as port:
        async with asked_by(2, port, monkeypatch) as engine:
            closed = await engine.closed_loop(6, SMALL, spread=0.25, seconds=4)
            again = await engine.closed_loop(3, SMALL, spread=0.25, seconds=2)
            arrived = await engine.open_loop(20, SMALL, spread=0.25, seconds=2)
            unstreamed = await engine.unstreamed_rate(4, SMALL, seconds=2)
        while gauge(port, "vllm:num_requests_running") > 0:
            await asyncio.sleep(0.02)
    for trace in (closed, again, arrived):
        assert trace.client.processes == 2
        assert (trace.failures, trace.broken) == ((), False)
        assert len(trace.bins) * trace.bin_nanoseconds == trace.end_ns - trace.start_ns
        before, after = (trace.readings[end].counters.generated_tokens for end in (0, -1))
        assert sum(trace.bins) == pytest.approx((after or 0) - (before or 0), rel=0.15)
    for trace in (closed, again):
        assert trace.started
        assert trace.residual == trace.concurrency
        later = [stream for stream in trace.streams[trace.residual :] if stream.finish_reason]
        assert later
        assert all(15 <= stream.output_tokens <= 25 and stream.prompt_tokens == 24 for stream in later)
        assert [stream.sent_ns for stream in trace.streams[trace.residual :]] == sorted(
            stream.sent_ns for stream in trace.streams[trace.residual :]
        )
    assert arrived.concurrency >= 2
    assert list(arrived.intended_ns) == sorted(arrived.intended_ns)
    assert all(s.sent_ns >= due for s, due in zip(arrived.streams, arrived.intended_ns, strict=True))
    assert unstreamed is not None
    assert unstreamed > 0


async def test_a_cancelled_loop_leaves_no_request_and_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    others = _children()
    with mock_engine(**QUICK | {"itl_base_ms": 50}) as port:
        async with asked_by(2, port, monkeypatch) as engine:
            loop = asyncio.ensure_future(engine.closed_loop(4, SMALL, spread=0.25, seconds=60))
            while gauge(port, "vllm:num_requests_running") < 4:
                await asyncio.sleep(0.02)
            loop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loop
            while gauge(port, "vllm:num_requests_running") > 0:
                await asyncio.sleep(0.02)
            assert _children() - others == {_mock()}


async def test_a_process_that_is_killed_breaks_its_loop_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = _children()
    with mock_engine(**QUICK) as port:
        async with asked_by(2, port, monkeypatch) as engine:
            loop = asyncio.ensure_future(engine.closed_loop(4, SMALL, spread=0.25, seconds=60))
            while gauge(port, "vllm:num_requests_running") < 4:
                await asyncio.sleep(0.02)
            os.kill(min(_children() - others - {_mock()}), signal.SIGKILL)
            trace = await loop
            assert trace.broken
            assert "has ended" in trace.failures[0]
            assert not (await engine.closed_loop(2, SMALL, spread=0.25, seconds=2)).broken


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
