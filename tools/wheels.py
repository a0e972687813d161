"""Wheels for the images, downloaded once with the hashes of a lock file.

The images' Python is 3.11 on Debian 12, whatever Python runs this; so the tags are spelled out.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from . import cache
from .steps import run, step

PYTHON_VERSION = "3.11"
NEWEST_GLIBC_MINOR = 36
"""Minor version of the newest glibc that wheels may need: Debian 12's."""
OLDEST_GLIBC_MINOR = 17
NEXT_STEP = "Check that the package index pip is configured with can be reached, and run it again."


def tags(machine: str) -> list[str]:
    """pip's options for wheels that run on the images' Python and C library."""
    platforms = [
        f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1)
    ]
    options = ["--python-version", PYTHON_VERSION, "--implementation", "cp"]
    for abi in ("cp311", "abi3", "none"):
        options += ["--abi", abi]
    for name in [*platforms, f"manylinux2014_{machine}", f"linux_{machine}"]:
        options += ["--platform", name]
    return options


def without_markers(lock: str) -> str:
    """The lock with every requirement unconditional: for what must run on several Pythons at once."""
    lines = []
    for line in lock.splitlines():
        requirement, marker, _ = line.partition(" ; ")
        lines.append(f"{requirement} \\" if marker else line)
    return "\n".join(lines) + "\n"


def key(lock: str, machine: str) -> str:
    return hashlib.sha256("\0".join([PYTHON_VERSION, machine, lock]).encode()).hexdigest()[:16]


def download(name: str, lock: str) -> Path:
    """The folder of wheels a lock asks for. Raises StepError where the index or a hash says no."""
    machine = platform.machine()
    place = cache.folder("wheels") / f"{name}-{key(lock, machine)}"
    if place.is_dir():
        return place
    with step(f"downloading the wheels of {name}"), tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        cache.require_space(place.parent, 10**9, "downloading wheels")
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(lock)
        found = Path(scratch) / "wheels"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        command += [
            "--progress-bar",
            "off",
            "--only-binary",
            ":all:",
            *tags(machine),
            "--dest",
            str(found),
            "-r",
            str(requirements),
        ]
        run(command, failure_class="DownloadFailed", next_step=NEXT_STEP)
        shutil.copy(requirements, found / "requirements.txt")
        os.replace(found, place)
    return place
