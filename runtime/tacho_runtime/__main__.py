"""``python -m tacho_runtime``: PID 1 of an engine container, or the child process of ``tacho run``.

The configuration comes from the environment variable TACHO_RUNTIME_CONFIG. Exit codes: 0 stopped on request,
1 failed (the reason is in the termination message and on stderr).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from tacho_contract.failure import FailedError, termination_message
from tacho_contract.launch import ENV_RUNTIME_CONFIG, RuntimeConfig
from tacho_contract.pod import TERMINATION_LOG
from tacho_contract.text import VisibleFormatter, visible
from tacho_runtime.files import configuration, write_termination

LOG_FORMAT = "tacho-runtime %(levelname)s %(message)s"


def main() -> int:
    """Runs the runtime and returns its exit code."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        config = configuration(RuntimeConfig, os.environ.get(ENV_RUNTIME_CONFIG, ""), ENV_RUNTIME_CONFIG)
    except FailedError as failed:
        message = f"{failed.failure.failure_class}: {failed.failure.message}"
        print(f"tacho-runtime: {visible(message)}", file=sys.stderr)
        if os.path.exists(TERMINATION_LOG):
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
    from tacho_runtime.supervisor.process import inherit_orphans, kill_descendants
    from tacho_runtime.supervisor.supervise import Supervisor

    inherit_orphans()
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
        kill_descendants()


if __name__ == "__main__":
    sys.exit(main())
