"""The cluster's long-running programs: started with a log file each, ended together."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.cluster.errors import NotReadyError

LOG_TAIL_BYTES = 2000
NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}  # the cluster is never behind the machine's proxy


def dying_with_parent() -> list[str]:
    """Prefix of a command with which the kernel kills it when this process ends, even when this process is
    killed.

    The shell looks whether the parent still is this process: it may have ended before setpriv asked the
    kernel, and then no signal would follow.
    """
    look = f'[ "$PPID" = {os.getpid()} ] || exit 1; exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", look, "sh"]


class Processes:
    """Programs that belong together. Each writes to `folder`/NAME.log."""

    def __init__(
        self, folder: Path, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """`prefix` goes before every command, e.g. to die with the parent or to enter namespaces."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.prefix = folder, list(prefix)
        self.environment = {**os.environ, **NO_PROXY, **(environment or {})}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Starts a program in a process group of its own."""
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*self.prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment,
                cwd="/",
            )

    def log(self, name: str) -> Path:
        """The file a program writes to."""
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        """The end of a program's log."""
        return self.log(name).read_text(errors="replace")[-LOG_TAIL_BYTES:]

    def wait_until(self, what: str, ready: Callable[[], bool], timeout_seconds: float, blame: str) -> float:
        """Waits for `ready`; returns the seconds it took.

        Raises NotReadyError at the timeout or as soon as any program has exited, with the end of its log,
        else that of `blame`.
        """
        started = time.monotonic()
        while not ready():
            exited = [name for name, process in self.running.items() if process.poll() is not None]
            late = time.monotonic() - started > timeout_seconds
            if exited or late:
                name = exited[0] if exited else blame
                why = f"{name} exited" if exited else f"it took more than {timeout_seconds:.0f} s"
                raise NotReadyError(
                    f"{what} is not ready: {why}. The end of {self.log(name)}:\n{self.tail(name)}",
                    "Read the whole log; a full disk, little memory or a busy machine are the usual causes",
                )
            time.sleep(0.05)
        return time.monotonic() - started

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Ends all programs and waits for them; sends SIGTERM first when ``grace_seconds`` is set."""
        self._signal(signal.SIGTERM if grace_seconds else signal.SIGKILL)
        deadline = time.monotonic() + grace_seconds
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()) if grace_seconds else None)
        self._signal(signal.SIGKILL)
        for process in self.running.values():
            process.wait()
        self.running.clear()

    def _signal(self, number: signal.Signals) -> None:
        for process in self.running.values():
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
