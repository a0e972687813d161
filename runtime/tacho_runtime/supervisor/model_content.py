"""Whether a folder still holds the model that was planned with: sizes and headers, before the engine starts.

A model from a hub needs no such look: fetch compares every byte with what the hub lists.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import listed
from tacho_runtime.headers.digests import files_digest, loaded
from tacho_runtime.headers.errors import changed
from tacho_runtime.headers.marks import model_digest
from tacho_runtime.headers.source import FolderSource

NAMES_SHOWN = 6


def check(config: RuntimeConfig, root: str) -> None:
    """Raises FailedError(ModelChanged | ModelNotFound | ModelInvalid). Reads headers only, however large the
    files are: a file whose weights alone were replaced, with the same size and header, passes."""
    if not config.model_digest:
        return
    source = FolderSource(Path(root), name=root)
    chosen = [
        entry
        for entry in loaded(source.files())
        if any(fnmatchcase(entry.path, glob) for glob in config.files)
    ]
    if files_digest(chosen) != config.files_digest:
        names = listed([f"{entry.path} ({entry.size_bytes} bytes)" for entry in chosen], NAMES_SHOWN)
        raise changed(
            f"{root} holds other files than were planned with ({config.weights_bytes} bytes in all): "
            f"{names or 'none of them'}."
        )
    if model_digest(source, chosen) != config.model_digest:
        newest = max(chosen, key=lambda entry: (source.folder / entry.path).stat().st_mtime)
        raise changed(
            f"The files in {root} have the planned names and sizes, but other headers; the newest is "
            f"{newest.path}."
        )
