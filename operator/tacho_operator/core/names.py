"""Names of all labels, annotations and child objects.

A resource's name has at most 40 characters (a rule of the API), so every name below has at most 63.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

GROUP = "tacho.dev"

DEPLOYMENT_LABEL = f"{GROUP}/deployment"
REVISION_LABEL = f"{GROUP}/revision"
ROLE_LABEL = f"{GROUP}/role"

ROLE_SERVER = "server"
ROLE_INSPECT = "inspect"
ROLE_PROBE = "probe"
ROLE_AVOID = "avoid"
"""Value of the role label of a marker pod: new pods of its resource prefer other nodes."""

INJECT_CONTAINER = "inject"
FETCH_CONTAINER = "fetch"
ENGINE_CONTAINER = "engine"
INSPECT_CONTAINER = "inspect"

REPLAN_ANNOTATION = f"{GROUP}/replan"
"""Set by the user on the resource: any new value inspects the model again and makes a new revision."""
ACTIVE_ANNOTATION = f"{GROUP}/active-revision"
"""On the Service: name of the active revision. It changes in one write with the Service's selector."""
ADMITTED_ANNOTATION = f"{GROUP}/admitted-revision"
"""On the Service: name of the candidate that receives requests together with the active revision."""
SWITCHED_ANNOTATION = f"{GROUP}/switched-time"
"""On the Service: when a candidate was last admitted (RFC 3339)."""
ROLLBACK_ANNOTATION = f"{GROUP}/rollback"
"""On the Service: the candidate that was rolled back, how often, when and why (JSON)."""
GATE_ANNOTATION = f"{GROUP}/gate"
"""On the Service: what the rollout's gate found of a candidate (JSON)."""
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
"""On an inspect pod: which attempt to inspect the model it is, counted from 1."""
MEASURE_KEY_ANNOTATION = f"{GROUP}/measure-key"
"""On a probe pod: the measure key (hash of workload, SLO and probe settings) of its measurement."""

MEASURE_AGAIN_ANNOTATION = f"{GROUP}/measure-again"
"""Set by the user on the resource: any new value measures the active revision again in a probe pod."""
ANSWERED_ANNOTATION = f"{GROUP}/measured-again"
"""On the live ConfigMap: the last value of the measure-again annotation whose measurement has ended."""
OUTCOME_ANNOTATION = f"{GROUP}/measure-outcome"
"""On the live ConfigMap: how the last probe pod ended (JSON)."""

DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
"""On a pod: of equally ready pods, the one with the lowest cost is deleted first."""

MANAGER = "tacho-operator"

HASH_LENGTH = 10


def digest(document: Any, length: int = HASH_LENGTH) -> str:
    """The first ``length`` hex digits of the sha256 of ``document`` as canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def revision_name(name: str, identity_hash: str) -> str:
    """Name of the ControllerRevision and its Deployment, and value of the revision label."""
    return f"{name}-{identity_hash}"


def service_name(name: str) -> str:
    return name


def live_config_name(name: str) -> str:
    return f"{name}-live"


def facts_config_name(name: str) -> str:
    return f"{name}-facts"


def is_read(kind: str, name: str, resource: str) -> bool:
    """Whether decisions about ``resource`` read an object of that kind and name.

    ConfigMaps and NetworkPolicies are found by their names alone; of other kinds all children are read.
    """
    if kind == "ConfigMap":
        return name in (live_config_name(resource), facts_config_name(resource))
    return kind != "NetworkPolicy" or name == resource


def inspect_pod_name(name: str, request_hash: str, attempt: int) -> str:
    """Name of an inspect pod. It includes the attempt number, so that a new pod can start while the failed
    one still exists.
    """
    return f"{name}-inspect-{request_hash[:6]}-{attempt}"


def probe_pod_name(name: str, request_hash: str) -> str:
    return f"{name}-probe-{request_hash}"


def marker_pod_name(name: str, node: str) -> str:
    return f"{name}-avoid-{digest(node)}"


def labels(name: str, role: str = "", revision: str = "") -> dict[str, str]:
    """The labels of a child object; ``role`` and ``revision`` are left out where they are ""."""
    found = {
        "app.kubernetes.io/name": "llmdeployment",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/part-of": "tacho",
        "app.kubernetes.io/managed-by": MANAGER,
        DEPLOYMENT_LABEL: name,
    }
    if role:
        found["app.kubernetes.io/component"] = role
        found[ROLE_LABEL] = role
    if revision:
        found[REVISION_LABEL] = revision
    return found


def server_selector(name: str, revision: str = "") -> dict[str, str]:
    """The pod selector of the Service, the Deployments and the PodDisruptionBudget.

    It includes the role, so that inspect and probe pods receive no requests and do not count for scaling.
    """
    found = {DEPLOYMENT_LABEL: name, ROLE_LABEL: ROLE_SERVER}
    if revision:
        found[REVISION_LABEL] = revision
    return found


def scale_selector(name: str) -> str:
    """The label selector for status.selector, by which a HorizontalPodAutoscaler finds the pods."""
    return ",".join(f"{key}={value}" for key, value in server_selector(name).items())
