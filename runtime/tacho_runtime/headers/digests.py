"""Digests that identify a model: over file sizes, over headers, and over every byte.

A digest over headers detects replaced files without reading weights. The digest over every byte costs one
reading of the files, as engines do next in any case, and the memory of a few chunks.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tacho_contract.failure import FailedError
from tacho_runtime.headers import gguf, safetensors
from tacho_runtime.headers.source import FileEntry, FolderSource, ModelSource, is_read


def loaded(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """The files of a folder that an engine reads.

    A note or a log that is added later does not change the model.
    """
    return tuple(f for f in files if is_read(f.path))


def files_digest(files: Iterable[FileEntry]) -> str:
    """sha256 over sorted (path, size): a line ``path NUL size`` each."""
    return _sha256(f"{f.path}\0{f.size_bytes}\n" for f in sorted(files, key=lambda f: f.path))


def content_digest(files: Iterable[tuple[FileEntry, str]]) -> str:
    """sha256 over sorted (path, size, mark of the header bytes), for models that have no commit.

    Of files without a header, the first bytes stand in (all of a configuration file)."""
    ordered = sorted(files, key=lambda pair: pair[0].path)
    return _sha256(f"{f.path}\0{f.size_bytes}\0{mark}\n" for f, mark in ordered)


def _sha256(lines: Iterable[str]) -> str:
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode(errors="surrogateescape"))  # the name of a file may be no UTF-8
    return total.hexdigest()


STAND_IN_BYTES = 64 * 1024
"""Bytes that are read of a file without a header: all of a config.json, the beginning of a tokenizer."""
PARALLEL_READS = 4
"""Files that are read at the same time."""


def mark(source: ModelSource, entry: FileEntry) -> str:
    """Hash of a file's header, or of its first bytes where the header cannot be parsed.

    It depends on the file alone: another process computes the same. Raises FailedError where the file cannot
    be read.
    """
    read = partial(source.read, entry.path)
    with contextlib.suppress(FailedError):
        if entry.path.endswith(".gguf"):
            return gguf.read_header(read, entry.size_bytes).mark
        if entry.path.endswith(".safetensors"):
            total = hashlib.sha256()
            for piece in safetensors.header_pieces(read, entry.size_bytes):
                total.update(piece)
            return total.hexdigest()
    return hashlib.sha256(read(0, min(entry.size_bytes, STAND_IN_BYTES))).hexdigest()


def model_digest(source: ModelSource, files: Iterable[FileEntry]) -> str:
    """The digest of a model that has no commit, from its files as they are now."""
    chosen = list(files)
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        marks = pool.map(lambda entry: mark(source, entry), chosen)
        return content_digest(zip(chosen, marks, strict=True))


class HashProgress:
    """Number of bytes that were read for a digest; can stop the reading. Used by several threads."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self.total_bytes = 0
        """Number of bytes to read in all; 0: reading has not begun."""
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def count(self, size_bytes: int) -> None:
        with self._lock:
            self.done_bytes += size_bytes


def full_digest(source: FolderSource, files: Iterable[FileEntry], reading: HashProgress | None = None) -> str:
    """sha256 over sorted (path, size, sha256 of the bytes). Raises FailedError for an unreadable file.

    Not valid where ``reading`` was stopped, as not all files were read.
    """
    chosen, reading = list(files), reading or HashProgress()
    reading.total_bytes = sum(entry.size_bytes for entry in chosen)
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        try:
            sums = list(pool.map(lambda entry: _file_sha256(source, entry, reading), chosen))
        except BaseException:
            reading.stopped.set()  # the pool waits for its threads
            raise
    return content_digest(zip(chosen, sums, strict=True))


def _file_sha256(source: FolderSource, entry: FileEntry, reading: HashProgress) -> str:
    total = hashlib.sha256()
    for chunk in source.chunks(entry.path):
        if reading.stopped.is_set():
            break
        total.update(chunk)
        reading.count(len(chunk))
    return total.hexdigest()
