"""What the processes that ask and the one that has them ask say to each other, over a socket of their own."""

from __future__ import annotations

import asyncio
import pickle
import struct
from dataclasses import dataclass

from tacho_runtime.probe.asking.sockets.job import Brought, Job, Progress
from tacho_runtime.probe.asking.speech import Speech

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Start:
    speech: Speech
    job: Job


@dataclass(frozen=True, slots=True)
class Stop:
    """The window that was measured."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The process can be told to start."""


Order = Start | Stop
Told = Ready | Progress | Brought


def put(writer: asyncio.StreamWriter, message: Order | Told) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(_LENGTH.pack(len(data)) + data)


async def get(reader: asyncio.StreamReader) -> object:
    """Raises EOFError when the other process has gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - both ends are this program
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError("the other process has gone") from None
