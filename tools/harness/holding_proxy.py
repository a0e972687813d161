"""A proxy before an API server that keeps chosen requests until it is told to pass them on.

A client may be paused, killed or followed by another one meanwhile: its request arrives afterwards, as from a
slow network.
"""

from __future__ import annotations

import http.client
import http.server
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tools.cluster.kubeconfig import Server, rerouted

ANSWER_SECONDS = 60.0
OF_A_HOP = {"connection", "content-length", "host", "transfer-encoding"}
"""Headers that belong to one connection."""


@dataclass
class Request:
    """A request of the client, and what the API server answered where it was held."""

    method: str
    path: str
    body: bytes
    status: int = 0
    answer: str = ""
    answered: threading.Event = field(default_factory=threading.Event)


class HoldingProxy:
    """``holds`` says which requests are kept; without it all are passed on at once."""

    def __init__(self, server: Server) -> None:
        self._upstream = urlsplit(server.url)
        self._context = ssl.create_default_context(cafile=str(server.authority))
        self._released = threading.Event()
        self.holds: Callable[[Request], bool] = lambda _: False
        self.held: list[Request] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[HoldingProxy]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                proxy._pass_on(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

            def log_message(self, *_: object) -> None:
                return

        with _Server(("127.0.0.1", 0), Handler) as listening:
            thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
            thread.start()
            self.url = f"http://127.0.0.1:{listening.server_address[1]}"
            try:
                yield self
            finally:
                self._released.set()
                listening.shutdown()
                thread.join()

    def kubeconfig(self, direct: Path) -> Path:
        """The kubeconfig ``direct``, by way of this proxy."""
        return rerouted(direct, self._upstream.geturl(), self.url)

    def release(self) -> list[Request]:
        """Passes on what is held, and whatever comes later. Returns what was held, with its answers."""
        self.holds = lambda _: False
        self._released.set()
        for request in self.held:
            assert request.answered.wait(ANSWER_SECONDS), f"no answer to {request.method} {request.path}"
        return self.held

    def _pass_on(self, client: http.server.BaseHTTPRequestHandler) -> None:
        length = int(client.headers.get("Content-Length") or 0)
        request = Request(client.command, client.path, client.rfile.read(length))
        if is_held := self.holds(request):
            self.held.append(request)
            self._released.wait()
        headers = {name: value for name, value in client.headers.items() if name.lower() not in OF_A_HOP}
        upstream = http.client.HTTPSConnection(
            self._upstream.hostname or "", self._upstream.port, context=self._context
        )
        try:
            upstream.request(request.method, request.path, request.body or None, headers)
            answer = upstream.getresponse()
            if is_held:
                request.status, request.answer = answer.status, answer.read().decode()
                request.answered.set()
            _send(client, answer, request.answer.encode() if is_held else None)
        except (OSError, http.client.HTTPException):  # one of the two has gone, and the other has to see it
            client.close_connection = True
        finally:
            upstream.close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed has reset its connections."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _send(
    client: http.server.BaseHTTPRequestHandler, answer: http.client.HTTPResponse, whole: bytes | None
) -> None:
    """In pieces as they come: a watch has no end."""
    client.send_response(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in OF_A_HOP:
            client.send_header(name, value)
    client.send_header("Transfer-Encoding", "chunked")
    client.end_headers()
    pieces = iter([whole] if whole else []) if whole is not None else iter(lambda: answer.read1(65536), b"")
    for piece in pieces:
        client.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    client.wfile.write(b"0\r\n\r\n")
