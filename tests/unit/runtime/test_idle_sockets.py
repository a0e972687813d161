"""Which connections to an engine nobody uses."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tacho_runtime.machine import idle_sockets
from tacho_runtime.machine.idle_sockets import Activity, idle_connections
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters, counted_by_connections

NOTHING = CounterReading(stamp_ns=0, counters=EngineCounters())


@pytest.mark.parametrize(
    ("sent", "received", "sent_bytes", "received_bytes", "idle"),
    [
        (6.0, 6.0, 1, 0, True),  # kept open for requests to come
        (4.0, 4.0, 1, 0, False),  # just opened
        (61.0, 62.0, 100, 500, True),  # answered
        (59.0, 62.0, 100, 500, False),  # may pause between two tokens
        (90.0, 80.0, 100, 500, False),  # a further request, which waits for its answer
        (90.0, 90.0, 1, 500, False),  # the first one, which waits
        (0.1, 300.0, 100, 500, False),  # a long answer
    ],
)
def test_what_is_idle(sent: float, received: float, sent_bytes: int, received_bytes: int, idle: bool) -> None:
    assert Activity(sent, received, sent_bytes, received_bytes).is_idle is idle


@contextlib.contextmanager
def connected(address: str, count: int) -> Iterator[tuple[int, list[tuple[socket.socket, socket.socket]]]]:
    """(port, both sides of each connection)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((address, 0), family=family))
        port = server.getsockname()[1]
        pairs = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection((address, port)))
            pairs.append((client, stack.enter_context(server.accept()[0])))
        yield port, pairs


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_idle_connections_are_no_requests(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balancer that kept one open made every figure provisional."""
    monkeypatch.setattr(idle_sockets, "OPENED_SECONDS", 0.2)
    monkeypatch.setattr(idle_sockets, "SILENT_SECONDS", 0.2)
    with connected(address, 4) as (port, pairs):
        for client, _ in pairs[1:]:
            client.sendall(b"request")
        time.sleep(0.1)
        pairs[2][1].sendall(b"answer")
        time.sleep(0.5)
        pairs[3][1].sendall(b"token")
        if not any([*idle_sockets._of(one, port)] for one in (socket.AF_INET, socket.AF_INET6)):
            pytest.skip("the kernel shows nothing of its sockets here")
        assert idle_connections(port) == 2, "one was never used, one is answered"
        found = await counted_by_connections(NOTHING, port)
        assert found.requests_there == 2


async def test_where_the_kernel_shows_nothing_each_connection_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise OSError(93, "Protocol not supported")

    with connected("127.0.0.1", 2) as (port, _):
        monkeypatch.setattr(idle_sockets.socket, "socket", refused)
        assert idle_connections(port) == 0
        assert (await counted_by_connections(NOTHING, port)).requests_there == 2
