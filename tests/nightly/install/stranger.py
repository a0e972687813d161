"""A cluster as its administrator gives it out: a kubeconfig, and a registry that its nodes pull from."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.cluster_fixtures import start_cluster
from tests.nightly import registry
from tools import lab
from tools.cluster import nodeconfig, state
from tools.cluster.down import down

HOW_TO = lab.ROOT / "docs/start/your-cluster.md"
HOSTS = re.compile(r'```\n(server = "http://ADDRESS:PORT"\n.*?)```', re.DOTALL)
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Stranger:
    """What its administrator tells."""

    kubeconfig: Path
    address: str
    """This machine, as the cluster's nodes and pods reach it."""
    registry: str
    """Host, port and path."""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stranger]:
    """The cluster and its registry; both end with the block."""
    name = f"own-{os.getpid()}"
    start_cluster(name, os.getpid())
    try:
        own = state.directory_of(name)
        kubeconfig = shutil.copy(own / "kubeconfig", folder / "kubeconfig")
        address = address_towards(kubeconfig)
        with registry.running() as port, forwarded(address, port):
            place = own / nodeconfig.REGISTRIES / f"{address}:{port}"
            place.mkdir(parents=True)
            (place / "hosts.toml").write_text(hosts_file().replace("ADDRESS:PORT", place.name))
            yield Stranger(kubeconfig, address, f"{place.name}/team")
    finally:
        down(name)


def hosts_file() -> str:
    """What the how-to has containerd know of the registry."""
    found = HOSTS.search(HOW_TO.read_text())
    assert found, f"{HOW_TO} shows no hosts.toml"
    return found[1]


def address_towards(kubeconfig: Path) -> str:
    """This machine's address on the way to the API server."""
    server = urlsplit(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((server.hostname, server.port))
        found: str = way.getsockname()[0]
        return found


@contextlib.contextmanager
def forwarded(address: str, port: int) -> Iterator[None]:
    """The port of loopback, on ``address`` too: the registry serves loopback alone."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as inner:
                answers = threading.Thread(target=copy, args=(inner, self.request))
                answers.start()
                copy(self.request, inner)
                answers.join()

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer((address, port), Connection) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def copy(source: socket.socket, target: socket.socket) -> None:
    """All bytes of a connection, until one side ends."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
