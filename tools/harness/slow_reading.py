"""A client that reads late: what a server sends beyond the kernel's buffers waits in the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket


def slow_client() -> socket.socket:
    """A client's socket with the smallest buffer; it is not connected."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    return client


def kernel_bytes() -> int:
    """How many bytes the kernel takes for such a client before it reads."""
    taken = 0
    with socket.create_server(("127.0.0.1", 0)) as server, slow_client() as client:
        with contextlib.suppress(BlockingIOError):
            client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted, contextlib.suppress(BlockingIOError):
            accepted.setblocking(False)
            while True:
                taken += accepted.send(bytes(1 << 20))
    return taken


async def read_late(port: int, request: bytes) -> None:
    """Sends a request, and reads its answer a moment later."""
    loop = asyncio.get_running_loop()
    with slow_client() as client:
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, request)
        await asyncio.sleep(0.05)
        while await loop.sock_recv(client, 1 << 20):
            pass
