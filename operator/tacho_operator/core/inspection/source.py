"""Where a model comes from, taken apart once."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.pod import MODEL_DIR
from tacho_operator.api.types import LLMDeploymentSpec

HUB = "hf://"
CLAIM = "pvc://"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Either a hub repository or a path on a claim."""

    repository: str = ""
    claim: str = ""
    path: str = ""

    @property
    def from_hub(self) -> bool:
        return bool(self.repository)

    @property
    def mounted_path(self) -> str:
        """Where a claim's model is in the pod; a hub model's folder is known only once fetched."""
        return f"{MODEL_DIR}/{self.path}".rstrip("/") if self.claim else ""


def model_source(uri: str) -> ModelSource:
    """Takes ``hf://owner/name`` or ``pvc://claim/path`` apart. Raises ValueError for another scheme."""
    if uri.startswith(HUB):
        return ModelSource(repository=uri.removeprefix(HUB).strip("/"))
    if uri.startswith(CLAIM):
        claim, _, path = uri.removeprefix(CLAIM).partition("/")
        return ModelSource(claim=claim, path=path.strip("/"))
    raise ValueError(
        f"model.uri {uri!r} cannot be served in a cluster: use hf://owner/name or pvc://claim/path"
    )


def claim_names(spec: LLMDeploymentSpec) -> tuple[str, ...]:
    """Every PersistentVolumeClaim the spec names, in order and once: what observing has to look up."""
    found: list[str] = []
    if spec.model.uri.startswith(CLAIM):
        found.append(model_source(spec.model.uri).claim)
    elif spec.cache and spec.cache.persistent_volume_claim:
        found.append(spec.cache.persistent_volume_claim.claim_name)
    template = spec.pod_template
    for volume in template.spec.volumes if template and template.spec else []:
        if volume.persistent_volume_claim:
            found.append(volume.persistent_volume_claim.claim_name)
    return tuple(dict.fromkeys(found))
