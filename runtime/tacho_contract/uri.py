"""Parses model URIs: where a model comes from.

The rules of the CustomResourceDefinition use the same patterns, so that the API server accepts exactly the
URIs that this module parses. The patterns use only syntax that RE2 (the API server's) and Python's ``re``
read alike.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

HUB_SCHEME = "hf://"
CLAIM_SCHEME = "pvc://"
FILE_SCHEME = "file://"

_NAME = "[A-Za-z0-9][-A-Za-z0-9._]*"
_CLAIM = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
HUB_PATTERN = f"^{HUB_SCHEME}{_NAME}(/{_NAME})?$"
CLAIM_PATTERN = f"^{CLAIM_SCHEME}{_CLAIM}(/[^/]+)*/?$"
FILE_PATTERN = f"^{FILE_SCHEME}/.+$"
PARENT_PATTERN = "/[.][.](/|$)"
"""Pattern of a ``..`` in a URI's path, which would lead out of the folder or claim."""


@dataclass(frozen=True, slots=True)
class HubUri:
    """``hf://owner/name``, or ``hf://name`` for the hub's oldest models."""

    repository: str

    def __str__(self) -> str:
        return f"{HUB_SCHEME}{self.repository}"


@dataclass(frozen=True, slots=True)
class ClaimUri:
    """``pvc://claim/path``: a folder or file on a PersistentVolumeClaim."""

    claim: str
    path: str = ""
    """Relative to the claim's root, without slashes at its ends; "" is the root."""

    def __str__(self) -> str:
        return f"{CLAIM_SCHEME}{self.claim}{f'/{self.path}' if self.path else ''}"


@dataclass(frozen=True, slots=True)
class FileUri:
    """``file:///path``: a folder or file of the machine that reads it; for ``tacho run`` only."""

    path: str
    """Absolute path of the model."""

    def __str__(self) -> str:
        return f"{FILE_SCHEME}{self.path}"


ModelUri = HubUri | ClaimUri | FileUri


@functools.lru_cache(maxsize=1024)
def parse_uri(text: str) -> ModelUri:
    """Splits a model URI into its parts. Raises ValueError, with a message for users, for an invalid URI."""
    if _search(PARENT_PATTERN, text):
        raise ValueError(f"{text[:200]!r} must not contain '..'")
    if _search(HUB_PATTERN, text):
        return HubUri(text[len(HUB_SCHEME) :])
    if _search(CLAIM_PATTERN, text):
        claim, _, path = text[len(CLAIM_SCHEME) :].partition("/")
        return ClaimUri(claim, path.rstrip("/"))
    if _search(FILE_PATTERN, text):
        return FileUri(text[len(FILE_SCHEME) :])
    raise ValueError(
        f"{text[:200]!r} is no model URI: hf://owner/name, pvc://claim/path and file:///path are known"
    )


def _search(pattern: str, text: str) -> bool:
    """Whether the pattern matches as in RE2, where ``$`` does not match before a final line break."""
    return re.search(pattern.replace("$", r"\Z"), text) is not None
