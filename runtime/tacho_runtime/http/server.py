"""The runtime's HTTP server: GET on a few paths, for the kubelet, the operator and Prometheus.

It must answer while the engine uses all CPUs, and its port is opened before anything slow begins. So each
connection has one request, which is answered from memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import h11

log = logging.getLogger("tacho")

HEAD_LIMIT_BYTES = 16 * 1024
READ_BYTES = 4 * 1024
REQUEST_SECONDS = 10.0
"""Seconds from the connection to the end of the request's head, and again for the answer."""
CONNECTION_LIMIT = 64
"""Most open connections. Beyond it the oldest is closed: idle connections must not block the kubelet, which
would then restart the pod.
"""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    status: int = 200
    body: bytes
    content_type: str = TEXT


Route = Callable[[], Awaitable[HttpAnswer]]


class HttpServer:
    """Serves ``routes`` (function by path). Requests have no parameters and no body."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._open: dict[asyncio.Task[None], None] = {}
        """Tasks of open connections, oldest first."""
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Opens the port. Raises OSError when it is in use."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=HEAD_LIMIT_BYTES)

    @property
    def port(self) -> int:
        """The port that the server is bound to; where port 0 was requested, the port that the kernel
        chose."""
        assert self._server is not None, "not started"
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stops listening and drops open connections."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open[task] = None
        if len(self._open) > CONNECTION_LIMIT:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        try:
            await self._exchange(reader, writer)
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), REQUEST_SECONDS)  # until the client has read
        except (ConnectionError, asyncio.TimeoutError, TimeoutError):
            pass  # the client went away or never finished: nothing to answer
        except asyncio.CancelledError:
            writer.transport.abort()  # only ``close`` and the limit cancel, and ``close`` waits for it
        finally:
            self._open.pop(task, None)
            writer.close()
            if writer.transport.get_write_buffer_size():  # of a client that never reads
                writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        request: h11.Request | None = None
        try:
            request = await asyncio.wait_for(_request(connection, reader), REQUEST_SECONDS)
            if request is None:
                return
            answer = await self._answer(request)
        except h11.RemoteProtocolError as error:
            answer = HttpAnswer(status=error.error_status_hint, body=f"{error}\n".encode())
        head = h11.Response(
            status_code=answer.status,
            reason=HTTPStatus(answer.status).phrase.encode(),
            headers=[
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                ("Connection", "close"),
                *([("Allow", "GET")] if answer.status == HTTPStatus.METHOD_NOT_ALLOWED else []),
            ],
        )
        writer.write(connection.send(head) or b"")
        if request is None or request.method != b"HEAD":
            writer.write(connection.send(h11.Data(data=answer.body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await asyncio.wait_for(writer.drain(), REQUEST_SECONDS)

    async def _answer(self, request: h11.Request) -> HttpAnswer:
        path = request.target.decode("ascii", "replace").partition("?")[0]
        route = self._routes.get(path)
        if route is None:
            known = " ".join(self._routes)
            return HttpAnswer(
                status=HTTPStatus.NOT_FOUND, body=f"no such path; available: {known}\n".encode()
            )
        if request.method != b"GET":
            return HttpAnswer(status=HTTPStatus.METHOD_NOT_ALLOWED, body=b"only GET is supported\n")
        try:
            return await asyncio.wait_for(route(), REQUEST_SECONDS)
        except (asyncio.TimeoutError, TimeoutError):
            return HttpAnswer(status=HTTPStatus.GATEWAY_TIMEOUT, body=b"the engine did not answer in time\n")
        except Exception:
            # Such as a version of the engine's that no text can hold.
            log.exception("%s cannot be answered", path)
            return HttpAnswer(status=HTTPStatus.INTERNAL_SERVER_ERROR, body=b"see the runtime's log\n")


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The head of a connection's only request; None: the client closed the connection without one."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(READ_BYTES))
