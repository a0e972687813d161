"""Starts a backend behind the server: loads in a thread while /health answers 503, serves, ends.

Exit codes: 0 stopped on request, 1 could not start or the engine failed, 2 wrong arguments. The last line of
a failure on stderr is ``PROGRAM: error [Class]: what happened: what to do``. It is also written, as JSON, to
the file named by TACHO_ENGINE_FAILURE.
"""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
import traceback

import uvicorn
from starlette.types import ASGIApp

from tacho_server.app import ServerState, make_app
from tacho_server.backend import Backend
from tacho_server.connections import BoundedProtocol
from tacho_server.errors import LoadError, fail
from tacho_server.options import ServerSettings

GRACE_SECONDS = 5
"""Seconds that running answers may take after SIGTERM; the runtime drains the server before it sends
SIGTERM."""
WATCH_SECONDS = 1.0
FILES = 65_536
"""Open files for which the process asks: 1,024, a usual limit, are fewer than connections and places."""


def serve(backend: Backend, settings: ServerSettings, program: str) -> int:
    """Serves until a stop signal or a failure of the backend. Returns the exit code.

    It does not return while a thread of the backend could keep the process alive.
    """
    allow_files()
    try:
        listener = _listen(settings)
    except LoadError as error:
        return fail(program, error)
    state = ServerState()
    server = uvicorn.Server(server_config(make_app(backend, settings, state)))
    failed: list[LoadError] = []
    loader = threading.Thread(
        target=_load, args=(backend, settings, state, server, failed, program), daemon=True
    )
    loader.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has ended in order; by default that would kill the process.
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    if failed:
        return fail(program, failed[0])
    print(f"{program}: stopped on request", flush=True)
    if state.loaded:
        backend.close()
    return 0


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How the app is served. Requests that are none are not logged: any client could push the cause of a
    failure out of the log's last lines.
    """
    return uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        http=BoundedProtocol,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def allow_files() -> None:
    """Raises the process's own limit of open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def _load(
    backend: Backend,
    settings: ServerSettings,
    state: ServerState,
    server: uvicorn.Server,
    failed: list[LoadError],
    program: str,
) -> None:
    """Loads the model in a thread of its own; afterwards watches the backend's health."""
    try:
        begin = time.monotonic()
        backend.load()
        why = backend.tokenizer.chat_problem
        print(f"{program}: {'chat: yes' if not why else f'chat: no ({why})'}", flush=True)
        if why and settings.require_chat:
            step = "choose a model with a chat template, or ask /v1/completions only"
            raise LoadError("ModelInvalid", f"chat is required and {why}", step)
        state.loaded = True
        print(f"{program}: ready after {time.monotonic() - begin:.3f} s", flush=True)
        while not server.should_exit:
            if problem := backend.problem():
                raise LoadError("EngineCrashed", problem, "see the lines above; the engine is started again")
            time.sleep(WATCH_SECONDS)
    except LoadError as error:
        failed.append(error)
    except BaseException as error:  # noqa: BLE001 - whatever a library raises, as Rust's panics, ends the start
        traceback.print_exc()
        kind, step = "EngineCrashed", "see the lines above"
        if isinstance(error, ImportError):
            kind, step = "ImportFailed", "use an engine image that has the module"
        failed.append(LoadError(kind, f"{type(error).__name__}: {' '.join(str(error).split())}", step))
    server.should_exit = True


def _listen(settings: ServerSettings) -> socket.socket:
    """Opens the port before loading the model: a port in use is reported at once. Raises LoadError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        where = f"port {settings.port} on {settings.host}"
        step = "stop the process that listens there, or choose another port"
        raise LoadError("PortInUse", f"{where} cannot be listened on ({error.strerror})", step) from None
    return listener
