"""kopf around the parts: it ends when told, and its liveness says why something hangs."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tacho_operator.shell.frame import frame

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: abc}}]
contexts: [{name: none, context: {cluster: none, user: nobody}}]
current-context: none
"""


def read(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.mark.parametrize("why", ["", "the workers hang"])
async def test_it_lives_without_an_api_server_and_ends_when_told(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = asyncio.Event()
    running = asyncio.create_task(
        frame(kubeconfig=str(path), health_port=port, hanging=lambda: why, stop=stop)
    )
    async with asyncio.timeout(30):
        while True:
            try:
                status, text = await asyncio.to_thread(read, port)
                break
            except OSError:
                assert not running.done()
                await asyncio.sleep(0.05)
    assert (status, text) == ((500, "") if why else (200, '{"workers": "ok"}'))
    stop.set()
    async with asyncio.timeout(30):
        await running
