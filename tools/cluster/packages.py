"""Debian packages a node needs; installed when missing, their services never started."""

import os
import shutil
import subprocess
from pathlib import Path

from tools import cache
from tools.cluster.errors import ToolMissingError
from tools.steps import Say

# what is looked for: the package that brings it
CONTROL_PLANE_TOOLS = {"openssl": "openssl", "setpriv": "util-linux"}
NODE_TOOLS = {
    **CONTROL_PLANE_TOOLS,
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
BROWSER_TOOLS = {"chromium": "chromium"}
PROMETHEUS_TOOLS = {"prometheus": "prometheus", "promtool": "prometheus"}
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package starts its service
DENY_ALL = "#!/bin/sh\nexit 101\n"


def missing(tools: dict[str, str]) -> list[str]:
    """The packages to install for `tools`; empty when all are there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted({package for tool, package in tools.items() if shutil.which(tool, path=path) is None})


def can_install() -> bool:
    """Whether packages can be installed here at all."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure(tools: dict[str, str], say: Say) -> None:
    """Installs missing packages, in one process at a time. Raises ToolMissingError when that fails."""
    if not missing(tools):
        return
    with cache.locked("apt"):
        if packages := missing(tools):
            _install(packages, say)


def _install(packages: list[str], say: Say) -> None:
    command = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if not can_install():
        raise ToolMissingError(f"packages are missing: {' '.join(packages)}", f"Run `{command}` as root")
    say(f"installing packages: {' '.join(packages)}")
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text(DENY_ALL)
        POLICY.chmod(0o755)
    try:
        _apt("update", "-qq")
        _apt("install", "-y", "-qq", "--no-install-recommends", *packages)
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    lock = ["-o", "DPkg::Lock::Timeout=120"]
    done = subprocess.run(
        ["apt-get", *lock, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolMissingError(
            f"apt-get {arguments[0]} failed: {done.stderr.strip()[-800:]}",
            "Check the network and /etc/apt, or install the packages yourself",
        )
