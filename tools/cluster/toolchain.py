"""Go 1.26: the machine's own, else the hash-pinned one from PyPI.

Not 1.27: what its encoding/json writes makes the API server's /openapi/v2 invalid, and kubectl's
validation fails on it.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import cache
from tools.cluster.paths import REPOSITORY, cache_root
from tools.steps import Say, run

REQUIRED = "go1.26"
LOCK = REPOSITORY / "requirements" / "go.txt"


def version_of(go: Path) -> str:
    """What `go version` says, e.g. ``go1.26.6 linux/amd64``; empty when it does not run."""
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False, cwd="/")
    return answer.stdout.strip().removeprefix("go version ")


def is_required(version: str) -> bool:
    """Whether this is a Go of the wanted minor version."""
    return version.startswith((REQUIRED + ".", REQUIRED + " "))


def find_go(say: Say) -> Path:
    """The go program to build with; installs the pinned one in the cache when the machine has none.

    Raises StepError when it cannot be installed.
    """
    machines = shutil.which("go")
    if machines and is_required(version_of(Path(machines))):
        return Path(machines)
    folder = cache_root() / f"go-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        found = f"the machine's is {version_of(Path(machines))}" if machines else "the machine has none"
        say(f"Go 1.26: {found}; installing the one pinned in requirements/go.txt")
        _install(folder, say)
    return go


def _install(folder: Path, say: Say) -> None:
    uv = Path(sys.executable).with_name("uv")
    pip = [uv, "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
    arguments = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", LOCK]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with cache.locked("go", say), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        if folder.exists():  # another build was faster
            return
        made = Path(scratch) / "go"
        run(
            [*pip, "install", "-q", "--target", made, *arguments],
            failure_class="GoNotInstalled",
            next_step="Check the network and the index configuration, or install Go 1.26 yourself.",
            say=say,
        )
        made.rename(folder)
