"""Which clients can reach the pods when the Service or the NetworkPolicy could not be written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView, named, views
from tacho_operator.core.problems import Problem, refused_child
from tacho_operator.core.types import ChildRefusal, Manifest, Observed

KIND = "NetworkPolicy"


def refused_policy(resource: LLMDeployment, refusals: Iterable[ChildRefusal]) -> ChildRefusal | None:
    """The API server's refusal of the NetworkPolicy, by which ``allowedNamespaces`` has no effect; None: not
    refused.

    No new Deployment is created meanwhile. Pods that already serve stay: deleting them would be an outage.
    """
    endpoint = resource.spec.endpoint
    if endpoint is None or endpoint.allowed_namespaces is None:
        return None
    return next((item for item in refusals if item.kind == KIND), None)


def exposure(observed: Observed) -> Problem | None:
    """The problem of a NetworkPolicy that is not in effect, with the namespaces that reach the pods; None: it
    is in effect.
    """
    refusal = refused_policy(observed.resource, observed.refusals)
    if refusal is None:
        return None
    subject = f"{KIND} {refusal.name}"
    lacking = "has another owner" if refusal.taken else "is missing, as its creation is refused"
    if not observed.deployments:
        what = f"No pod starts without the policy of allowedNamespaces: {subject} {lacking}."
    elif not refusal.taken and named(observed.network_policies, refusal.name) is not None:
        what = f"endpoint.allowedNamespaces is not in force: a change of {subject} is refused."
    else:
        what = f"Every namespace reaches the pods: {subject} {lacking}."
    return dataclasses.replace(refused_child(refusal), what=what)


def reached(service: Manifest | None, pods: Iterable[PodView]) -> int:
    """Number of ready ``pods`` that the Service as it is in the cluster selects: it may have a former
    selector.
    """
    selector = ((service or {}).get("spec") or {}).get("selector") or {}

    def is_selected(pod: PodView) -> bool:
        labels = pod.raw["metadata"].get("labels") or {}
        return all(labels.get(key) == value for key, value in selector.items())

    return sum(pod.ready and is_selected(pod) for pod in pods) if selector else 0


def leads_to_pods(observed: Observed) -> bool:
    """Whether requests to the Service as it is in the cluster, before it is written, reach any pod."""
    service = named(observed.services, names.service_name(observed.resource.metadata.name))
    return reached(service, views(observed.pods, names.ROLE_SERVER)) > 0


def serving_message(reached: int, desired: int) -> str:
    """The clause with the number of serving and of desired replicas."""
    return f"{min(reached, desired) or reached} of {desired} replicas serve."
