"""Checks settings, folders and ports before the engine starts, so that a mistake becomes a clear message."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tacho_contract import SCHEMA
from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_runtime.machine import processes


def check(config: RuntimeConfig, environment: Mapping[str, str]) -> None:
    """Makes all checks that need no model. Raises FailedError for the first error."""
    if config.schema > SCHEMA:
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"the configuration has schema {config.schema}, newer than this runtime's {SCHEMA}",
            "use a runtime and an operator of the same release",
        )
    check_writable(config.paths.state_dir, "the runtime's state folder", create=True)
    if environment.get("HOME"):
        check_writable(environment["HOME"], "HOME", create=False)
    check_port(config.bind_host, config.engine_port)


def check_program(command: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Checks that the engine's program exists and may be executed. Raises FailedError(EngineNotSupported)."""
    if shutil.which(command[0], path=environment.get("PATH", os.defpath)) is not None:
        return
    raise FailedError.of(
        FailureClass.ENGINE_NOT_SUPPORTED,
        f"this image has no program {command[0]!r}",
        "use an image that has the engine (spec.engine.image), or correct spec.engine.custom.command",
    )


def check_writable(folder: str, what: str, *, create: bool) -> None:
    """Checks that a file can be written in ``folder``. Raises FailedError(DiskFull | InvalidConfig)."""
    try:
        if create:
            Path(folder).mkdir(parents=True, exist_ok=True)
        # Under a name that no earlier engine knew: opening a pipe would never end.
        with tempfile.NamedTemporaryFile(prefix=".tacho-write-", dir=folder) as attempt:
            attempt.write(b"x" * 4096)
            attempt.flush()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FailedError.of(
                FailureClass.DISK_FULL,
                f"no space is left in {what} ({folder})",
                "free space on the node, or raise the pod's ephemeral-storage limit",
            ) from None
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"{what} ({folder}) cannot be written: {error.strerror or error}",
            "mount a writable volume there that belongs to the pod's user (fsGroup)",
        ) from None


def check_port(host: str, port: int) -> None:
    """Checks that ``port`` is free. Raises FailedError(PortInUse | InvalidConfig)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind((host, port))
            attempt.listen(1)
    except OSError as error:
        raise FailedError(port_failure(host, port, error)) from None


def port_failure(host: str, port: int, error: OSError) -> Failure:
    """The failure of a ``port`` that cannot be opened."""
    if error.errno != errno.EADDRINUSE:
        return Failure(
            failure_class=FailureClass.INVALID_CONFIG,
            message=f"cannot listen on {host or '*'}:{port}: {error.strerror or error}",
            next_step="choose an address of this machine and a port above 1023",
        )
    return Failure(
        failure_class=FailureClass.PORT_IN_USE,
        message=f"port {port} is in use by another process",
        next_step="stop that process, or use another port (in a pod: another container of the template "
        "listens there)",
    )


EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - told apart, not bound


def unreached(config: RuntimeConfig) -> Failure | None:
    """The failure of an engine that answers this runtime, and no client; None: clients reach it."""
    if config.bind_host not in EVERY_ADDRESS or not processes.listens_inside(config.engine_port):
        return None
    return Failure(
        failure_class=FailureClass.INVALID_CONFIG,
        message=f"the engine listens on port {config.engine_port} of 127.0.0.1 or ::1 alone: no client "
        "reaches it",
        next_step="let it listen on $(TACHO_HOST) in spec.engine.custom.command, most often by --host",
    )
