"""Asks thousands of pods one short question each, in a thread: an asynchronous client takes several times the
CPU.

A pod is untrusted: small answers, no redirects, nothing inflated, short patience. Every connection serves for
one question: thousands that were kept open would cost memory on both sides.
"""

from __future__ import annotations

import errno
import http.client
import io
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

HEAD_LIMIT_BYTES = 8192
LOOK_UP_SECONDS = 0.5
"""So often it is looked whether the answers are still wanted."""
UNDER_WAY = frozenset({0, errno.EINPROGRESS})


class Asked:
    """One pod's connection."""

    __slots__ = ("address", "got", "left", "socket", "until")

    def __init__(self, address: str, port: int, question: bytes, until: float) -> None:
        """Raises OSError where there is no way to that address at all."""
        self.address, self.left, self.until = address, question, until
        self.got = b""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            failed = self.socket.connect_ex((address, port))
            if failed not in UNDER_WAY:
                raise OSError(failed, "no connection")
        except OSError:
            self.socket.close()
            raise


def question(address: str, port: int, path: str) -> bytes:
    """The request."""
    host = f"[{address}]" if ":" in address else address
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Accept-Encoding: identity", "Connection: close")
    return "\r\n".join((*lines, "", "")).encode()


def ask_many(
    addresses: Iterable[str],
    port: int,
    path: str,
    *,
    at_once: int,
    each_seconds: float,
    all_seconds: float,
    limit_bytes: int,
    wanted: Callable[[], bool],
) -> dict[str, bytes | None]:
    """Bodies by address; None: that one gave no good answer. One whose turn did not come is absent.

    Returns as soon as ``wanted`` says no.
    """
    waiting, end = deque(addresses), time.monotonic() + all_seconds
    with _UnderWay(limit_bytes) as asked:
        while (waiting or asked.count) and wanted():
            now = time.monotonic()
            asked.give_up(now)
            if now >= end:
                break
            while waiting and asked.count < at_once:
                address = waiting.popleft()
                asked.begin(address, port, question(address, port, path), min(end, now + each_seconds))
            asked.go_on(min(LOOK_UP_SECONDS, end - now))
        return asked.found


class _UnderWay:
    """The connections that are open, and what came of those that are not."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, Asked] = {}
        """In the order in which they began, so that those whose time is up come first."""
        self.found: dict[str, bytes | None] = {}

    def __enter__(self) -> _UnderWay:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._open.values():
            one.socket.close()
        self._selector.close()

    @property
    def count(self) -> int:
        return len(self._open)

    def begin(self, address: str, port: int, asked: bytes, until: float) -> None:
        try:
            one = Asked(address, port, asked, until)
        except OSError:
            self.found[address] = None
            return
        self._open[one.socket.fileno()] = one
        self._selector.register(one.socket.fileno(), selectors.EVENT_WRITE)

    def give_up(self, now: float) -> None:
        """Those whose time is up."""
        while self._open and (one := next(iter(self._open.values()))).until <= now:
            self._close(one, None)

    def go_on(self, seconds: float) -> None:
        """With whatever can, once something can, or after so many seconds."""
        for key, events in self._selector.select(seconds):
            one = self._open[key.fd]
            try:
                if events & selectors.EVENT_WRITE:
                    self._send(one)
                else:
                    self._receive(one)
            except BlockingIOError:
                continue
            except OSError:
                self._close(one, None)

    def _send(self, one: Asked) -> None:
        one.left = one.left[one.socket.send(one.left) :]
        if not one.left:
            self._selector.modify(one.socket.fileno(), selectors.EVENT_READ)

    def _receive(self, one: Asked) -> None:
        longest = HEAD_LIMIT_BYTES + self._limit_bytes
        more = one.socket.recv(longest)
        one.got += more
        if not more or len(one.got) > longest or _whole(one.got):
            self._close(one, body_of(one.got, self._limit_bytes))

    def _close(self, one: Asked, body: bytes | None) -> None:
        number = one.socket.fileno()
        self._selector.unregister(number)
        del self._open[number]
        one.socket.close()
        self.found[one.address] = body


def _simple(head: bytes) -> int | None:
    """The body's length, where a plain 200 says just that; None: http.client has to read it."""
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        return None
    lowered = head.lower()
    if b"\r\ntransfer-encoding:" in lowered or lowered.count(b"\r\ncontent-length:") != 1:
        return None
    said = lowered.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
    return int(said) if said.isdigit() and len(said) < 10 else None


def _whole(got: bytes) -> bool:
    """Whether nothing more has to come: who keeps the connection open is not waited for."""
    head, ended, body = got.partition(b"\r\n\r\n")
    length = _simple(head) if ended else None
    return length is not None and len(body) >= length


def body_of(got: bytes, limit_bytes: int) -> bytes | None:
    """What a whole answer says; None where it is refused, cut, too long, or no HTTP."""
    head, ended, body = got.partition(b"\r\n\r\n")
    length = _simple(head) if ended else None
    if length is None:
        try:
            return _read(got, limit_bytes)
        except (http.client.HTTPException, OSError, ValueError):
            return None
    return body[:length] if len(body) >= length and length <= limit_bytes else None


class _Said:
    """What http.client takes for a socket."""

    def __init__(self, got: bytes) -> None:
        self._got = got

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._got)


def _read(got: bytes, limit_bytes: int) -> bytes | None:
    """In parts, or to the end of the connection, as a proxy beside the pod may send it."""
    response = http.client.HTTPResponse(_Said(got))  # type: ignore[arg-type]  # only makefile is called
    response.begin()
    if response.status != 200:
        return None
    body = response.read(limit_bytes + 1)
    return None if response.length or len(body) > limit_bytes else body
