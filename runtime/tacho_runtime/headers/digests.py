"""The sums that identify a selection of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tacho_runtime.headers.source import FileEntry


def files_digest(files: Iterable[FileEntry]) -> str:
    """sha256 over sorted (path, size): a line ``path NUL size`` each."""
    return _sha256(f"{f.path}\0{f.size_bytes}\n".encode() for f in sorted(files, key=lambda f: f.path))


def header_mark(header: bytes) -> str:
    """What stands for a header in ``content_digest``; headers themselves may be large."""
    return hashlib.sha256(header).hexdigest()


def content_digest(files: Iterable[tuple[FileEntry, str]]) -> str:
    """sha256 over sorted (path, size, mark of the header bytes), for models that have no commit.

    Of files without a header, the first bytes stand in (all of a configuration file)."""
    ordered = sorted(files, key=lambda pair: pair[0].path)
    return _sha256(f"{f.path}\0{f.size_bytes}\0{mark}\n".encode() for f, mark in ordered)


def _sha256(pieces: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()
