"""The sums that identify a selection of files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from tacho_runtime.headers.source import FileEntry

_WEIGHTS = re.compile(r"\.(safetensors|gguf|bin|pt|pth|npz)$")
_READ_BY_ENGINES = re.compile(
    r"^[^/]*(config|token|vocab|merges|chat_template|params|tekken)[^/]*$"
    r"|^[^/]*\.(index\.json|model|tiktoken|jinja|py)$"
)


def loaded(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """Of a folder's files those that an engine reads: weights wherever they are, and what stands beside them
    in the top folder by its usual names. A note or a log that somebody adds later changes no model."""
    return tuple(f for f in files if _WEIGHTS.search(f.path) or _READ_BY_ENGINES.match(f.path))


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
