"""The base of the images where no registry can be reached: Debian 12 with Python, made by mmdebstrap.

It stands in for ``python:3.11-slim-bookworm``, which the Dockerfiles name, and the other way round:
the same Debian release, the same minor version of Python. Its packages are those of the day it was made, with
Debian's security fixes, so it has an age: a release refuses one that is too old (tools/release.py).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from .. import cache
from ..steps import StepError, run, say, step
from . import machine

SUITE = "bookworm"
SECURITY = f"{SUITE}-security"
SECURITY_LABEL = "Debian-Security"
UNPATCHED = "-unpatched"
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
    return hashlib.sha256("\0".join([SUITE, SECURITY, *OPTIONS]).encode()).hexdigest()[:12]


def newest(suffix: str = "") -> Path | None:
    """The latest root file system in the cache; of those with security fixes, where no suffix is named."""
    return max(cache.folder("base").glob(f"{SUITE}-{recipe_key()}-????????{suffix}.tar"), default=None)


def made_on(place: Path) -> date:
    """The day on which a root file system of the cache was made."""
    return datetime.strptime(place.stem.rpartition("-")[2], "%Y%m%d").replace(tzinfo=UTC).date()


def source_lines(mirrors: Mapping[str, str]) -> list[str]:
    """Lines of sources.list for mmdebstrap: the release, and the security fixes. Raises StepError."""
    suites = {"Debian": SUITE, SECURITY_LABEL: SECURITY}
    if missing := [suite for label, suite in suites.items() if label not in mirrors]:
        raise StepError(
            "NoSecurityArchive",
            f"apt knows no source of {', '.join(missing)}: add it, and run `apt-get update`.",
        )
    return [f"deb {mirrors[label]} {suite} main" for label, suite in suites.items()]


def archive(*, fresh: bool = False) -> Path:
    """The root file system as a tar, from the cache or made now.

    ``fresh``: one of today, with security fixes. Else a machine without these makes one for tests alone.
    """
    today = datetime.now(UTC).date()
    place = cache.folder("base") / f"{SUITE}-{recipe_key()}-{today:%Y%m%d}.tar"
    if (found := place if fresh else newest() or newest(UNPATCHED)) and found.is_file():
        return found
    machine.require_root()
    machine.install_programs()
    cache.require_space(place.parent, NEEDED_BYTES, "the base image")
    mirrors = machine.debian_mirrors()
    if not fresh and SECURITY_LABEL not in mirrors:
        say(f"warning: apt knows no source of {SECURITY}: this base is for tests, and no release takes it")
        place = place.with_stem(place.stem + UNPATCHED)
        sources = [f"deb {mirrors['Debian']} {SUITE} main"]
    else:
        sources = source_lines(mirrors)
    with (
        step(f"making a base of {' and '.join(sources)}, with Python"),
        tempfile.TemporaryDirectory(dir=place.parent) as scratch,
    ):
        unfinished = Path(scratch) / "base.tar"
        run(
            ["mmdebstrap", *OPTIONS, SUITE, str(unfinished), *sources],
            failure_class="BaseFailed",
            next_step="Check that apt's sources can be reached, or set TACHO_IMAGE_BASE.",
            # Its mounts are in a namespace of their own, and end with it.
            environment={**machine.proxy_environment(), "TMPDIR": scratch},
            family=True,  # it ends with what it runs
        )
        os.replace(unfinished, place)
    return place
