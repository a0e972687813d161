"""Which fields of spec make a new revision, and which only a new measurement; the hashes of both.

Every leaf of spec belongs to exactly one class. ``CLASSES`` is that table. A test compares it with the API's
own list of leaves, so that no later field is ignored silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from tacho_contract import codec
from tacho_contract.launch import LiveConfig, ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.defaults import (
    GPU_RESOURCE,
    MEANT,
    gpu_resource,
    probe_settings,
    service_level,
    workload,
)
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tacho_operator.core import names
from tacho_operator.core.planner.probe_budget import planned_probe
from tacho_operator.core.planner.types import ModelPlan

FieldClass = Literal["identity", "measured", "live"]

IDENTITY_SCHEMA = 1
"""Version of the identity fields, part of every identity hash. A higher one gives all a new revision."""

CLASSES: Mapping[str, FieldClass] = {
    "model.uri": "identity",
    "model.revision": "identity",
    "model.servedName": "identity",
    "model.files": "identity",
    "model.hub": "identity",
    "model.verification": "identity",
    "model.trustRemoteCode": "identity",
    "model.tokenSecretRef": "live",
    "cache": "identity",
    "quantization": "identity",
    "engine": "identity",
    "gpu.products": "identity",
    "gpu.count": "identity",
    "gpu.resourceName": "identity",
    "gpu.scheduleTimeoutSeconds": "live",
    "parallelism": "identity",
    "context": "identity",
    "endpoint": "live",
    "podTemplate": "identity",
    "workload": "measured",
    "slo": "measured",
    "probe": "measured",
    "replicas": "live",
    "autoscaling": "live",
    "rollout": "live",
    "cost": "live",
    "startupTimeoutSeconds": "live",
}
"""Path in spec to its class: whether a change makes a new revision, a new measurement or neither. A path
stands for its whole subtree.
"""

_KEEP_EMPTY_BELOW = frozenset(
    {
        *("affinity", "tolerations", "topologySpreadConstraints", "volumes", "resourceClaims"),
        *("labels", "annotations", "nodeSelector"),
    }
)
"""Fields whose empty members are kept, since Kubernetes gives them a meaning: an empty selector selects
everything, and labels of a node's role have empty values.
"""


def _identity_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for path, kind in CLASSES.items():
        if kind != "identity":
            continue
        *parents, leaf = path.split(".")
        source: Any = spec
        for parent in parents:
            source = source.get(parent, {})
        if leaf in source:
            target = chosen
            for parent in parents:
                target = target.setdefault(parent, {})
            target[leaf] = source[leaf]
    return chosen


def _prune(value: Any) -> Any:
    """``value`` without its empty objects, lists and texts, which mean the same as absent ones."""
    if not isinstance(value, dict):
        return value
    kept = {key: member if key in _KEEP_EMPTY_BELOW else _prune(member) for key, member in value.items()}
    return {key: member for key, member in kept.items() if member not in ({}, [], "", None)}


_STAGES = ("parallelism", "pipeline")


def _drop_defaults(fields: dict[str, Any], name: str) -> None:
    preset = fields.get("engine", {}).get("custom", {}).get("preset")
    for path, meaning in {**MEANT, ("model", "servedName"): name}.items():
        *parents, leaf = path
        if preset and parents == ["engine", "custom"]:
            continue  # the preset has the default
        if path == _STAGES and not fields.get("parallelism", {}).get("tensor"):
            continue  # absent, both sizes are chosen
        target: Any = fields
        for parent in parents:
            target = target.get(parent, {}) if isinstance(target, dict) else {}
        if isinstance(target, dict) and target.get(leaf) == meaning:
            del target[leaf]


def identity(
    spec: LLMDeploymentSpec, name: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The identity fields of ``spec``, normalised: equal meaning gives an equal document."""
    written = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    fields = _identity_fields(written)
    _drop_defaults(fields, name)
    document: dict[str, Any] = {"schema": IDENTITY_SCHEMA, "spec": _prune(fields)}
    if replan := (annotations or {}).get(names.REPLAN_ANNOTATION, ""):
        document["replan"] = replan
    return document


def identity_hash(spec: LLMDeploymentSpec, name: str, annotations: Mapping[str, str] | None = None) -> str:
    """Ten hex digits of a hash over the identity fields; used as the suffix of the revision's name."""
    return names.digest(identity(spec, name, annotations))


def desired_revision_name(resource: LLMDeployment) -> str:
    """The name of the revision that the resource's present spec describes."""
    meta = resource.metadata
    return names.revision_name(meta.name, identity_hash(resource.spec, meta.name, meta.annotations))


PROBE_SCHEMA = 3
"""Version of the measured values, part of every plan key. It rises when a value changes its meaning: earlier
measurements become stale.
"""


def live_config(spec: LLMDeploymentSpec, plan: ModelPlan | None = None) -> LiveConfig:
    """The settings that are mounted into pods and may change without a restart, with their measure key.

    The measure key is a hash of workload, SLO and probe settings in spec. A probe budget derived from
    ``plan`` is left out of it: a change of the planned speed does not make measurements stale.
    """
    found = probe_config(
        workload(spec), service_level(spec), probe_settings(spec), spec.startup_timeout_seconds or 0
    )
    return dataclasses.replace(found, probe=planned_probe(spec, plan))


def probe_config(
    shape: Workload, level: ServiceLevel, settings: ProbeSettings, startup_timeout_seconds: int = 0
) -> LiveConfig:
    """The settings of a probe, with their measure key (hash of workload, SLO and probe settings)."""
    return LiveConfig(
        measure_key=names.digest([codec.to_dict(part) for part in (shape, level, settings)]),
        workload=shape,
        slo=level,
        probe=settings,
        startup_timeout_seconds=startup_timeout_seconds,
    )


def plan_key(plan: ModelPlan, spec: LLMDeploymentSpec) -> str:
    """Hash of the parts of a plan that affect a measurement: model, quantization, image, arguments,
    parallelism, resources, mounted files."""
    engine, resource = spec.engine, gpu_resource(spec)
    written = engine.model_dump(mode="json", by_alias=True, exclude_defaults=True) if engine else {}
    return names.digest(
        {
            "probeSchema": PROBE_SCHEMA,
            "model": [plan.files.digest, plan.files.files_digest, plan.files.model_file],
            "quantization": [
                plan.quantization_method,
                spec.quantization.to_wire() if spec.quantization else {},
            ],
            "image": [plan.engine, plan.image, list(plan.entrypoint)],
            "arguments": [list(plan.arguments), written.get("extraArgs", []), written.get("env", [])],
            "custom": written.get("custom", {}),
            # A renamed resource is a share of a GPU whose product it has.
            "gpu": [plan.gpu_product, plan.gpu_count, *([] if resource == GPU_RESOURCE else [resource])],
            "parallelism": [plan.tensor_parallel, plan.pipeline_parallel],
            "context": [plan.max_model_len, plan.concurrency],
            "resources": written.get("resources", {}),
            **_mounts_and_devices(spec),
        }
    )


def _mounts_and_devices(spec: LLMDeploymentSpec) -> dict[str, Any]:
    """What of spec changes an engine beside its image: files mounted into it, devices, its runtime class."""
    written = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    pod = (written.get("podTemplate") or {}).get("spec") or {}
    mounts = (written.get("engine") or {}).get("volumeMounts") or []
    mounted = {item["name"] for item in mounts}
    found = {
        "mounts": mounts,
        "volumes": [item for item in pod.get("volumes") or [] if item["name"] in mounted],
        "devices": pod.get("resourceClaims"),
        "runtimeClass": pod.get("runtimeClassName"),
    }
    return {key: value for key, value in found.items() if value}
