"""Which runtime a new revision uses: the operator's image by digest, or by tag together with the runtime's
hash.

A tag may be pushed again. The digest or the hash makes all pods of a revision run the runtime that its
inspect pod had. An image imported on nodes has no digest and is identified by the hash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tacho_contract import codec
from tacho_contract.model import InspectResult
from tacho_operator.core import names
from tacho_operator.core.pods.view import ContainerView, named
from tacho_operator.core.types import Config, Observed, RuntimeImage

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB = "docker.io"
_HUB_INDEX = "index.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRecord:
    """The runtime that an inspect pod ran; stored as an annotation of the facts ConfigMap."""

    revision: str
    """Name of the revision that the record is for. "": for any, as neither digest nor hash could be read."""
    image: str
    """Image of the operator as configured, to recognise a changed setting."""
    digest: str = ""
    sha256: str = ""

    @property
    def runtime(self) -> RuntimeImage:
        if self.digest:
            return RuntimeImage(image=f"{repository(self.image)}@{self.digest}")
        return RuntimeImage(image=self.image, sha256=self.sha256)


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
    """The digest in a container's imageID; "" where it has no digest, or belongs to another repository than
    ``image``.
    """
    name, _, digest = image_id.rpartition("://")[2].partition("@")
    return digest if _DIGEST.fullmatch(digest) and _qualified(name) == _qualified(image) else ""


def shown(container: ContainerView | None, result: InspectResult, revision: str, image: str) -> RuntimeRecord:
    """The runtime of ``image``, from the status and result of an ended inspect container."""
    if "@" in image:  # the digest of an index, where a node may name that of its own architecture's image
        return RuntimeRecord(revision="", image=image)
    digest = digest_of(container.image_id, image) if container else ""
    sha256 = result.runtime_sha256 or ""
    hashed = sha256 if not digest and _SHA256.fullmatch(sha256) else ""
    end = container.terminated if container else None
    succeeded = end is not None and end.exit_code == 0
    # Nodes that show neither show it of no revision. A pod that failed tells nothing of later ones.
    revision = "" if succeeded and not digest and not hashed else revision
    return RuntimeRecord(revision=revision, image=image, digest=digest, sha256=hashed)


def recorded(observed: Observed) -> str:
    """The stored runtime record as text; "" where there is none."""
    found = named(observed.config_maps, names.facts_config_name(observed.resource.metadata.name))
    annotations = (found or {}).get("metadata", {}).get("annotations") or {}
    return str(annotations.get(names.RUNTIME_ANNOTATION, ""))


def known_runtime(observed: Observed, config: Config, revision: str) -> RuntimeImage | None:
    """The runtime for the new revision ``revision``; None: an inspect pod has to report it first."""
    configured = RuntimeImage(image=config.tacho_image)
    if "@" in config.tacho_image:
        return configured
    record = codec.read(RuntimeRecord, recorded(observed))
    if record is None or record.image != config.tacho_image:
        return None
    if not record.digest and not record.sha256:
        return configured if record.revision in ("", revision) else None
    sound = _DIGEST.fullmatch(record.digest) if record.digest else _SHA256.fullmatch(record.sha256)
    return record.runtime if sound and record.revision == revision else None
