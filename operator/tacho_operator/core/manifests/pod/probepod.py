"""The throwaway pod that measures a changed workload, so that no serving pod is disturbed."""

from __future__ import annotations

import copy

from tacho_contract.launch import ENV_FULL_PROBE
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import ENGINE_CONTAINER, MEASURE_KEY_ANNOTATION, ROLE_PROBE, labels
from tacho_operator.core.types import Manifest

GRACE_SECONDS = 30
"""It has no clients whose requests would have to end."""


def probe_pod(
    resource: LLMDeployment, *, name: str, revision: str, pod_template: Manifest, measure_key: str
) -> Manifest:
    """The very pod of ``revision``, in another role: no Service selects it and no scaler counts it."""
    manifest = child(resource, "v1", "Pod", name, role=ROLE_PROBE, revision=revision)
    template = copy.deepcopy(pod_template)
    own = labels(resource.metadata.name, ROLE_PROBE, revision)
    manifest["metadata"]["labels"] = {**template["metadata"].get("labels", {}), **own}
    manifest["metadata"]["annotations"] = {
        **template["metadata"].get("annotations", {}),
        MEASURE_KEY_ANNOTATION: measure_key,
    }
    manifest["spec"] = {
        **template["spec"],
        "containers": [_measured_in_full(item) for item in template["spec"]["containers"]],
        # A failed measurement stays failed; its ended pod holds no resources and tells why.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
    }
    return manifest


def _measured_in_full(container: Manifest) -> Manifest:
    if container["name"] != ENGINE_CONTAINER:
        return container
    return {**container, "env": [*container.get("env", ()), {"name": ENV_FULL_PROBE, "value": "1"}]}
