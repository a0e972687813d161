"""Manifests of all children that are not pods: ConfigMaps, Service, Deployment, NetworkPolicy,
PodDisruptionBudget."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tacho_contract import codec
from tacho_contract.launch import LiveConfig, startup_budget_seconds
from tacho_contract.pod import ENGINE_PORT, LIVE_FILE, RUNTIME_PORT
from tacho_operator.api import API_VERSION, KIND
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.names import (
    DEPLOYMENT_LABEL,
    ROLE_LABEL,
    ROLE_PROBE,
    ROLE_SERVER,
    facts_config_name,
    labels,
    live_config_name,
    server_selector,
    service_name,
)
from tacho_operator.core.planner.probe_budget import planned_probe
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.rollout.reading import schedule_timeout_seconds
from tacho_operator.core.rollout.record import MIN_READY_SECONDS, Serving
from tacho_operator.core.types import Config, Manifest


def owner_reference(resource: LLMDeployment) -> Manifest:
    """Owner reference to the resource as controller: garbage collection deletes the child with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": resource.metadata.name,
        "uid": resource.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(
    resource: LLMDeployment,
    api_version: str,
    kind: str,
    name: str,
    *,
    role: str = "",
    revision: str = "",
    annotations: dict[str, str] | None = None,
    **content: Any,
) -> Manifest:
    """The manifest of a child: labels, owner reference, and ``content`` (spec, data or other top-level
    fields)."""
    metadata: Manifest = {
        "name": name,
        "namespace": resource.metadata.namespace,
        "labels": labels(resource.metadata.name, role, revision),
        "ownerReferences": [owner_reference(resource)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


LIVE_KEY = LIVE_FILE.rpartition("/")[2]


def live_config_map(
    resource: LLMDeployment, live: LiveConfig, notes: Mapping[str, str] | None = None
) -> Manifest:
    """The live ConfigMap with workload, SLO, probe settings and startup timeout. It is mounted, so that a
    change restarts no pod.

    ``notes``: values that the operator stores as annotations; empty ones are left out.
    """
    kept = {key: text for key, text in sorted((notes or {}).items()) if text}
    name = live_config_name(resource.metadata.name)
    data = {LIVE_KEY: codec.dumps(live)}
    return child(resource, "v1", "ConfigMap", name, annotations=kept or None, data=data)


def facts_config_map(resource: LLMDeployment, packed: Mapping[str, str]) -> Manifest:
    """The ConfigMap with the facts of inspected models (zlib + base64), by the key of the inspection."""
    name = facts_config_name(resource.metadata.name)
    return child(resource, "v1", "ConfigMap", name, data=dict(sorted(packed.items())))


def service(resource: LLMDeployment, serving: Serving) -> Manifest:
    """The Service that clients use. Its annotations hold ``serving``, the record of the rollout, so that
    record and selector change in one write."""
    spec = {
        "type": "ClusterIP",
        "selector": server_selector(resource.metadata.name, serving.selected),
        "publishNotReadyAddresses": False,  # else clients reach pods that load, and Ready is untrue
        "internalTrafficPolicy": "Cluster",  # else clients on nodes without a pod reach nothing
        "externalIPs": [],  # else every node takes the traffic of these addresses
        "ports": [
            {"name": "http", "port": ENGINE_PORT, "targetPort": "http", "protocol": "TCP"},
            {"name": "runtime", "port": RUNTIME_PORT, "targetPort": "runtime", "protocol": "TCP"},
        ],
    }
    name = service_name(resource.metadata.name)
    return child(resource, "v1", "Service", name, annotations=serving.annotations(), spec=spec)


def url(resource: LLMDeployment) -> str:
    """The URL of the OpenAI API inside the cluster."""
    return f"http://{service_name(resource.metadata.name)}.{resource.metadata.namespace}.svc:{ENGINE_PORT}"


NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def _from_namespaces(namespaces: list[str]) -> list[Manifest]:
    expression = {"key": NAMESPACE_LABEL, "operator": "In", "values": sorted(set(namespaces))}
    return [{"namespaceSelector": {"matchExpressions": [expression]}}]


def network_policy(resource: LLMDeployment, config: Config) -> Manifest:
    """The NetworkPolicy of the server pods, for ingress only.

    Port http: from endpoint.allowedNamespaces (absent: all; empty: none). Port runtime (load and
    measurements): from the operator's namespace and the monitoring namespace.
    """
    allowed = resource.spec.endpoint.allowed_namespaces if resource.spec.endpoint else None
    rules: list[Manifest] = []
    if allowed is None:
        rules.append({"ports": [{"port": "http", "protocol": "TCP"}]})
    elif allowed:
        rules.append(
            {"ports": [{"port": "http", "protocol": "TCP"}], "from": _from_namespaces(list(allowed))}
        )
    watchers = [space for space in (config.operator_namespace, config.monitoring_namespace) if space]
    rules.append({"ports": [{"port": "runtime", "protocol": "TCP"}], "from": _from_namespaces(watchers)})
    spec = {
        # Probe pods too: else a namespace that denies by default would hide their measurements.
        "podSelector": {
            "matchLabels": {DEPLOYMENT_LABEL: resource.metadata.name},
            "matchExpressions": [{"key": ROLE_LABEL, "operator": "In", "values": [ROLE_PROBE, ROLE_SERVER]}],
        },
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return child(resource, "networking.k8s.io/v1", "NetworkPolicy", resource.metadata.name, spec=spec)


PULL_SECONDS = 10 * 60
"""Time in seconds that is allowed for an image pull (10 GB)."""


def ready_deadline_seconds(resource: LLMDeployment, plan: ModelPlan) -> int:
    """Maximum seconds from a pod's creation to the end of its start: scheduling, image pull, startup budget,
    probe, and the question after an unfinished one, which may take as long."""
    last = planned_probe(resource.spec, plan).timeout_seconds
    return schedule_timeout_seconds(resource) + start_deadline_seconds(resource, plan) + last


def start_deadline_seconds(resource: LLMDeployment, plan: ModelPlan) -> int:
    """Maximum seconds from a pod's assignment to a node to its measurement: image pull, startup budget and
    probe."""
    startup = startup_budget_seconds(plan.files.total_bytes, resource.spec.startup_timeout_seconds)
    probe = planned_probe(resource.spec, plan).timeout_seconds
    return PULL_SECONDS + startup + probe


def deployment(
    resource: LLMDeployment, plan: ModelPlan, *, revision: str, pod_template: Manifest, replicas: int
) -> Manifest:
    """The Deployment of one revision. After its creation only replicas and progress deadline change."""
    spec = {
        "replicas": replicas,
        "paused": False,  # else one that somebody paused keeps pods of a template that was put right
        "minReadySeconds": MIN_READY_SECONDS,
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": ready_deadline_seconds(resource, plan),
        "selector": {"matchLabels": server_selector(resource.metadata.name, revision)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": copy.deepcopy(pod_template),
    }
    return child(resource, "apps/v1", "Deployment", revision, role=ROLE_SERVER, revision=revision, spec=spec)


def disruption_budget(resource: LLMDeployment, selected: str, replicas: int) -> Manifest:
    """The PodDisruptionBudget: of ``replicas`` pods that the Service selects, one at a time may be evicted.

    ``selected``: the revision in the Service's selector. Created for two and more replicas only: with one, a
    node could not be drained.
    """
    spec = {
        # Not maxUnavailable: Kubernetes would count a candidate's pods as missing, and refuse every drain.
        "minAvailable": replicas - 1,
        # A pod that does not serve must not block a node drain.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": server_selector(resource.metadata.name, selected)},
    }
    return child(resource, "policy/v1", "PodDisruptionBudget", resource.metadata.name, spec=spec)
