"""What an image is made from, as one short hash: the same content is built once."""

from __future__ import annotations

import hashlib
from pathlib import Path

RECIPE = "1"
"""Raised when the way of building changes what comes out."""


def content_key(context: Path, dockerfile: str, base: str) -> str:
    """Hash of the Dockerfile, its base, and every file of the context with its name and mode."""
    digest = hashlib.sha256("\0".join([RECIPE, dockerfile, base]).encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            executable = bool(path.stat().st_mode & 0o100)
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(context)}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()[:12]
