"""build/tacho-runtime.pyz: the runtime as one file that any Python from 3.10 runs with ``-I -S``.

Pure Python only, and the same bytes from the same sources: names sorted, dates fixed.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from . import wheels
from .steps import StepError, say

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "runtime"
PACKAGE = "tacho_runtime"
PACKAGES = ("tacho_contract", "tacho_engines", PACKAGE)
LOCK = ROOT / "requirements" / "runtime.txt"
TARGET = ROOT / "build" / "tacho-runtime.pyz"
LEFT_OUT = "hub"
"""The hub's client runs in the tacho image and needs more than the zipapp carries."""
STRAY = ("example.py",)
"""Files that wheels install beside their package by mistake."""
FIXED_DATE = (2020, 1, 1, 0, 0, 0)
MAIN = f"""\
import os
import signal
import sys

# PID 1 ignores a signal without a handler, it is sent once, and the imports below take a second.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: os._exit(0))

from {PACKAGE}.__main__ import main

sys.exit(main())
"""
Entry = tuple[str, bytes]


def sources(root: Path) -> Iterator[Entry]:
    for path in sorted(path for package in PACKAGES for path in root.joinpath(package).rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and "__pycache__" not in parts and parts[1] != LEFT_OUT:
            yield "/".join(parts), path.read_bytes()


def from_wheel(path: Path) -> Iterator[Entry]:
    """Files that a wheel installs, with its metadata (and so its licence)."""
    if not path.name.endswith("-none-any.whl"):
        raise StepError(
            "NotPurePython", f"{path.name} has compiled parts: take it out of requirements/runtime.in"
        )
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if not name.endswith(("/", ".dist-info/RECORD")) and name not in STRAY:
                yield name, wheel.read(name)


def pack(entries: list[Entry]) -> bytes:
    """A zip of the entries. Raises StepError when two entries are the same file."""
    if len({name for name, _ in entries}) != len(entries):
        raise StepError("NameConflict", "two wheels of requirements/runtime.txt carry the same file")
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(entries):
            info = zipfile.ZipInfo(name, FIXED_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, compresslevel=9)
    return buffer.getvalue()


def build(target: Path = TARGET) -> Path:
    """Write the zipapp, if it changed."""
    folder = wheels.download("runtime", wheels.without_markers(LOCK.read_text()))
    entries: list[Entry] = [("__main__.py", MAIN.encode()), *sources(SOURCE)]
    for wheel in sorted(folder.glob("*.whl")):
        entries += from_wheel(wheel)
    content = pack(entries)
    if not target.is_file() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    say(f"    {target.name}: {len(content) / 1e3:.0f} kB, sha256 {digest[:16]}")
    return target


def main() -> int:
    try:
        build()
    except StepError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
