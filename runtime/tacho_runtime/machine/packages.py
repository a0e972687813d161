"""Versions of the packages that are installed with an engine, read from the folders of its Python without
importing them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

_SHEBANG_BYTES = 256


def interpreter(program: str, environment: Mapping[str, str]) -> Path | None:
    """The Python that runs ``program``: itself, or the one in its first line; None: it is no Python."""
    found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        return None
    if Path(found).name.startswith("python"):
        return Path(found)
    try:
        with open(found, "rb") as file:
            first = file.read(_SHEBANG_BYTES).split(b"\n", 1)[0].decode(errors="replace")
    except OSError:
        return None
    words = first.removeprefix("#!").split()
    if not first.startswith("#!") or not words:
        return None
    if Path(words[0]).name == "env" and len(words) > 1:
        words = [shutil.which(words[-1], path=environment.get("PATH", os.defpath)) or ""]
    return Path(words[0]) if Path(words[0]).name.startswith("python") else None


def matching(folder: Path, pattern: str) -> list[Path]:
    """Paths in ``folder`` that match ``pattern``, sorted; none where this user may not look: an image may be
    made for another one.
    """
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def package_folders(python: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Folders in which that Python finds packages, by the layouts of CPython and Debian.

    Its path is used as given, without resolving links: a virtual environment is known by its own path.
    """
    for named in (python, python.resolve()):
        prefix = named.parent.parent
        for root in (prefix / "lib", prefix / "lib64", prefix / "local" / "lib"):
            for pattern in ("python3*/site-packages", "python3*/dist-packages"):
                yield from matching(root, pattern)
    yield from (Path(part) for part in environment.get("PYTHONPATH", "").split(":") if part)


def normalised(name: str) -> str:
    """A package's name in the form for comparing (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(folders: Iterator[Path] | list[Path]) -> dict[str, str]:
    """Versions of the packages in ``folders``, by normalised name; of several, the first counts."""
    found: dict[str, str] = {}
    for folder in folders:
        for info in matching(folder, "*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            found.setdefault(normalised(name), version)
    return found
