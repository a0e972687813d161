"""The short-lived pod that reads a model's files and headers with the user's own rights."""

from __future__ import annotations

from tacho_contract.inspection import FULL, InspectConfig
from tacho_contract.uri import ClaimUri, HubUri
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.manifests.pod import containers, placement, volumes
from tacho_operator.core.manifests.pod.environment import ca_volume
from tacho_operator.core.manifests.pod.security import pod_security
from tacho_operator.core.names import ATTEMPT_ANNOTATION, ROLE_INSPECT
from tacho_operator.core.types import Config, Manifest

FULL_READ_SECONDS = 6 * 3600
"""For reading every byte: 1.3 TB at 60 MB/s. The program counts for itself, by the model's size, once it
knows that; this ends a pod whose disk hangs."""


def inspect_pod(
    resource: LLMDeployment, config: Config, question: InspectConfig, *, name: str, attempt: int
) -> Manifest:
    """Runs where the template's pods may run. Mounts the claim of a pvc:// model read-only, never the
    cache: that would bind a claim that waits for its first consumer in the wrong zone."""
    annotations = {ATTEMPT_ANNOTATION: str(attempt), "sidecar.istio.io/inject": "false"}
    manifest = child(resource, "v1", "Pod", name, role=ROLE_INSPECT, annotations=annotations)
    source = resource.spec.model.source
    ca_volumes, _ = ca_volume(resource.spec.model) if isinstance(source, HubUri) else ([], [])
    mounted = [{"name": volumes.TMP_VOLUME, "emptyDir": {}}, *ca_volumes]
    if isinstance(source, ClaimUri):
        mounted.append(volumes.model_volume(resource, source))
    manifest["spec"] = {
        **placement.inspect_spec(resource),
        "restartPolicy": "Never",
        "activeDeadlineSeconds": config.inspect_deadline_seconds
        + (FULL_READ_SECONDS if question.verification == FULL else 0),
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [containers.inspect(resource, question, config.tacho_image, config.image_pull_policy)],
        "volumes": mounted,
    }
    return manifest
