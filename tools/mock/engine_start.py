"""The mock engine's command line and its processes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any

from tools.mock.engine import Engine, Settings
from tools.mock.engine_law import Law
from tools.mock.engine_metrics import Board

START_FAILURES = {
    "crash": "(EngineCore pid=7) ERROR RuntimeError: the mock engine was told to crash at its start",
    "oom": (
        "(EngineCore pid=7) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 0 has a total capacity of 14.56 GiB of which 1.21 GiB is free."
    ),
    "kv-cache": (
        "(EngineCore pid=7) ERROR ValueError: To serve at least one request with the model's max seq len "
        "(8192), (1.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.50 "
        "GiB). Based on the available memory, the estimated maximum model length is 4096."
    ),
}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="engine", description="A mock engine with a programmable law")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000, help="0: any free one; it is printed")
    options.add_argument("--startup-seconds", type=float, default=0.0, help="before the port is open")
    options.add_argument(
        "--processes", type=int, default=1, help="that share the port: ranks, each with the law for itself"
    )
    for kind in (Settings, Law):
        for setting in dataclasses.fields(kind):
            _add_option(options, setting)
    return options


def _add_option(options: argparse.ArgumentParser, setting: Any) -> None:
    name = "--" + setting.name.replace("_", "-")
    if isinstance(setting.default, bool):
        options.add_argument(name, default=setting.default, action=argparse.BooleanOptionalAction)
    else:
        options.add_argument(name, default=setting.default, type=type(setting.default))


def _picked(kind: type, options: argparse.Namespace) -> dict[str, Any]:
    return {setting.name: getattr(options, setting.name) for setting in dataclasses.fields(kind)}


def law_of(options: argparse.Namespace) -> Law:
    """The performance model of the command line's options. Raises ValueError for invalid values."""
    return Law(**_picked(Law, options))


def listening(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind((host, port))
    return server


async def serve(options: argparse.Namespace, board: Board, rank: int, server: socket.socket) -> None:
    """Serves one rank of the mock engine until the task is cancelled."""
    engine = Engine(Settings(**_picked(Settings, options)), law_of(options), board, rank)
    listener = await asyncio.get_running_loop().create_server(engine.connection, sock=server, backlog=1024)
    if rank == 0:
        print(f"listening on {server.getsockname()[1]}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        listener.close()


def main() -> None:
    options = parser().parse_args()
    law_of(options)
    time.sleep(options.startup_seconds)
    if options.fail in START_FAILURES:
        sys.exit(START_FAILURES[options.fail])
    board = Board(options.processes)
    server = listening(options.host, options.port, shared=options.processes > 1)
    others: list[int] = []
    rank = 0
    for number in range(1, options.processes):
        own = listening(options.host, server.getsockname()[1], shared=True)
        pid = os.fork()
        if pid == 0:
            server, rank, others = own, number, []
            break
        own.close()
        others.append(pid)
    # select() waits to the microsecond where epoll rounds up to the millisecond. It ends at 1024 connections.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    task = loop.create_task(serve(options, board, rank, server))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.closing(loop), contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGTERM)
