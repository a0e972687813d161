"""A cgroup of the cluster's own in every hierarchy: version 1, version 2, and both at once."""

import time
from pathlib import Path

from tools.cluster.errors import CannotRunNodeError

MOUNT = Path("/sys/fs/cgroup")
WANTED_V2 = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")
# A kubelet takes its cgroupRoot for absent while that lacks one of its controllers that the root has.
NEEDED_V2 = {"cpu", "memory", "pids"}


def is_version_2(mount: Path = MOUNT) -> bool:
    """Whether the unified hierarchy is the only one."""
    return (mount / "cgroup.controllers").exists()


def hierarchies(mount: Path = MOUNT) -> list[Path]:
    """The root of every mounted hierarchy; links (cpu → cpu,cpuacct) once."""
    if is_version_2(mount):
        return [mount]
    return sorted(path for path in mount.iterdir() if path.is_dir() and not path.is_symlink())


def create(name: str, mount: Path = MOUNT) -> None:
    """Creates the cgroup `name` everywhere, as a kubelet's cgroupRoot must exist before it starts.

    Raises CannotRunNodeError when this is not allowed.
    """
    try:
        if is_version_2(mount):
            _delegate(mount)
        for root in hierarchies(mount):
            cgroup = root / name
            cgroup.mkdir(exist_ok=True)
            for inherited in (
                "cpuset.cpus",
                "cpuset.mems",
            ):  # empty in a new cpuset of version 1: no task may enter
                if (cgroup / inherited).exists() and not is_version_2(mount):
                    (cgroup / inherited).write_text((root / inherited).read_text())
    except OSError as error:
        raise CannotRunNodeError(
            f"cgroups cannot be made under {mount}: {error}",
            "Run as root on the machine itself, or in a container with --privileged --cgroupns=host",
        ) from error


def _delegate(mount: Path) -> None:
    """Hands the controllers a kubelet needs down to the root's children."""
    offered = set((mount / "cgroup.controllers").read_text().split())
    if absent := NEEDED_V2 - offered:
        raise CannotRunNodeError(
            f"the cgroup controllers {', '.join(sorted(absent))} are not available in {mount}",
            "Run on the machine itself, or delegate them",
        )
    given = set((mount / "cgroup.subtree_control").read_text().split())
    for controller in WANTED_V2:
        if controller in offered - given:
            (mount / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str, mount: Path = MOUNT, timeout_seconds: float = 10.0) -> None:
    """Removes the cgroup `name` and all below it everywhere. Its processes must be gone or going."""
    deadline = time.monotonic() + timeout_seconds
    for root in hierarchies(mount):
        cgroup = root / name
        while cgroup.exists():
            try:
                for below in sorted(_folders(cgroup), key=lambda path: len(path.parts), reverse=True):
                    below.rmdir()
            except OSError:  # a dying task still holds it
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _folders(cgroup: Path) -> list[Path]:
    return [cgroup, *(path for path in cgroup.rglob("*") if path.is_dir())]
