"""Short-lived pods: the inspect pod reads a model's headers, the probe pod measures a revision, the marker
pod makes new pods avoid a node."""

from __future__ import annotations

import copy

from tacho_contract.launch import ENV_FULL_PROBE
from tacho_contract.model import FULL, InspectConfig
from tacho_contract.uri import ClaimUri, HubUri
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests import containers, volumes
from tacho_operator.core.manifests.containers import pod_security
from tacho_operator.core.manifests.environment import ca_volume
from tacho_operator.core.manifests.objects import child
from tacho_operator.core.manifests.pod_template import inspect_spec, template_spec
from tacho_operator.core.names import (
    ATTEMPT_ANNOTATION,
    ENGINE_CONTAINER,
    MEASURE_KEY_ANNOTATION,
    ROLE_AVOID,
    ROLE_INSPECT,
    ROLE_PROBE,
    labels,
    marker_pod_name,
)
from tacho_operator.core.pods.avoided_nodes import AVOID_SECONDS
from tacho_operator.core.types import Config, Manifest

FULL_READ_SECONDS = 6 * 3600
"""Time limit in seconds of an inspect pod that reads every byte of a model: 1.3 TB at 60 MB/s.

The program in the pod has a shorter limit, by the model's size; this one ends a pod whose disk hangs.
"""


def inspect_pod(
    resource: LLMDeployment, config: Config, inspection: InspectConfig, *, name: str, attempt: int
) -> Manifest:
    """The manifest of a pod that reads a model's headers; it may run where server pods may run.

    It mounts the claim of a pvc:// model read-only, and never the cache claim: with WaitForFirstConsumer that
    could bind the claim in the wrong zone.
    """
    annotations = {ATTEMPT_ANNOTATION: str(attempt), "sidecar.istio.io/inject": "false"}
    manifest = child(resource, "v1", "Pod", name, role=ROLE_INSPECT, annotations=annotations)
    source = resource.spec.model.source
    ca_volumes, _ = ca_volume(resource.spec.model) if isinstance(source, HubUri) else ([], [])
    mounted = [{"name": volumes.TMP_VOLUME, "emptyDir": {}}, *ca_volumes]
    if isinstance(source, ClaimUri):
        mounted.append(volumes.model_volume(resource, source))
    manifest["spec"] = {
        **inspect_spec(resource),
        "restartPolicy": "Never",
        "activeDeadlineSeconds": config.inspect_deadline_seconds
        + (FULL_READ_SECONDS if inspection.verification == FULL else 0),
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [
            containers.inspect(resource, inspection, config.tacho_image, config.image_pull_policy)
        ],
        "volumes": mounted,
    }
    return manifest


GRACE_SECONDS = 30
"""Seconds from SIGTERM to SIGKILL of a probe pod; short, as it has no client requests to finish."""
LEFT_ALONE_SECONDS = 600
"""Seconds by which a probe pod's activeDeadlineSeconds is later than the operator's deadline. It ends the pod
if no operator runs.
"""


def probe_pod(
    resource: LLMDeployment,
    *,
    name: str,
    revision: str,
    pod_template: Manifest,
    measure_key: str,
    limit_seconds: int,
) -> Manifest:
    """The manifest of a probe pod of ``revision``: no Service selects it, and no scaler counts it.

    ``limit_seconds``: the operator's deadline from creation to measurement.
    """
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
        "containers": [_with_full_probe(item) for item in template["spec"]["containers"]],
        # A failed measurement stays failed; its ended pod holds no resources and shows the reason.
        "restartPolicy": "Never",
        "activeDeadlineSeconds": limit_seconds + LEFT_ALONE_SECONDS,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
    }
    return manifest


def marker_pod(resource: LLMDeployment, config: Config, node: str) -> Manifest:
    """The manifest of a marker pod: for AVOID_SECONDS, new pods of the resource prefer other nodes than
    ``node``.

    Its nodeName is set directly, as the scheduler might choose another node. It tolerates all taints, so that
    none evicts it while the GPU fault is recent.
    """
    annotations = {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
        "sidecar.istio.io/inject": "false",
    }
    name = marker_pod_name(resource.metadata.name, node)
    manifest = child(resource, "v1", "Pod", name, role=ROLE_AVOID, annotations=annotations)
    user = template_spec(resource)
    manifest["spec"] = {
        **{key: user[key] for key in ("imagePullSecrets", "serviceAccountName") if key in user},
        "nodeName": node,
        "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        "activeDeadlineSeconds": AVOID_SECONDS,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [containers.marker(config.tacho_image, config.image_pull_policy)],
    }
    return manifest


def _with_full_probe(container: Manifest) -> Manifest:
    if container["name"] != ENGINE_CONTAINER:
        return container
    return {**container, "env": [*container.get("env", ()), {"name": ENV_FULL_PROBE, "value": "1"}]}
