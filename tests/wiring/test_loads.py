"""How thousands of pods are asked: what is taken for an answer, and when it is not waited for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tacho_operator.shell.loads import HEAD_LIMIT_BYTES, ReadLimits, body_of, read_many, request_bytes

LIMIT = 100
LIMITS = ReadLimits(at_once=2, each_seconds=3.0, all_seconds=5.0, limit_bytes=LIMIT)
OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def saying(
    *answers: bytes, address: str = "127.0.0.1", keep: bool = False
) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives one answer a connection, in that order; ``keep``: and does not close it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    asked: list[bytes] = []
    kept = []
    with socket.create_server((address, 0), family=family) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                asked.append(connection.recv(4096))
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
                if keep:
                    kept.append(connection)
                else:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(5)
        for connection in kept:
            connection.close()


def ask(address: str, port: int, each_seconds: float = 3.0) -> bytes | None:
    found = read_many(
        [address], port, "/load", limits=replace(LIMITS, each_seconds=each_seconds), is_needed=lambda: True
    )
    return found[address]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (OK + b"content-length:2\r\nServer: s\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (OK + b"Content-Length: 3\r\n\r\n{}", None),
        (OK + b"Content-Length: 101\r\n\r\n" + b" " * 101, None),
        (OK + b"\r\n" + b" " * 101, None),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b" " * 101 + b"\r\n0\r\n\r\n", None),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}", None),
        (OK + b"Content-Length: " + b"9" * 15 + b"\r\n\r\n{}", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a/\r\nContent-Length: 0\r\n\r\n", None),
        (b"x" * (HEAD_LIMIT_BYTES + LIMIT + 1), None),
        (b"", None),
    ],
    ids=range(14),
)
def test_what_is_taken_for_an_answer(answer: bytes, body: bytes | None) -> None:
    with saying(answer) as (port, _):
        assert ask("127.0.0.1", port) == body


def test_it_asks_as_a_client_that_wants_one_short_answer() -> None:
    with saying(OK + b"Content-Length: 2\r\n\r\n{}") as (port, asked):
        ask("127.0.0.1", port)
    expected = f"GET /load HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    assert asked == [f"{expected}Accept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()]
    assert b"\r\nHost: [fd00::1]:9400\r\n" in request_bytes("fd00::1", 9400, "/load")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_address_of_ipv6_is_asked_too() -> None:
    try:
        with saying(OK + b"Content-Length: 2\r\n\r\n{}", address="::1") as (port, _):
            assert ask("::1", port) == b"{}"
    except OSError:
        pytest.skip("this machine has no address of IPv6")


def test_who_keeps_the_connection_open_is_not_waited_for() -> None:
    began = time.monotonic()
    with saying(OK + b"Content-Length: 2\r\n\r\n{}", keep=True) as (port, _):
        assert ask("127.0.0.1", port) == b"{}"
    assert time.monotonic() - began < 2


def test_who_says_nothing_is_given_up_and_who_refuses_at_once() -> None:
    began = time.monotonic()
    with saying(b"", keep=True) as (port, _):
        assert ask("127.0.0.1", port, each_seconds=0.3) is None
    assert 0.3 <= time.monotonic() - began < 2
    assert ask("127.0.0.1", port) is None, "nobody listens there any more"
    assert ask("not an address", port) is None


def test_nothing_more_is_asked_when_nobody_wants_to_know() -> None:
    found = read_many(["127.0.0.1"], 9, "/load", limits=LIMITS, is_needed=lambda: False)
    assert found == {}


def test_the_limit_is_the_bodys_alone() -> None:
    head = OK + b"X: " + b"x" * 5000 + b"\r\nContent-Length: 100\r\n\r\n"
    assert body_of(head + b" " * 100, LIMIT) == b" " * 100
