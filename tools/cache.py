"""The cache folder for files that outlive a clone, and its permissions.

``${XDG_CACHE_HOME:-~/.cache}/tacho``: a second clone finds everything there. Entries are named by what they
were made from and appear whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .steps import Say, StepError, say


def folder(*parts: str) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tacho"
    path = root.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str, say: Say = say) -> Iterator[None]:
    """Holds the lock ``name``: one process at a time, over all clones of this user."""
    with (folder("locks") / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"    waiting for another `{name}` to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require_space(path: Path, needed_bytes: int, what: str) -> None:
    free = shutil.disk_usage(path).free
    if free < needed_bytes:
        raise StepError(
            "DiskFull",
            f"{what} needs {needed_bytes / 1e9:.1f} GB in {path}, {free / 1e9:.1f} GB are free. "
            "Free some space, or point XDG_CACHE_HOME to a larger disk.",
        )
