"""Stored state of a cluster with a node, so that `down` works even after a failed `up`."""

import errno
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tools.cluster.errors import ClusterError
from tools.cluster.network import Network
from tools.cluster.paths import state_root

FILE = "state.json"
MARKER = "TACHO_CLUSTER_DIRECTORY"  # in the environment of every process of a cluster
NAME = re.compile(r"[a-z]([-a-z0-9]{0,29}[a-z0-9])?")


@dataclass(frozen=True)
class State:
    """One cluster with a node. Written before each step that leaves something behind."""

    name: str
    holder_pid: int = 0
    slot: int | None = None
    complete: bool = False
    snapshotter: str = "overlayfs"

    @property
    def cgroup(self) -> str:
        """Name of the cluster's cgroup in every hierarchy."""
        return f"tacho-{self.name}"

    @property
    def network(self) -> Network:
        """Addresses of the cluster; only after a slot is taken."""
        assert self.slot is not None
        return Network(self.slot)


def directory_of(name: str) -> Path:
    """The folder of the cluster `name`; raises ClusterError for a name that cannot be one."""
    if not NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} cannot be a cluster's name", "Take lower-case letters, digits and dashes, at most 31"
        )
    return state_root() / name


def write(state: State, **changes: object) -> State:
    """Remembers `state` with `changes`."""
    changed = replace(state, **changes)  # type: ignore[arg-type]  # fields by name
    directory = directory_of(state.name)
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    scratch = directory / f"{FILE}.{os.getpid()}"
    scratch.write_text(json.dumps(asdict(changed)) + "\n")
    scratch.rename(directory / FILE)
    return changed


def read(name: str) -> State | None:
    """Stored state of the cluster `name`: None for an unknown cluster, an empty state for a broken file."""
    if not NAME.fullmatch(name) or not (directory := directory_of(name)).exists():
        return None
    try:
        return State(**json.loads((directory / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return State(name)


def names() -> list[str]:
    """All clusters that left something in the state folder."""
    root = state_root()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.exists() else []


@contextmanager
def starting(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Lets one process at a time start the cluster; the lock goes with the process and leaves no file."""
    address = b"\0tacho-cluster:" + hashlib.sha256(str(directory_of(name)).encode()).hexdigest().encode()
    with socket.socket(socket.AF_UNIX) as lock:
        waiting = False
        while True:
            try:
                lock.bind(address)
                break
            except OSError as taken:
                if taken.errno != errno.EADDRINUSE:
                    raise
            if not waiting:
                say(f"another process is starting cluster {name}: waiting for it")
                waiting = True
            time.sleep(0.2)
        yield


def processes_of(directory: Path) -> list[int]:
    """Living processes started for the cluster in `directory`, found by their environment."""
    marker = f"{MARKER}={directory}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:  # it ended, or is another user's
            continue
    return found
