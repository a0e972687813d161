"""Mounts below a folder that is going to be removed: they must be unmounted before, or the mounted files are
deleted too."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..steps import StepError

TABLE = Path("/proc/self/mountinfo")
PLACE = 4
"""Field of a line that names the mount point."""


def below(folder: Path, table: str) -> list[str]:
    """Mount points in ``folder``, the latest first; ``table``: as the kernel lists them."""
    places = [_unescaped(line.split()[PLACE]) for line in table.splitlines()]
    return [place for place in reversed(places) if Path(place).is_relative_to(folder)]


def _unescaped(field: str) -> str:
    """The kernel writes spaces and the like as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


@contextmanager
def unmounted(folder: Path) -> Iterator[None]:
    """Unmounts everything below ``folder`` when the block ends, even by an error. Raises StepError where a
    mount remains."""
    try:
        yield
    finally:
        folder = folder.resolve()
        for place in below(folder, TABLE.read_text()):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
        if left := below(folder, TABLE.read_text()):
            raise StepError("StillMounted", f"unmount {' '.join(left)}, and remove {folder}.")


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, which is removed at the end; unless something is mounted in it, whose files
    would go as well."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        if not below(folder.resolve(), TABLE.read_text()):
            shutil.rmtree(folder)
