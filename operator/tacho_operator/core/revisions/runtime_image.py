"""Which image a new revision copies the runtime from: the operator's own, by digest, else with a hash.

A tag may be pushed again. The digest or the hash makes all pods of a revision run the runtime of the operator
that made it. An image imported on nodes has no digest.
"""

from __future__ import annotations

import re

from tacho_operator.core.types import RuntimeImage

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HUB = "docker.io"
_HUB_INDEX = "index.docker.io"


def frozen_image(image: str, image_id: str, sha256: str) -> RuntimeImage:
    """``image``, the operator's as configured, by the digest in its own pod's ``image_id``, else with the
    hash ``sha256`` of its runtime."""
    if "@" in image:  # the digest of an index, where a node may name that of its own architecture's image
        return RuntimeImage(image=image)
    if digest := digest_of(image_id, image):
        return RuntimeImage(image=f"{repository(image)}@{digest}")
    return RuntimeImage(image=image, sha256=sha256)


def repository(image: str) -> str:
    """``image`` without tag and digest."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def _qualified(image: str) -> str:
    """The repository of ``image`` with its registry, in the form that container runtimes report."""
    first, slash, rest = repository(image).partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = (_HUB if first == _HUB_INDEX else first), rest
    else:
        registry, path = _HUB, f"{first}{slash}{rest}"
    official = registry == _HUB and "/" not in path
    return f"{registry}/library/{path}" if official else f"{registry}/{path}"


def digest_of(image_id: str, image: str) -> str:
    """The digest in a container's imageID; "" where it has none, or another repository than ``image``."""
    name, _, digest = image_id.rpartition("://")[2].partition("@")
    return digest if _DIGEST.fullmatch(digest) and _qualified(name) == _qualified(image) else ""
