"""Every label, annotation and child name, in one place: selectors and owners must never disagree.

A resource's name has at most 40 characters (a rule of the API), so every name below fits 63.
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

INJECT_CONTAINER = "inject"
FETCH_CONTAINER = "fetch"
ENGINE_CONTAINER = "engine"
INSPECT_CONTAINER = "inspect"

REPLAN_ANNOTATION = f"{GROUP}/replan"
"""Set by a person on the resource: any new value makes a new revision from freshly inspected facts."""
ACTIVE_ANNOTATION = f"{GROUP}/active-revision"
"""On the Service: the revision that has served. Changes in one write with the selector."""
ADMITTED_ANNOTATION = f"{GROUP}/admitted-revision"
"""On the Service: the revision let in beside the active one, until it is alone."""
SWITCHED_ANNOTATION = f"{GROUP}/switched-time"
"""On the Service: when a revision was last let in beside the active one (RFC 3339)."""
FALLBACK_ANNOTATION = f"{GROUP}/fallback"
"""On the Service: which revision was let in and fell, how often, when and why (JSON)."""
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
"""On an inspect pod: which try it is, from 1."""
MEASURE_KEY_ANNOTATION = f"{GROUP}/measure-key"
"""On a probe pod: the workload it was started to measure."""

MEASURE_AGAIN_ANNOTATION = f"{GROUP}/measure-again"
"""Set by a person on the resource: any new value has the active revision measured again, in a throwaway pod;
one that begins with ``disrupt``, in a serving pod."""
ANSWERED_ANNOTATION = f"{GROUP}/measured-again"
"""On the live ConfigMap: the last such value that was dealt with."""
ASKED_ANNOTATION = f"{GROUP}/measure-asked"
"""On the live ConfigMap: which serving pod was told of such a value, since when, and why it was given up
(JSON)."""
SIBLINGS_ANNOTATION = f"{GROUP}/measured-beside"
"""On the live ConfigMap: who was seen beside pods that are being measured, by their uids (JSON)."""
OUTCOME_ANNOTATION = f"{GROUP}/measure-outcome"
"""On the live ConfigMap: what the last throwaway measurement came to (JSON)."""

DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
"""On a pod: of those that are equally ready, the one with the lowest cost goes first."""

MANAGER = "tacho-operator"

HASH_LENGTH = 10


def digest(document: Any, length: int = HASH_LENGTH) -> str:
    """First ``length`` hex digits of sha256 over the document's canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def revision_name(name: str, identity_hash: str) -> str:
    """Of the ControllerRevision, its Deployment, and the value of the revision label."""
    return f"{name}-{identity_hash}"


def service_name(name: str) -> str:
    return name


def network_policy_name(name: str) -> str:
    return name


def disruption_budget_name(name: str) -> str:
    return name


def live_config_name(name: str) -> str:
    return f"{name}-live"


def facts_config_name(name: str) -> str:
    return f"{name}-facts"


def inspect_pod_name(name: str, request_hash: str, attempt: int) -> str:
    """The attempt is in the name, so that the next try can start while the last one still tells why."""
    return f"{name}-inspect-{request_hash[:6]}-{attempt}"


def probe_pod_name(name: str, request_hash: str) -> str:
    return f"{name}-probe-{request_hash}"


def labels(name: str, role: str = "", revision: str = "") -> dict[str, str]:
    """Labels of a child. ``role`` and ``revision`` only where they mean something."""
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
    """What Service, Deployment and PodDisruptionBudget select by.

    Always with the role: inspect and probe pods must neither receive traffic nor count for scaling.
    """
    found = {DEPLOYMENT_LABEL: name, ROLE_LABEL: ROLE_SERVER}
    if revision:
        found[REVISION_LABEL] = revision
    return found


def scale_selector(name: str) -> str:
    """status.selector, which a HorizontalPodAutoscaler reads."""
    return ",".join(f"{key}={value}" for key, value in server_selector(name).items())
