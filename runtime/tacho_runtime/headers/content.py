"""The digest of every byte of a model: what sizes and headers cannot tell apart, it does.

Costs one reading of the files, as engines do next in any case, and the memory of a few chunks.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tacho_runtime.headers.digests import content_digest
from tacho_runtime.headers.marks import PARALLEL_READS
from tacho_runtime.headers.source import FileEntry, FolderSource


class Reading:
    """How far files have been read, for who waits; may be stopped by them. Used by several threads."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self.total_bytes = 0
        """0: reading has not begun."""
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def count(self, size_bytes: int) -> None:
        with self._lock:
            self.done_bytes += size_bytes


def full_digest(source: FolderSource, files: Iterable[FileEntry], reading: Reading | None = None) -> str:
    """sha256 over sorted (path, size, sha256 of the bytes). Raises FailedError for what cannot be read.

    Worthless where ``reading`` was stopped, as the rest was not read.
    """
    chosen, reading = list(files), reading or Reading()
    reading.total_bytes = sum(entry.size_bytes for entry in chosen)
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        try:
            sums = list(pool.map(lambda entry: _sha256(source, entry, reading), chosen))
        except BaseException:
            reading.stopped.set()  # the pool waits for its threads
            raise
    return content_digest(zip(chosen, sums, strict=True))


def _sha256(source: FolderSource, entry: FileEntry, reading: Reading) -> str:
    total = hashlib.sha256()
    for chunk in source.chunks(entry.path):
        if reading.stopped.is_set():
            break
        total.update(chunk)
        reading.count(len(chunk))
    return total.hexdigest()
