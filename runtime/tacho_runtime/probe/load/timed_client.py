"""The probe's HTTP client: one HTTP/1.1 request per connection, with the time of every read from the socket.

It is an asyncio protocol: ``data_received`` runs as soon as the event loop has read the socket, while a
stream reader would first have to wake a task. During the answer only its framing is parsed.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from tacho_runtime.probe.load import wire as wire

CONNECT_SECONDS = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443}
TAIL_BYTES = 2048
"""Last bytes of an answer that are kept: they hold a stream's usage, and show whether it is complete."""
REPLY_LIMIT_BYTES = 4 * 1024 * 1024
"""Longest accepted answer in bytes, far above any that is requested."""


class AddressError(ValueError):
    """The URL that the probe is to measure is not a valid address."""


class RequestFailed(Exception):
    """A request without a usable answer; the text gives the reason.

    ``answered``: the server sent an error, so another request format may work. ``status``: the HTTP status, 0
    without one. ``retry_after_seconds``: from the server, if sent. ``broke``: the connection was refused or
    ended, so a retry may work.
    """

    def __init__(
        self,
        message: str,
        *,
        answered: bool = False,
        status: int = 0,
        retry_after_seconds: float | None = None,
        broke: bool = False,
    ) -> None:
        super().__init__(message)
        self.answered = answered
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.broke = broke

    def with_message(self, message: str) -> RequestFailed:
        """A copy of the failure with another message."""
        failure = copy.copy(self)
        failure.args = (message,)
        return failure

    def after(self, tries: int) -> RequestFailed:
        """A copy of the failure whose message says that it was the last of ``tries`` tries."""
        return self if tries == 1 else self.with_message(f"{self} ({tries} times in a row)")


@dataclass(frozen=True, slots=True)
class EngineEndpoint:
    host: str
    port: int
    prefix: str
    headers: tuple[tuple[str, str], ...] = ()
    encrypted: bool = False
    secret: bytes = b""
    """The API key, which an engine may repeat in an error that status shows."""

    @classmethod
    def of(cls, base_url: str, api_key: str = "") -> EngineEndpoint:
        """The endpoint of an http:// or https:// URL with a host. Raises AddressError for any other text."""
        try:
            url = urlsplit(base_url)
            port = url.port
        except ValueError as error:
            raise AddressError(f"{base_url!r}: {error}") from None
        if url.scheme not in DEFAULT_PORTS or not url.hostname:
            raise AddressError(f"the probe measures http:// and https:// addresses, not {base_url!r}")
        headers = (("Authorization", f"Bearer {api_key}"),) if api_key else ()
        port = port or DEFAULT_PORTS[url.scheme]
        path, encrypted, secret = url.path.rstrip("/"), url.scheme == "https", api_key.encode()
        return cls(url.hostname, port, path, headers, encrypted=encrypted, secret=secret)

    @property
    def near(self) -> bool:
        """Whether the engine is on this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def trust(self) -> ssl.SSLContext | None:
        """The certificate authorities for an encrypted connection: the machine's, or those in
        SSL_CERT_FILE."""
        return _trust() if self.encrypted else None


@functools.cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


class StreamConnection(asyncio.Protocol):
    """One request in flight, with the time stamps and bytes of its answer."""

    __slots__ = (
        "_begun", "_ended", "_error", "_head", "_raw_bytes", "_tail", "_transport",
        "connected_ns", "reads", "secret", "sent_ns",
    )  # fmt: skip
    limit_bytes = REPLY_LIMIT_BYTES

    def __init__(self) -> None:
        self.reads: list[tuple[int, bytes]] = []
        """(time in ns after a read from the socket, the bytes read)."""
        self.connected_ns = self.sent_ns = 0
        self.secret = b""
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: RequestFailed | None = None
        self._transport: asyncio.Transport | None = None
        self._head: wire.Framing | None = None
        self._raw_bytes = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.connected_ns = time.monotonic_ns()
        self._transport = transport

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        if self._raw_bytes and not self._error:  # its times to the first token would be negative
            self._error = RequestFailed("the engine answered before the request")
            self._begun.set()
            self._ended.set()
        self.sent_ns = time.monotonic_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._add_read(time.monotonic_ns(), data)
        self._raw_bytes += len(data)
        self._tail = self._closing(self._tail + data)
        if self._raw_bytes > self.limit_bytes:
            return self._finish(RequestFailed(f"the answer is larger than {self.limit_bytes} bytes"))
        if self._head is None:
            raw = b"".join(read for _, read in self.reads)
            try:
                self._head = wire.framing(raw)
            except wire.WireError as error:
                hidden = without(self.secret, raw) != raw
                return self._finish(RequestFailed("not an HTTP/1.1 response" if hidden else str(error)))
        head = self._head
        if head is None:
            return None
        if self._raw_bytes > head.head_end and not self._begun.is_set() and self._has_begun():
            self._begun.set()
        whole = head.length is not None and self._raw_bytes - head.head_end >= head.length
        if whole or (head.chunked and wire.has_last_chunk(self._tail)):
            self._finish(None)
        return None

    def _add_read(self, stamp_ns: int, data: bytes) -> None:
        self.reads.append((stamp_ns, data))

    def _closing(self, data: bytes) -> bytes:
        """The last bytes of the answer that are kept."""
        return data[-TAIL_BYTES:]

    def _has_begun(self) -> bool:
        """Whether the body so far contains the beginning of an answer."""
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._finish(RequestFailed(f"the connection broke: {error}", broke=True))
        elif self._head is not None and wire.is_truncated(self._head, self._tail):
            self._finish(RequestFailed("the connection ended within the answer", broke=True))
        else:
            self._finish(None)

    def _finish(self, error: RequestFailed | None) -> None:
        if not self._ended.is_set():
            self._error = error
            self._begun.set()
            self._ended.set()

    async def wait_started(self, timeout_seconds: float) -> None:
        """Waits for the first content of the body. Raises RequestFailed."""
        await self._until(self._begun, "no answer", timeout_seconds)

    async def wait(self, timeout_seconds: float) -> None:
        """Waits for the whole answer. Raises RequestFailed, also for an HTTP error or a closed connection."""
        await self._until(self._ended, "no full answer", timeout_seconds)
        if self._head is None:
            raise RequestFailed("the connection ended before an answer", broke=True)
        status = self._head.status
        if status // 100 != 2:
            requested = wire.retry_after_seconds(b"".join(read for _, read in self.reads))
            shown = without(self.secret, self.body())[:300]  # the cut may leave a part of it
            message = f"HTTP {status}: {shown.decode(errors='replace').strip()}"
            raise RequestFailed(message, answered=True, status=status, retry_after_seconds=requested)

    async def _until(self, event: asyncio.Event, missing: str, timeout_seconds: float) -> None:
        # Not wait_for: before Python 3.12 it loses a cancellation that meets the event, and a loop that was
        # told to stop sends on.
        late = RequestFailed(f"{missing} within {timeout_seconds:.1f} s")
        timer = asyncio.get_running_loop().call_later(timeout_seconds, self._finish, late)
        try:
            await event.wait()
        finally:
            timer.cancel()
        if self._error is not None:
            raise self._error

    @property
    def status(self) -> int:
        """HTTP status of the answer; 0 while it has none."""
        return self._head.status if self._head else 0

    def body(self) -> bytes:
        """The part of the body that has arrived. Raises RequestFailed when it is no HTTP response."""
        try:
            return wire.body_of(b"".join(read for _, read in self.reads))
        except wire.WireError as error:
            raise RequestFailed(without(self.secret, str(error).encode()).decode()) from None

    def close(self) -> None:
        """Closes the connection; an engine stops a stream without a reader."""
        if self._transport is not None:
            self._transport.abort()


StreamT = TypeVar("StreamT", bound=StreamConnection)


def without(secret: bytes, text: bytes) -> bytes:
    """``text`` with ``***`` in place of the ``secret``: for messages alone, as a key may be any word."""
    for spelling in _spellings(secret):
        text = text.replace(spelling, b"***")
    return text


@functools.cache
def _spellings(secret: bytes) -> tuple[bytes, ...]:
    """The secret as it is, in JSON and in a URL, the longest first."""
    text = secret.decode(errors="replace")
    found = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text, safe="")}
    return tuple(sorted(filter(None, {secret, *(one.encode() for one in found)}), key=len, reverse=True))


def request_bytes(endpoint: EngineEndpoint, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
    """An HTTP request as the bytes to send.

    It has ``Connection: close``: servers drop idle connections at any time, and a probe must not retry.
    """
    payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    lines = [
        f"{method} {endpoint.prefix}{path} HTTP/1.1",
        f"Host: {host}:{endpoint.port}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in endpoint.headers),
    ]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
    return "\r\n".join([*lines, "", ""]).encode() + payload


async def open_stream(endpoint: EngineEndpoint, kind: Callable[[], StreamT]) -> StreamT:
    """A new connection to the engine, before its request is sent: the handshake is not measured."""
    loop = asyncio.get_running_loop()
    connecting = asyncio.ensure_future(
        loop.create_connection(kind, endpoint.host, endpoint.port, ssl=endpoint.trust())
    )
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        await asyncio.wait({connecting}, timeout=CONNECT_SECONDS)
        if connecting.done():
            stream = connecting.result()[1]
            stream.secret = endpoint.secret
            return stream
    except OSError as error:
        raise RequestFailed(f"cannot connect to {where}: {error}", broke=True) from None
    except asyncio.CancelledError:
        connecting.add_done_callback(_hang_up)
        raise
    finally:
        connecting.cancel()
    raise RequestFailed(f"cannot connect to {where} within {CONNECT_SECONDS:.0f} s")


def _hang_up(connecting: asyncio.Future[tuple[asyncio.Transport, StreamT]]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[1].close()


async def exchange(
    endpoint: EngineEndpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    kind: Callable[[], StreamT],
    timeout_seconds: float,
) -> StreamT:
    """Sends one request and awaits the whole answer. Raises RequestFailed for a timeout, or a status other
    than 2xx."""
    stream = await open_stream(endpoint, kind)
    try:
        stream.send(request_bytes(endpoint, method, path, body))
        await stream.wait(timeout_seconds)
        return stream
    except RequestFailed as error:
        raise error.with_message(f"{method} {path}: {error}") from None
    finally:
        stream.close()
