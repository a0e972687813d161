"""Taking a cluster down so that nothing of it is left, also after half an `up` or a killed part."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from tools.cluster import cgroups, network
from tools.cluster.errors import NotReadyError
from tools.cluster.state import State, directory_of, processes_of, read

TIMEOUT_SECONDS = 30.0
PATIENCE_SECONDS = 5.0


def down(name: str) -> bool:
    """Ends and removes the cluster; False when no such cluster exists. Raises NotReadyError when parts
    remain."""
    state = read(name)
    if state is None:
        return False
    directory = directory_of(name)
    _end_processes(state, directory)
    if state.slot is not None:
        network.disconnect(state.network.interface)
    cgroups.remove(state.cgroup)
    shutil.rmtree(directory)
    return True


def _end_processes(state: State, directory: Path) -> None:
    """The holder's end ends all others, reaped by what waited for them outside; then the rest is killed."""
    started = time.monotonic()
    deadline = started + TIMEOUT_SECONDS
    while alive := [pid for pid in processes_of(directory) if pid != os.getpid()]:
        patient = time.monotonic() - started < PATIENCE_SECONDS and state.holder_pid in alive
        for pid in [state.holder_pid] if patient else alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise NotReadyError(
                f"processes of cluster {state.name} do not end: {alive}",
                "They wait for a disk or a device; look at /proc/PID/stack, then run `down` again",
            )
        time.sleep(0.05)
