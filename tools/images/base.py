"""The base of the images where no registry can be reached: Debian 12 with Python, made by mmdebstrap.

It stands in for ``python:3.11-slim-bookworm``, which the Dockerfiles name, and the other way round:
the same Debian release, the same minor version of Python.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from .. import cache
from ..steps import run, step
from . import machine

SUITE = "bookworm"
PACKAGES = ("python3", "ca-certificates", "libgomp1", "libnuma1", "netbase", "tzdata")
OPTIONS = (
    "--mode=root",
    "--variant=minbase",
    f"--include={','.join(PACKAGES)}",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    "--skip=output/dev",
    # What no layer needs; copyright files stay.
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man")),
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    '--customize-hook=cd "$1" && rm -f etc/hostname etc/resolv.conf etc/dpkg/dpkg.cfg.d/99mmdebstrap',
    '--customize-hook=rm -f "$1"/var/cache/debconf/*-old',
    # Nothing in these images changes its user.
    '--customize-hook=find "$1" -xdev -type f -perm /6000 -exec chmod ug-s {} +',
)
NEEDED_BYTES = 2 * 10**9


def recipe_key() -> str:
    return hashlib.sha256("\0".join([SUITE, *OPTIONS]).encode()).hexdigest()[:12]


def archive() -> Path:
    """The root file system as a tar, from the cache or made now."""
    place = cache.folder("base") / f"{SUITE}-{recipe_key()}.tar"
    if place.is_file():
        return place
    machine.require_root()
    machine.install_programs()
    cache.require_space(place.parent, NEEDED_BYTES, "the base image")
    mirror = machine.debian_mirror()
    with (
        step(f"making a base of Debian {SUITE} with Python from {mirror}"),
        tempfile.TemporaryDirectory(dir=place.parent) as scratch,
    ):
        unfinished = Path(scratch) / "base.tar"
        run(
            ["mmdebstrap", *OPTIONS, SUITE, str(unfinished), mirror],
            failure_class="BaseFailed",
            next_step=f"Check that {mirror} has Debian {SUITE} and can be reached, or set TACHO_IMAGE_BASE.",
            # Its mounts are in a namespace of their own, and end with it.
            environment={**machine.proxy_environment(), "TMPDIR": scratch},
            family=True,  # it ends with what it runs
        )
        os.replace(unfinished, place)
    return place
