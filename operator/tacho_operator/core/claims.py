"""Which PersistentVolumeClaims a spec names."""

from __future__ import annotations

from tacho_operator.api.types import LLMDeploymentSpec

PVC_SCHEME = "pvc://"


def model_claim(uri: str) -> str | None:
    """The claim of a pvc://claim/path URI; None for other schemes."""
    if not uri.startswith(PVC_SCHEME):
        return None
    return uri.removeprefix(PVC_SCHEME).partition("/")[0] or None


def claim_names(spec: LLMDeploymentSpec) -> tuple[str, ...]:
    """Claims the pods will mount: the model's and the cache's, each once, in that order."""
    cache = (
        spec.cache.persistent_volume_claim.claim_name
        if spec.cache and spec.cache.persistent_volume_claim
        else None
    )
    return tuple(dict.fromkeys(name for name in (model_claim(spec.model.uri), cache) if name))
