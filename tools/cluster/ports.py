"""Ports of this machine: free ones, and a clear word about taken ones."""

import atexit
import functools
import random
import socket

from tools.cluster.errors import PortInUseError

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 30_000)
"""Below Kubernetes' node ports, and what Linux gives to outgoing connections (ip_local_port_range)."""


def free_ports(count: int) -> list[int]:
    """Finds ``count`` ports on which no process listens; all are held open together so that they differ.

    None is one that the kernel may give to another process's outgoing connection before it is used.
    """
    held: list[socket.socket] = []
    try:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            listener = socket.socket()
            try:
                listener.bind(("", port))
            except OSError:
                listener.close()
                continue
            held.append(listener)
            if len(held) == count:
                return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()
    raise PortInUseError(
        f"port in use: {count} of {PORTS[0]} to {PORTS[-1]} are not free",
        "Find who listens (`ss -ltnp`) and stop it",
    )


_handed_out: set[int] = set()


def free_port() -> int:
    """Finds a port on which no process listens and that this process has not handed out before.

    A released port may be found again at the next question; two settings would then share it.
    """
    while True:
        (port,) = free_ports(1)
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def must_be_free(port: int, used_by: str) -> None:
    """Raises PortInUseError when `port` is taken.

    Asked before anything starts: a stale API server on the port would answer in the new one's place,
    with a certificate of another authority, and the failure would speak of x509.
    """
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((LOOPBACK, port))
        except OSError as taken:
            raise PortInUseError(
                f"port in use: {LOOPBACK}:{port}, which {used_by} needs, is taken",
                f"Find who listens (`ss -ltnp 'sport = :{port}'`) and stop it, or choose another port",
            ) from taken


@functools.cache
def free_network(port: int) -> str:
    """The beginning of loopback addresses, as 127.7, at which no other process that asks has `port`.

    For servers whose port is fixed. The network stays this process's own until it ends.
    """
    for number in range(1, 255):
        claim = socket.socket()
        try:
            claim.bind((f"127.{number}.255.254", port))
        except OSError:
            claim.close()
        else:
            atexit.register(claim.close)
            return f"127.{number}"
    raise PortInUseError(
        f"port in use: {port} is taken on every loopback network",
        f"Find who listens (`ss -ltnp 'sport = :{port}'`) and stop it",
    )
