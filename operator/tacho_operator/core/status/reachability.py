"""Which clients can reach the pods when the Service or the NetworkPolicy could not be written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from tacho_contract.failure import FailureClass
from tacho_contract.pod import ENGINE_PORT
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


def reached(service: Manifest | None, deployments: Iterable[Manifest], pods: Iterable[PodView]) -> int:
    """Number of ``pods`` that requests to the Service as it is in the cluster reach. Another client may have
    changed the Service.

    ``deployments``: they have the number of the pods' port http, which a Service may have in place of its
    name.
    """
    spec: Manifest = (service or {}).get("spec") or {}
    selector = spec.get("selector") or {}
    deployments = tuple(deployments)
    targets = {
        item.get("targetPort")
        for item in spec.get("ports") or ()
        if item.get("port") == ENGINE_PORT and item.get("protocol", "TCP") == "TCP"
    }
    is_misleading = misleads(service)
    if not selector or spec.get("type") == "ExternalName" or misleading_service(service, deployments):
        return 0
    # Read once: a user may have added thousands of containers, and there may be thousands of pods.
    numbers = {item["metadata"]["name"]: frozenset(_http_numbers(item)) for item in deployments}

    def is_reached(pod: PodView) -> bool:
        labels, own = pod.raw["metadata"].get("labels") or {}, numbers.get(pod.revision, frozenset())
        leads = not targets.isdisjoint({"http", *own}) and (not is_misleading or ENGINE_PORT in own)
        return leads and pod.ready and all(labels.get(key) == value for key, value in selector.items())

    return sum(map(is_reached, pods))


def leads_to_pods(observed: Observed) -> bool:
    """Whether requests to the Service as it is in the cluster, before it is written, reach any pod."""
    service = named(observed.services, names.service_name(observed.resource.metadata.name))
    return reached(service, observed.deployments, views(observed.pods, names.ROLE_SERVER)) > 0


HIDING_LABELS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""Labels of a Service that kube-proxy leaves out (``cmd/kube-proxy/app/server.go``), whatever their value."""


def misleads(service: Manifest | None) -> bool:
    """Whether another client made the Service one that need not lead to its pods, which no write puts right.

    A headless one cannot get an address, and its clients connect to the pods by its own port's number. An
    apply does not remove labels of others.
    """
    labels = ((service or {}).get("metadata") or {}).get("labels") or {}
    is_headless = ((service or {}).get("spec") or {}).get("clusterIP") == "None"
    return is_headless or not labels.keys().isdisjoint(HIDING_LABELS)


def misleading_service(service: Manifest | None, deployments: Iterable[Manifest]) -> Problem | None:
    """The problem of a Service that leads to no engine whatever is written to it; None: there is none."""
    found = tuple(deployments)
    if service is None or not misleads(service) or not found:
        return None
    labels = service["metadata"].get("labels") or {}
    if hiding := next(filter(labels.__contains__, HIDING_LABELS), ""):
        what = f"kube-proxy leaves it out because of its label {hiding}"
    elif any(ENGINE_PORT in set(_http_numbers(item)) for item in found):
        return None
    else:
        what = f"it is headless, and no engine has its port {ENGINE_PORT}"
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        what=f"Service {service['metadata']['name']} leads nowhere: {what}.",
        next_step="Delete the Service; the operator creates it again.",
    )


def _http_numbers(deployment: Manifest | None) -> Iterator[int]:
    """The number of the engine's port in the Deployment's pods."""
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    for container in (template.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == "http":
                yield port["containerPort"]


def serving_message(reached: int, desired: int) -> str:
    """The clause with the number of serving and of desired replicas."""
    return f"{min(reached, desired) or reached} of {desired} replicas serve."
