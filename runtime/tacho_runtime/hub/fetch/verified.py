"""Which files of the cache have been hashed and found to be what the hub lists.

Kept beside the cache, so that a pod that comes later need not read a hundred gigabytes again: a file is taken
for what it was as long as its size and its time of change are.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seal:
    """One file as it was when its content was found right."""

    size_bytes: int
    modified_ns: int
    digest: str
    """As the hub lists it: sha256 of a large file, git's blob id of a small one."""


class Verified:
    """The seals of one repository at one commit, in the file ``path``. May be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seals = _read(path)

    def holds(self, name: str, file: Path, digest: str = "") -> bool:
        """Whether ``file`` was found right before (as ``digest``, where that is known) and is untouched."""
        seal = self._seals.get(name)
        if seal is None or (digest and seal.digest != digest):
            return False
        try:
            status = file.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (seal.size_bytes, seal.modified_ns)

    def note(self, name: str, before: os.stat_result, digest: str) -> None:
        """The file was found to be ``digest``; ``before`` is how it was before it was read."""
        with self._lock:
            self._seals[name] = Seal(before.st_size, before.st_mtime_ns, digest)
            self._write()

    def _write(self) -> None:
        text = json.dumps(
            {name: [s.size_bytes, s.modified_ns, s.digest] for name, s in sorted(self._seals.items())}
        )
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(text)
            os.replace(fresh, self._path)
        except OSError as error:
            # A cache that is mounted read-only: its files are hashed again next time.
            LOG.warning("%s cannot be written: %s", self._path, error.strerror)


def _read(path: Path) -> dict[str, Seal]:
    """Empty where there is nothing to read, or nothing that makes sense."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return {name: Seal(int(size), int(time), str(digest)) for name, (size, time, digest) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
