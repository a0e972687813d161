"""The process: it starts its parts and ends with a signal."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from tacho_operator.__main__ import _run_together, serve
from tacho_operator.config import load_settings
from tacho_operator.shell.events import EventPosts
from tacho_operator.shell.store.reflector import Reflector
from tests.wiring.api_double import ApiDouble, deployment, serving
from tools.cluster.ports import free_ports


def live(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


FLOOD = 150


async def descriptors_after_flood(pid: int, port: int) -> int:
    """How many descriptors the process has while a client holds connections without a request."""
    opened = [
        await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)) for _ in range(FLOOD)
    ]
    await asyncio.sleep(0.3)
    found = len(os.listdir(f"/proc/{pid}/fd"))
    for _, writer in opened:
        writer.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_after_kopf_has_started(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kopf installs handlers of its own at each start, and the process would not end by those."""
    double = ApiDouble()
    await double.put(deployment("a"))
    metrics, health, readiness = free_ports(3)
    async with serving(double, tmp_path, monkeypatch) as (_, kubeconfig):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tacho_operator",
            env=os.environ
            | {"TACHO_IMAGE": "example/tacho:1", "KUBECONFIG": kubeconfig}
            | {"TACHO_METRICS_PORT": str(metrics), "TACHO_HEALTH_PORT": str(health)}
            | {"TACHO_READINESS_PORT": str(readiness)},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                while not double.watches or not await asyncio.to_thread(live, health):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            assert await descriptors_after_flood(process.pid, health) < FLOOD
            assert await asyncio.to_thread(live, health)
            process.send_signal(number)
            async with asyncio.timeout(20):
                _, logs = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert b"Traceback" not in logs


async def test_late_events_end_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that waited at the end of the process would meet a closed client, and log a traceback."""
    seen: list[str] = []
    stop = asyncio.Event()

    async def run(_: EventPosts) -> None:
        seen.append("runs")
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    monkeypatch.setattr(EventPosts, "run", run)
    async with serving(ApiDouble(), tmp_path, monkeypatch) as (_, kubeconfig):
        settings = load_settings({"TACHO_IMAGE": "example/tacho:1", "KUBECONFIG": kubeconfig})
        anywhere = dataclasses.replace(settings, metrics_port=0, health_port=0, readiness_port=0)
        async with asyncio.timeout(20):
            await serve(anywhere, stop)
    assert seen == ["runs", "ended"]


@pytest.mark.parametrize("kind", ["Node", "PersistentVolumeClaim", "LLMDeployment", "Pod"])
async def test_a_watch_that_ends_without_an_error_ends_the_process(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the operator could do without: it would decide by nodes that are no longer there."""
    run = Reflector.run

    async def ends(self: Reflector) -> None:
        if self.kind != kind:
            await run(self)

    monkeypatch.setattr(Reflector, "run", ends)
    async with serving(ApiDouble(), tmp_path, monkeypatch) as (_, kubeconfig):
        settings = load_settings({"TACHO_IMAGE": "example/tacho:1", "KUBECONFIG": kubeconfig})
        anywhere = dataclasses.replace(settings, metrics_port=0, health_port=0, readiness_port=0)
        with pytest.raises(RuntimeError, match=f"watching {kind} .*ended without an error"):
            async with asyncio.timeout(20):
                await serve(anywhere, asyncio.Event())


async def test_the_lease_is_released_before_slow_parts_have_ended() -> None:
    stop, released = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    async def part(name: str, *, waits: bool) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if waits:
                await released.wait()
            order.append(name)
            if not waits:
                released.set()

    slow = {name: part(name, waits=True) for name in ("watching", "workers")}
    asyncio.get_running_loop().call_later(0, stop.set)
    async with asyncio.timeout(30):
        await _run_together({**slow, "leader election": part("leader election", waits=False)}, stop)
    assert order[0] == "leader election"
    assert sorted(order[1:]) == ["watching", "workers"]
