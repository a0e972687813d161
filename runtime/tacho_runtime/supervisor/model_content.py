"""Whether a folder still holds the model that was planned with, before the engine starts: sizes and headers,
and every byte where that was asked for.

A model from a hub needs no such look: fetch compares every byte with what the hub lists.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import listed
from tacho_runtime.headers.content import Reading, full_digest
from tacho_runtime.headers.digests import files_digest, loaded
from tacho_runtime.headers.errors import changed
from tacho_runtime.headers.marks import model_digest
from tacho_runtime.headers.source import FileEntry, FolderSource

NAMES_SHOWN = 6


def check(config: RuntimeConfig, root: str, reading: Reading | None = None) -> None:
    """Raises FailedError(ModelChanged | ModelNotFound | ModelInvalid).

    Without ``config.content_digest`` headers only are read, however large the files are: a file whose weights
    alone were replaced, with the same size and header, passes. A ``reading`` that is stopped passes too.
    """
    if not config.model_digest and not config.content_digest:
        return
    source = FolderSource(Path(root), name=root)
    chosen = [
        entry for entry in source.files() if any(fnmatchcase(entry.path, glob) for glob in config.files)
    ]
    if config.model_digest:  # else nobody knows which of the files are read: all count
        chosen = list(loaded(chosen))
        _check_headers(config, source, chosen)
    if config.content_digest:
        reading = reading or Reading()
        found = full_digest(source, chosen, reading)
        if found != config.content_digest and not reading.stopped.is_set():
            raise changed(
                f"The files in {root} have another content than was planned with; {_newest(source, chosen)}."
            )


def _check_headers(config: RuntimeConfig, source: FolderSource, chosen: list[FileEntry]) -> None:
    if files_digest(chosen) != config.files_digest:
        names = listed([f"{entry.path} ({entry.size_bytes} bytes)" for entry in chosen], NAMES_SHOWN)
        raise changed(
            f"{source.name} holds other files than were planned with ({config.weights_bytes} bytes in all): "
            f"{names or 'none of them'}."
        )
    if model_digest(source, chosen) != config.model_digest:
        raise changed(
            f"The files in {source.name} have the planned names and sizes, but other headers; "
            f"{_newest(source, chosen)}."
        )


def _newest(source: FolderSource, chosen: list[FileEntry]) -> str:
    """Where to look first."""
    newest = max(chosen, key=lambda entry: (source.folder / entry.path).stat().st_mtime, default=None)
    return f"the newest is {newest.path}" if newest else "none of them is there"
