"""The base of the images where no registry can be reached: Debian 12 with Python, made by debootstrap.

It stands in for ``python:3.11-slim-bookworm``, which the Dockerfiles name, and the other way round:
the same Debian release, the same minor version of Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from pathlib import Path

from .. import cache
from ..steps import StepError, run, step
from . import machine, mounts

RECIPE = "2"
"""Raised when trimming or packing changes."""
SUITE = "bookworm"
PACKAGES = ("python3", "ca-certificates", "libgomp1", "libnuma1", "netbase", "tzdata")
TRIMMED = (
    "dev/*",
    "etc/hostname",
    "etc/resolv.conf",
    "usr/share/doc/*/[!c]*",
    "usr/share/info",
    "usr/share/locale/*",
    "usr/share/man",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/log/*",
)
"""Not wanted in a layer; copyright files stay."""
NEEDED_BYTES = 2 * 10**9


def recipe_key() -> str:
    return hashlib.sha256("\0".join([RECIPE, SUITE, *PACKAGES, *TRIMMED]).encode()).hexdigest()[:12]


def archive() -> Path:
    """The root file system as a tar, from the cache or made now (half a minute)."""
    place = cache.folder("base") / f"{SUITE}-{recipe_key()}.tar"
    if place.is_file():
        return place
    machine.require_root()
    machine.install_programs()
    cache.require_space(place.parent, NEEDED_BYTES, "the base image")
    mirror = machine.debian_mirror()
    with mounts.scratch(place.parent) as scratch:
        root = scratch / "root"
        title = f"making a base of Debian {SUITE} with Python from {mirror}"
        with step(title), mounts.unmounted(root):
            _debootstrap(root, mirror)
        trim(root)
        unfinished = scratch / "base.tar"
        with tarfile.open(unfinished, "w") as tar:
            tar.add(root, arcname=".")
        os.replace(unfinished, place)
    return place


def _debootstrap(root: Path, mirror: str) -> None:
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(root),
        mirror,
    ]
    try:
        run(
            command,
            failure_class="DebootstrapFailed",
            next_step=f"Check that {mirror} has Debian {SUITE} and can be reached, or set TACHO_IMAGE_BASE.",
            environment=machine.proxy_environment(),
            family=True,  # a shell that is asked to end waits for what it runs
        )
    except StepError as error:
        log = root / "debootstrap" / "debootstrap.log"
        tail = log.read_text(errors="replace").splitlines()[-10:] if log.is_file() else []
        raise StepError("DebootstrapFailed", "\n".join([str(error), *tail])) from error


def trim(root: Path) -> None:
    """Remove what no image needs, and every set-user-ID bit: nothing in them changes its user."""
    for pattern in TRIMMED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))
