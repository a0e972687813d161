"""Whether a node can run on this machine: all that is missing, in one list, before minutes are spent."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.cluster import builds, cgroups, namespaces, packages, paths
from tools.cluster.errors import CannotRunNodeError, ClusterError

NODE_DISK_BYTES = 3 << 30  # etcd, images and their layers, volumes
NODE_MEMORY_BYTES = 3 << 29  # 0.9 GB of daemons and some room for a pod
FORWARD = "echo 1 > /proc/sys/net/ipv4/ip_forward"
WIRE = (
    "if command -v ip > /dev/null; then ip link add t0 type veth peer name t1; fi"  # ip may yet be installed
)
TRIAL = f"set -e; mount -t tmpfs tacho /run; {FORWARD}; {WIRE}"


@dataclass(frozen=True)
class Finding:
    """Result of one check of the machine."""

    name: str
    ok: bool
    detail: str
    next_step: str = ""


def check() -> list[Finding]:
    """Looks at everything; nothing is installed, built or left behind."""
    root = os.geteuid() == 0
    findings = [
        Finding("root", root, f"uid {os.geteuid()}", "" if root else "Run as root"),
        _machine(),
        _tools(),
        _memory(),
        *_disks(),
        _folder(),
    ]
    if root:
        findings += [_attempt("namespaces", _namespaces), _attempt("cgroups", _cgroups), _kernel_log()]
        findings.append(
            Finding("overlayfs", True, "works" if overlay_works() else "no: layers will be copied")
        )
    return findings


def as_json(findings: list[Finding]) -> str:
    """The findings for a program."""
    return json.dumps(
        {"ok": all(finding.ok for finding in findings), "findings": [asdict(f) for f in findings]}
    )


def must_pass() -> None:
    """Raises CannotRunNodeError with everything that is missing."""
    bad = [finding for finding in check() if not finding.ok]
    if bad:
        raise CannotRunNodeError(
            "a node cannot run on this machine: " + "; ".join(f"{f.name}: {f.detail}" for f in bad),
            ". ".join(dict.fromkeys(f.next_step for f in bad if f.next_step)),
        )


def overlay_works() -> bool:
    """Whether overlayfs can be mounted where containerd keeps its layers."""
    with _scratch() as folder:
        for name in ("lower", "upper", "work", "merged"):
            (Path(folder) / name).mkdir()
        options = "lowerdir=lower,upperdir=upper,workdir=work"
        script = f"cd '{folder}' && mount -t overlay tacho -o {options} merged && touch merged/file"
        return _run("unshare", "--mount", "sh", "-c", script).returncode == 0


def _machine() -> Finding:
    ok = platform.system() == "Linux" and platform.machine() == "x86_64"
    return Finding(
        "machine", ok, f"{platform.system()} {platform.machine()}", "" if ok else "Use x86-64 Linux"
    )


def _tools() -> Finding:
    absent = packages.missing(packages.NODE_TOOLS)
    if not absent:
        return Finding("packages", True, "all there")
    ok = packages.can_install()
    step = "" if ok else f"Run `apt-get install --no-install-recommends {' '.join(absent)}` as root"
    return Finding("packages", ok, f"{'will install' if ok else 'missing'}: {' '.join(absent)}", step)


def _memory() -> Finding:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    return _enough("memory", free, NODE_MEMORY_BYTES, "available", "Stop something, or take a larger machine")


def _disks() -> list[Finding]:
    wanted = {paths.state_root(): NODE_DISK_BYTES}
    if not any(builds.is_of(builds.CLUSTER, path) for path in _entries(paths.cache_root())):
        wanted[paths.cache_root()] = builds.NEEDED_DISK_BYTES
    step = "Free some space, or set XDG_STATE_HOME and XDG_CACHE_HOME to a larger disk"
    return [
        _enough(f"disk {path}", shutil.disk_usage(_existing(path)).free, needed, "free", step)
        for path, needed in wanted.items()
    ]


def _enough(name: str, found: int, needed: int, word: str, step: str) -> Finding:
    detail = f"{found / (1 << 30):.1f} GiB {word}, {needed / (1 << 30):.1f} GiB needed"
    return Finding(name, found >= needed, detail, "" if found >= needed else step)


def _folder() -> Finding:
    hidden = [path for path in (paths.state_root(), paths.cache_root()) if namespaces.hides(path)]
    if not hidden:
        return Finding("folders", True, str(paths.state_root()))
    detail = f"{hidden[0]} lies under one of {', '.join(namespaces.HIDDEN)}, which a node replaces"
    return Finding("folders", False, detail, "Set XDG_STATE_HOME and XDG_CACHE_HOME elsewhere")


def _namespaces() -> str:
    done = _run(*namespaces.UNSHARE, "sh", "-c", TRIAL)
    if done.returncode:
        raise CannotRunNodeError(
            f"namespaces, mounts or networks cannot be made: {done.stderr.strip()}",
            "In a container, start it with --privileged; otherwise use a virtual machine",
        )
    return "can be made, with mounts and networks in them"


def _cgroups() -> str:
    name = f"tacho-check-{os.getpid()}"
    try:
        cgroups.create(name)
    finally:
        cgroups.remove(name)
    return "version 2" if cgroups.is_version_2() else "version 1"


def _kernel_log() -> Finding:
    ok = Path("/dev/kmsg").exists()
    step = "" if ok else "Create it (`mknod /dev/kmsg c 1 11`): kubelet does not start without"
    return Finding("/dev/kmsg", ok, "there" if ok else "missing", step)


def _attempt(name: str, trial: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, trial())
    except ClusterError as error:
        return Finding(name, False, error.problem, error.next_step)
    except OSError as error:
        return Finding(name, False, str(error), "Run as root on the machine itself")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    except FileNotFoundError as absent:
        return subprocess.CompletedProcess(command, 127, "", str(absent))


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _entries(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tacho-check-", dir=_existing(paths.state_root()))
