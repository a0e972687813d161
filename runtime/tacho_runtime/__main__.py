"""``python -m tacho_runtime``: PID 1 of an engine container, or the child process of ``tacho run``.

Without arguments the configuration comes from the environment (a pod); ``run --config FILE`` takes it
from a file. Exit codes: 0 stopped on request, 1 failed (the reason is in the termination message and
on stderr), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tacho_contract import __version__
from tacho_contract.failure import FailedError, FailureClass, termination_message
from tacho_contract.launch import ENV_RUNTIME_CONFIG, RuntimeConfig
from tacho_contract.pod import TERMINATION_LOG
from tacho_contract.text import VisibleFormatter, visible
from tacho_runtime.files import configuration, write_termination

LOG_FORMAT = "tacho-runtime %(levelname)s %(message)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the runtime and returns its exit code."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        config = _from_file(arguments.config) if arguments.command else _from_environment(os.environ)
    except FailedError as failed:
        message = f"{failed.failure.failure_class}: {failed.failure.message}"
        print(f"tacho-runtime: {visible(message)}", file=sys.stderr)
        if not arguments.command and os.path.exists(TERMINATION_LOG):
            write_termination(TERMINATION_LOG, termination_message(failed.failure))
        return 1
    return asyncio.run(serve(config))


async def serve(config: RuntimeConfig) -> int:
    """Opens the runtime's HTTP port, then runs the engine. Returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # PID 1 ignores a signal without a handler, and it is sent once: until there is an engine to drain,
        # there is nothing to do but to end. ``Supervisor.run`` puts its own handlers in place of these.
        signal.signal(number, lambda *_: os._exit(0))
    from tacho_runtime.http.server import HttpServer
    from tacho_runtime.supervisor.endpoints import make_routes
    from tacho_runtime.supervisor.preflight import port_failure
    from tacho_runtime.supervisor.supervise import Supervisor

    supervisor = Supervisor(config)
    server = HttpServer(make_routes(lambda: supervisor.state, supervisor.report, supervisor.load))
    try:
        await server.start(config.bind_host, config.runtime_port)
    except OSError as error:
        return supervisor.fail(port_failure(config.bind_host, config.runtime_port, error))
    try:
        return await supervisor.run()
    finally:
        await server.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tacho_runtime", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="run the engine that a file describes, without Kubernetes")
    run.add_argument("--config", required=True, type=Path, help="the runtime's configuration as JSON")
    return parser


def _from_environment(environment: Mapping[str, str]) -> RuntimeConfig:
    text = environment.get(ENV_RUNTIME_CONFIG)
    if text is None:
        raise _invalid(f"{ENV_RUNTIME_CONFIG} is not set", "run as a child: run --config FILE")
    return configuration(RuntimeConfig, text, ENV_RUNTIME_CONFIG)


def _from_file(path: Path) -> RuntimeConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _invalid(f"{path} cannot be read: {error.strerror}", "name the file to read") from None
    return configuration(RuntimeConfig, text, str(path))


def _invalid(message: str, next_step: str) -> FailedError:
    return FailedError.of(FailureClass.INVALID_CONFIG, message, next_step)


if __name__ == "__main__":
    sys.exit(main())
