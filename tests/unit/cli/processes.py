"""``tacho run`` as a process of its own, and every process that descends from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tools.engines import gguf_model

PATIENCE_SECONDS = 100.0
"""For a machine that is busy with other things; nothing waits this long where all is well."""


def model_folder() -> Path:
    """The folder of the model that a package brings."""
    return gguf_model().parent


@dataclass
class Running:
    """A started command: what it has printed so far, and its family by a mark in their environment."""

    process: subprocess.Popen[str]
    mark: str
    lines: list[str] = field(default_factory=list)
    """Of stderr, so far."""
    out: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def wait_for(self, words: str) -> str:
        """The line of stderr that holds ``words``, once it is there."""

        def seen() -> str:
            return next((line for line in self.lines if words in line), "")

        return until(seen, f"no line with {words!r} in {self.lines}", or_dead=self.process)

    def end(self) -> int:
        """The exit code, once everything that was printed has arrived."""
        code = self.process.wait(PATIENCE_SECONDS)
        for reader in self.readers:
            reader.join(PATIENCE_SECONDS)
        return code

    def family(self) -> dict[int, str]:
        """Living processes that carry the mark, by pid: their command lines."""
        return family(self.mark)

    def member(self, words: str) -> int:
        """The pid of the one process whose command line holds ``words``."""

        def found() -> list[int]:
            return [pid for pid, command in self.family().items() if words in command]

        until(found, f"no process {words!r} in {self.family()}")
        (pid,) = found()
        return pid


def family(mark: str) -> dict[int, str]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


def until(check: Callable[[], object], what: str, *, or_dead: subprocess.Popen[str] | None = None) -> str:
    """Waits until ``check`` is true; its value as text."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if value := check():
            return str(value)
        if or_dead is not None and or_dead.poll() is not None:
            time.sleep(0.5)  # for what its last words take to arrive
            if value := check():
                return str(value)
            raise AssertionError(f"it ended with {or_dead.returncode}: {what}")
        time.sleep(0.05)
    raise AssertionError(what)


def _heed_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def started(scratch: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    """``tacho`` with these arguments; temporary files go to ``scratch``. Whatever is left of it is ended."""
    mark = f"TACHO_TEST_MARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    variables = {**os.environ, "TMPDIR": str(scratch), name: value, **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "tacho_cli.main", *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background of a script has SIGINT ignored, by nohup SIGHUP too, and so
        # would the command.
        preexec_fn=_heed_signals,
    )
    running = Running(process, mark)
    assert process.stdout is not None
    assert process.stderr is not None
    for stream, kept in ((process.stderr, running.lines), (process.stdout, running.out)):
        running.readers.append(threading.Thread(target=_keep, args=(stream, kept)))
        running.readers[-1].start()
    try:
        yield running
    finally:
        for pid in family(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.end()


def _keep(stream: IO[str], kept: list[str]) -> None:
    with stream:
        for line in stream:
            kept.append(line.rstrip("\n"))
