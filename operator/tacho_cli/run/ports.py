"""Are the ports free? Asked before minutes are spent, and before another server's report is read as ours."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

from tacho_cli.output.problems import EXIT_FAILED, CommandError, failed
from tacho_contract.failure import Failure, FailureClass


def require_free(host: str, ports: Mapping[str, int]) -> None:
    """Checks that the ports are free. ``ports`` by option. Raises CommandError(PortInUse), or where the
    address is not local."""
    if len(set(ports.values())) < len(ports):
        raise CommandError(f"{' and '.join(ports)} are the same: choose two ports")
    for option, port in ports.items():
        _require_free(host, option, port)


def _require_free(host: str, option: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise CommandError(f"--host {host}: no address of this machine; 127.0.0.1 and 0.0.0.0 are") from None
    with socket.socket(family, kind, protocol) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(address)
            attempt.listen(1)
        except OSError as error:
            raise _refused(host, option, port, error) from None


def _refused(host: str, option: str, port: int, error: OSError) -> CommandError:
    if error.errno != errno.EADDRINUSE:
        return CommandError(f"cannot listen on {host}:{port}: {error.strerror}; see --host and {option}")
    failure = Failure(
        failure_class=FailureClass.PORT_IN_USE,
        message=f"Port {port} on {host} is taken by another process.",
        next_step=f"Stop it (ss -ltnp shows who it is), or choose another port: {option} N.",
    )
    return failed(failure, EXIT_FAILED)
