"""The cluster's own mount, network, process, IPC and host-name namespaces.

A reaper is their process 1. Everything of the cluster runs below it, so the kernel ends all of it when that
one process ends: daemons, shims, pods, and their mounts, interfaces and packet rules.
"""

import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tools.cluster.errors import CannotRunNodeError
from tools.cluster.processes import Processes

# Folders whose paths kubelet, containerd and CNI fix, whatever they are told: the cluster gets its own.
HIDDEN = ("/run", "/var/lib", "/var/log")
OWN_FOLDERS = {
    "kubelet": "/var/lib/kubelet",
    "containerd": "/var/lib/containerd",
    "cni-state": "/var/lib/cni",
    "pod-logs": "/var/log/pods",
}
UNSHARE = (
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child=SIGKILL",
    "--mount-proc",
    "--propagation=slave",
    "--",
)


def setup_script(directory: Path, hostname: str) -> str:
    """Shell run inside the new namespaces before the reaper. Pure."""
    lines = ["set -e", "mount --make-rshared /", f"hostname {shlex.quote(hostname)}"]
    lines += [f"mount -t tmpfs tacho {hidden}" for hidden in HIDDEN]
    lines += ["mkdir -p /var/log/containers /run/containerd /run/lock"]
    for name, target in OWN_FOLDERS.items():
        own = shlex.quote(str(directory / name))
        lines.append(f"mkdir -p {own} {target}; mount --bind {own} {target}")
    lines += ["echo 1 > /proc/sys/net/ipv4/ip_forward"]
    return "\n".join(lines)


def hides(directory: Path) -> bool:
    """Whether the cluster could not see its own folder there."""
    return any(directory.resolve().is_relative_to(hidden) for hidden in HIDDEN)


def start(processes: Processes, directory: Path, hostname: str, reaper: Path) -> int:
    """Starts the reaper in new namespaces; returns its process id as this machine sees it.

    Raises CannotRunNodeError when the kernel refuses.
    """
    ready = directory / "namespaces-ready"
    last = f"touch {shlex.quote(str(ready))}\nexec {shlex.quote(str(reaper))}"
    script = f"{setup_script(directory, hostname)}\n{last}"
    processes.start("namespaces", [*UNSHARE, "sh", "-c", script])
    unshare = processes.running["namespaces"]
    deadline = time.monotonic() + 10
    while not ready.exists():
        if unshare.poll() is not None or time.monotonic() > deadline:
            raise CannotRunNodeError(
                f"namespaces cannot be made: {processes.tail('namespaces').strip()}",
                "`python -m tools.cluster check` says what is missing",
            )
        time.sleep(0.01)
    return _only_child(unshare.pid)


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def enter(holder_pid: int) -> list[str]:
    """What goes before a command to run it inside.

    Not `ip netns exec`: that remounts /sys and hides the cgroups.
    """
    return ["nsenter", f"--target={holder_pid}", "--mount", "--net", "--pid", "--ipc", "--uts", "--"]


def run_inside(holder_pid: int, command: Sequence[str], stdin: Path | None = None) -> str:
    """Runs a command inside and returns its output; CalledProcessError carries stderr."""
    with (stdin or Path("/dev/null")).open("rb") as source:
        done = subprocess.run(
            [*enter(holder_pid), *command], stdin=source, capture_output=True, text=True, check=False, cwd="/"
        )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        error.add_note(done.stderr)
        raise error
    return done.stdout
