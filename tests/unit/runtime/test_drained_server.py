"""The runtime drains a real tacho_server: it waits for requests in each phase, and counts what it cuts."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.launch import CustomEngine, RuntimeConfig
from tacho_contract.report import CutRequests
from tests.launching import changed
from tests.unit.runtime.running import custom_config, running

CHILD = Path(__file__).with_name("server_child.py")
SECONDS = 9.0
"""Longer than an engine that counts as idle may run: two readings, and the server's own five seconds."""
TOKENS = 60_000
"""Of an answer of 10 MB, more than the sockets hold."""


def config_of(folder: Path, drain_seconds: int) -> RuntimeConfig:
    words = (sys.executable, str(CHILD), "--port", "$(TACHO_PORT)", "--seconds", str(SECONDS))
    custom = CustomEngine(command=words)
    return changed(custom_config(folder), custom=custom, drain_seconds=drain_seconds)


def sent(port: int, body: dict[str, object], begin_bytes: int = 1 << 20) -> tuple[socket.socket, bytes]:
    """(connection of a request of which the first bytes of the body are sent, the others)."""
    text = json.dumps({"prompt": "x", "max_tokens": 1, **body}).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", port))
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Type: application/json\r\n"
    )
    connection.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text[:begin_bytes])
    return connection, text[begin_bytes:]


def read(connection: socket.socket, rate: float = 1e9) -> bytes:
    """The whole answer, read at ``rate`` bytes per second."""
    answer, begin = bytearray(), time.monotonic()
    with connection:
        while data := connection.recv(1 << 16):
            answer += data
            time.sleep(max(0.0, begin + len(answer) / rate - time.monotonic()))
    return bytes(answer)


def arriving(port: int) -> Callable[[], bytes]:
    connection, rest = sent(port, {}, 10)

    def finish() -> bytes:
        time.sleep(SECONDS)
        connection.sendall(rest)
        return read(connection)

    return finish


def computed(port: int) -> Callable[[], bytes]:
    connection, _ = sent(port, {"max_tokens": TOKENS, "stream": True})
    return lambda: read(connection, TOKENS * 140 / SECONDS)


PHASES = {"arriving": arriving, "computed": computed}
"""Phases in which nothing runs or waits in the backend."""


@pytest.mark.parametrize("phase", PHASES)
def test_a_request_is_answered_in_each_phase(tmp_path: Path, phase: str) -> None:
    config = config_of(tmp_path, drain_seconds=60)
    with running(config, tmp_path) as runtime, ThreadPoolExecutor() as pool:
        runtime.until_ready()
        answer = pool.submit(PHASES[phase](config.engine_port))
        time.sleep(0.5)
        assert runtime.stop() == 0
        text = answer.result()
    assert b" 200 OK" in text
    assert text.rstrip().endswith((b"}", b"[DONE]", b"0"))
    assert "no requests left" in runtime.log()


def test_what_is_cut_is_counted(tmp_path: Path) -> None:
    config = config_of(tmp_path, drain_seconds=1)
    with running(config, tmp_path) as runtime, ThreadPoolExecutor() as pool:
        runtime.until_ready()
        running_now, _ = sent(config.engine_port, {"prompt": "r"})
        begun = [begin(config.engine_port) for begin in PHASES.values()]
        answers = [pool.submit(finish) for finish in (*begun, lambda: read(running_now))]
        time.sleep(0.5)
        assert runtime.stop() == 0
        for answer in answers:
            answer.exception()
    cut = codec.loads(CutRequests, Path(config.paths.termination_log).read_bytes())
    assert cut == CutRequests(drain_seconds=1, cut_requests=3)
