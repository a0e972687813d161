"""A process that asks: told what over a socket, until its other end closes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

from tacho_runtime.probe.asking.sockets import pipe
from tacho_runtime.probe.asking.sockets.share import Share

REPORT_SECONDS = 0.02


def main(descriptor: int) -> None:
    """Of the socket's own end, inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    with socket.socket(fileno=descriptor) as end, contextlib.suppress(EOFError, ConnectionError):
        asyncio.run(_serve(end))


async def _serve(end: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=end)
    pipe.put(writer, pipe.Ready())
    while True:
        order = await pipe.get(reader)
        assert isinstance(order, pipe.Start)
        share = Share(order.speech, order.job)
        share.start()
        reporting = asyncio.ensure_future(_report(share, writer))
        try:
            stop = await pipe.get(reader)
            assert isinstance(stop, pipe.Stop)
            brought = await share.stop(stop.start_ns, stop.end_ns)
        finally:
            reporting.cancel()
            await share.hang_up()
        pipe.put(writer, share.progress())
        pipe.put(writer, brought)
        await writer.drain()


async def _report(share: Share, writer: asyncio.StreamWriter) -> None:
    told = None
    while True:
        progress = share.progress()
        if progress != told:
            pipe.put(writer, progress)
        told = progress
        await asyncio.sleep(REPORT_SECONDS)
