"""What stands for a file's content in a model's digest: its header, or its beginning where it has none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tacho_contract.failure import FailedError
from tacho_runtime.headers import gguf, safetensors
from tacho_runtime.headers.digests import content_digest, header_mark
from tacho_runtime.headers.source import FileEntry, Source

STAND_IN_BYTES = 64 * 1024
"""What is read of a file without a header: config.json whole, of a tokenizer its beginning."""
PARALLEL_READS = 4
"""Each may hold a header of 25 MB."""


def mark(source: Source, entry: FileEntry) -> str:
    """Follows from the file alone, so that who reads it later finds the same. Raises FailedError where it
    cannot be read; a header that makes no sense is no header."""

    def read(start: int, length: int) -> bytes:
        return source.read(entry.path, start, length)

    with contextlib.suppress(FailedError):
        if entry.path.endswith(".gguf"):
            return header_mark(gguf.read_header(read, entry.size_bytes).header)
        if entry.path.endswith(".safetensors"):
            return header_mark(safetensors.fetch_header(read, entry.size_bytes))
    return header_mark(read(0, min(entry.size_bytes, STAND_IN_BYTES)))


def model_digest(source: Source, files: Iterable[FileEntry]) -> str:
    """The digest of a model that has no commit, from its files as they are now."""
    chosen = list(files)
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        marks = pool.map(lambda entry: mark(source, entry), chosen)
        return content_digest(zip(chosen, marks, strict=True))
