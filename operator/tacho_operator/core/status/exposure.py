"""Pods that namespaces outside ``endpoint.allowedNamespaces`` reach, as the NetworkPolicy is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.pods.view import named
from tacho_operator.core.problems import Problem, refused_child
from tacho_operator.core.types import ChildRefusal, Observed

KIND = "NetworkPolicy"


def refused_policy(resource: LLMDeployment, refusals: Iterable[ChildRefusal]) -> ChildRefusal | None:
    """The refusal that leaves ``allowedNamespaces`` without effect.

    No Deployment is made meanwhile. What serves goes on: to end it would make an outage of a refused policy.
    """
    endpoint = resource.spec.endpoint
    if endpoint is None or endpoint.allowed_namespaces is None:
        return None
    return next((item for item in refusals if item.kind == KIND), None)


def exposure(observed: Observed) -> Problem | None:
    """The refusal as a problem that says who reaches the pods."""
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
