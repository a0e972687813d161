"""Model URIs: hf://org/repository, pvc://claim/path and file:///path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tacho_runtime.headers.errors import not_found

REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$")


@dataclass(frozen=True, slots=True)
class HubUri:
    repository: str


@dataclass(frozen=True, slots=True)
class FolderUri:
    """A folder or file on this machine; ``root`` is the claim's mount, None for file://."""

    path: Path
    root: Path | None


def parse_uri(uri: str, claim_dir: str) -> HubUri | FolderUri:
    """Where ``uri`` leads. Raises Refused for anything else."""
    scheme, separator, rest = uri.partition("://")
    parts = rest.split("/")
    if separator and ".." not in parts and "\0" not in rest:
        if scheme == "hf" and REPOSITORY.match(rest):
            return HubUri(rest)
        if scheme == "pvc" and parts[0]:
            root = Path(claim_dir)
            return FolderUri(root.joinpath(*(p for p in parts[1:] if p)), root)
        if scheme == "file" and rest.startswith("/"):
            return FolderUri(Path(rest), None)
    raise not_found(
        f"{uri[:200]!r} is no model URI.",
        "Write spec.model.uri as hf://organisation/repository or pvc://claim/path (tacho run: file:///path).",
    )
