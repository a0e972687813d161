"""A proxy before an API server that can forget its connections: they stay open, and nothing passes any more.

So does a firewall or a load balancer that lost its state. New connections are passed on.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tools.cluster.kubeconfig import rerouted

LOOK_SECONDS = 0.1
CHUNK_BYTES = 65536


class DroppingProxy:
    """Passes bytes on, TLS as it is: ``authority`` of the API server must hold for 127.0.0.1."""

    def __init__(self, url: str) -> None:
        self._url, self._upstream = url, urlsplit(url)
        self._ending = threading.Event()
        self._dropped = threading.Event()
        """Of the present connections; later ones have another."""
        self._threads: list[threading.Thread] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[DroppingProxy]:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
            listening.settimeout(LOOK_SECONDS)
            self.url = f"https://127.0.0.1:{listening.getsockname()[1]}"
            accepting = threading.Thread(target=self._accept, args=(listening,))
            accepting.start()
            try:
                yield self
            finally:
                self._ending.set()
                accepting.join()
                for thread in self._threads:
                    thread.join()

    def kubeconfig(self, direct: Path) -> Path:
        """The kubeconfig ``direct``, by way of this proxy."""
        return rerouted(direct, self._url, self.url)

    def connections(self) -> int:
        """Number of those that are open and not dropped."""
        dropped = self._dropped
        return sum(thread.is_alive() and thread.name == str(id(dropped)) for thread in self._threads)

    def drop(self) -> None:
        """From now on nothing passes on the present connections."""
        dropped, self._dropped = self._dropped, threading.Event()
        dropped.set()

    def _accept(self, listening: socket.socket) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = listening.accept()
                dropped = self._dropped
                thread = threading.Thread(target=self._pass_on, args=(client, dropped), name=str(id(dropped)))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket, dropped: threading.Event) -> None:
        place = (self._upstream.hostname or "", self._upstream.port or 443)
        with client, socket.create_connection(place) as server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, (client, server))
            ready.register(server, selectors.EVENT_READ, (server, client))
            with contextlib.suppress(OSError):  # one of the two has gone, and the other has to see it
                while not self._ending.is_set() and not dropped.is_set():
                    for key, _ in ready.select(LOOK_SECONDS):
                        if not dropped.is_set() and not _passed(*key.data):
                            return
            if dropped.is_set():
                self._ending.wait()  # closing it would tell the client


def _passed(source: socket.socket, target: socket.socket) -> bool:
    """Whether there was anything to pass on: else the source has ended."""
    data = source.recv(CHUNK_BYTES)
    target.sendall(data)
    return bool(data)
