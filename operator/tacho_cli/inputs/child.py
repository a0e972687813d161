"""Starts child processes that end with this process, however it ends (Linux), and sets their environment.

The environment is the same as in a pod's containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from tacho_cli.problems import CommandError, ExitCode
from tacho_contract.uri import HubUri
from tacho_operator.api.spec.sources import EnvVar, ModelSpec
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.environment import RESERVED_PREFIX

STOP_SECONDS = 20.0
"""Seconds between SIGTERM and SIGKILL, in which the runtime drains and stops its engine."""
LINE_LIMIT_BYTES = 1024 * 1024
"""Longest line in bytes that a child may print; a measurement has a few KiB."""
LOG_TAIL_LINES, LOG_TAIL_BYTES = 10, 64 * 1024

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
"""Numbers of options for prctl(2)."""

_prctl = getattr(ctypes.CDLL(None), "prctl", None)
"""prctl, which only Linux has; else None. Without it a child continues if this process is killed."""


def ends_with_us() -> None:
    """Runs in a child before its program starts: the kernel will send it SIGTERM when this process ends, even
    by SIGKILL.
    """
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """Context manager that kills what the block's children left, e.g. an engine whose runtime was killed."""
    before = _children(os.getpid())
    if _prctl is not None:
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        while left := _children(os.getpid()) - before:
            for pid in left:
                _kill(pid)
        if _prctl is not None:
            _prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _children(parent: int) -> frozenset[int]:
    """Process ids of the children, zombies included; empty without /proc."""
    found = set[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold spaces and brackets itself; what follows it does not.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(stat.parent.name))
    return frozenset(found)


@contextlib.asynccontextmanager
async def running(
    module: list[str], environment: Mapping[str, str], log: Path | BinaryIO, *, answers: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a Python module as a child in a session of its own: Ctrl-C reaches this process alone, which ends
    it in order.

    ``answers``: the child's stdout is read here, and only the rest of its output goes to ``log``.
    """
    with log.open("ab") if isinstance(log, Path) else contextlib.nullcontext(log) as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *module,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if answers else output,
            stderr=output,
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
            preexec_fn=ends_with_us,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def ended(what: str, code: int, log: Path | BinaryIO) -> CommandError:
    """The error of a child that ended with ``code``, with the last lines of its log."""
    with log.open("rb") if isinstance(log, Path) else contextlib.nullcontext(log) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        tail = file.read(LOG_TAIL_BYTES).decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    lines = [f"  | {line}" for line in tail]
    if isinstance(log, Path) and not shutil.disk_usage(log.parent).free:  # it could not say so there
        lines.append(f"no space is left in {log.parent}; free space there, or set TMPDIR")
    return CommandError(f"{what} ended with code {code}", *lines, code=ExitCode.FAILED)


INSECURE_HUB = "TACHO_INSECURE_HUB"
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
"""Environment variables with a hub token. The engine does not get them, as it may run the model's code."""


def hub_environment(model: ModelSpec) -> dict[str, str]:
    """Environment variables to inspect and fetch the model, added to the caller's own, HF_ENDPOINT among
    them. Raises CommandError."""
    return {**_values("spec.model.hub.env", model.hub.env if model.hub else ()), INSECURE_HUB: "1"}


def engine_environment(resource: LLMDeployment, caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of runtime and engine: the caller's without the hub's tokens, then the variables in
    spec."""
    own = {name: value for name, value in caller.items() if name not in HUB_TOKENS}
    engine = resource.spec.engine
    if isinstance(resource.spec.model.source, HubUri):
        own["HF_HUB_OFFLINE"] = "1"
    return {**own, **_values("spec.engine.env", engine.env if engine else ())}


def _values(place: str, variables: Iterable[EnvVar]) -> dict[str, str]:
    """Values of ``variables``. Where a cluster would read a Secret, the caller's variable of that name is
    used. ``place``: path in spec, for errors.
    """
    found: dict[str, str] = {}
    for index, item in enumerate(variables):
        if item.name.startswith(RESERVED_PREFIX):
            continue
        if item.value_from is None:
            found[item.name] = item.value or ""
        elif item.name in os.environ:
            found[item.name] = os.environ[item.name]
        else:
            raise CommandError(
                f"{place}[{index}]: {item.name} comes from the cluster; here, set it in your environment"
            )
    return found
