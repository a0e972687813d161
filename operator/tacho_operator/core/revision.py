"""What makes a revision, what only makes a new measurement, and what the operator just follows.

Every leaf of spec belongs to exactly one class. ``CLASSES`` is that table; a test holds it complete
against the API's own list of leaves, so a field added later cannot be ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tacho_operator.api.types import LLMDeploymentSpec
from tacho_runtime import codec
from tacho_runtime.contract import (
    Environment,
    LiveConfig,
    ProbeSettings,
    ServiceLevel,
    Workload,
)

from . import names
from .model import ModelPlan

FieldClass = Literal["identity", "measured", "live"]

IDENTITY_SCHEMA = 1
"""Part of every identity hash. Raised only when a frozen revision of old must be made anew."""

PROBE_SCHEMA = 1
"""Part of every plan key. Raised when the probe's figures mean something else than before."""

CLASSES: Mapping[str, FieldClass] = {
    "model.uri": "identity",
    "model.revision": "identity",
    "model.servedName": "identity",
    "model.files": "identity",
    "model.hub": "identity",
    "model.trustRemoteCode": "identity",
    "model.tokenSecretRef": "live",
    "cache": "identity",
    "quantization": "identity",
    "engine": "identity",
    "gpu": "identity",
    "parallelism": "identity",
    "context": "identity",
    "endpoint.apiKeySecretRef": "identity",
    "endpoint.allowedNamespaces": "live",
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
"""Path in spec (a leaf, or a subtree that is of one class throughout) to its class."""

_KEEP_EMPTY_BELOW = frozenset(
    {"affinity", "tolerations", "topologySpreadConstraints", "volumes", "resourceClaims"}
)
"""Kubernetes gives an empty object a meaning here: an empty selector selects everything."""


def field_class(path: str) -> FieldClass:
    """The class of a leaf, given as ``model.uri`` or ``engine.env[].name``. KeyError: nobody decided."""
    plain = path.replace("[]", "").removeprefix("spec.")
    parts = plain.split(".")
    for end in range(len(parts), 0, -1):
        if (found := CLASSES.get(".".join(parts[:end]))) is not None:
            return found
    raise KeyError(f"spec.{path} has no class in core/revision.py")


def _select(spec: Mapping[str, Any], wanted: FieldClass) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for path, kind in CLASSES.items():
        if kind != wanted:
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
    """``value`` without members that say nothing: an empty object or list is the same as an absent one."""
    if not isinstance(value, dict):
        return value
    kept = {key: member if key in _KEEP_EMPTY_BELOW else _prune(member) for key, member in value.items()}
    return {key: member for key, member in kept.items() if member not in ({}, [], "", None)}


_MEANT = {
    ("model", "revision"): "main",
    ("gpu", "resourceName"): "nvidia.com/gpu",
    ("parallelism", "pipeline"): 1,
    ("engine", "custom", "healthPath"): "/health",
    ("engine", "custom", "python"): "python3",
    ("engine", "custom", "port"): 8000,
    ("podTemplate", "spec", "terminationGracePeriodSeconds"): 120,
}
"""What an absent field means. Saying it makes no new revision."""


def _drop_meant(fields: dict[str, Any], name: str) -> None:
    for path, meaning in {**_MEANT, ("model", "servedName"): name}.items():
        *parents, leaf = path
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
    fields = _select(written, "identity")
    _drop_meant(fields, name)
    document: dict[str, Any] = {"schema": IDENTITY_SCHEMA, "spec": _prune(fields)}
    if replan := (annotations or {}).get(names.REPLAN_ANNOTATION, ""):
        document["replan"] = replan
    return document


def identity_hash(spec: LLMDeploymentSpec, name: str, annotations: Mapping[str, str] | None = None) -> str:
    """Ten hex digits that name the revision of this spec."""
    return names.digest(identity(spec, name, annotations))


def live_config(spec: LLMDeploymentSpec) -> LiveConfig:
    """The mounted part of the configuration, with the key under which its measurement is filed."""
    workload, slo, probe = spec.workload, spec.slo, spec.probe
    shape = Workload(
        input_tokens=(workload.input_tokens if workload else None) or 512,
        output_tokens=(workload.output_tokens if workload else None) or 200,
    )
    level = ServiceLevel(
        ttft_milliseconds=(slo.ttft_milliseconds if slo else None) or 0,
        tpot_milliseconds=(slo.tpot_milliseconds if slo else None) or 0,
        percentile=(slo.percentile if slo else None) or 95,
    )
    settings = ProbeSettings(
        policy=(probe.policy if probe else None) or "Auto",
        budget_seconds=(probe.budget_seconds if probe else None) or 45,
        timeout_seconds=(probe.timeout_seconds if probe else None) or 90,
    )
    return LiveConfig(
        measure_key=names.digest([codec.to_dict(part) for part in (shape, level, settings)]),
        workload=shape,
        slo=level,
        probe=settings,
        startup_timeout_seconds=spec.startup_timeout_seconds or 0,
    )


def plan_key(plan: ModelPlan, spec: LLMDeploymentSpec) -> str:
    """What of a plan a measurement depends on: model, quantization, image, arguments, shape, resources."""
    engine = spec.engine
    written = engine.model_dump(mode="json", by_alias=True, exclude_defaults=True) if engine else {}
    return names.digest(
        {
            "probeSchema": PROBE_SCHEMA,
            "model": [plan.model_digest, plan.files_digest, plan.model_file],
            "quantization": [
                plan.quantization_method,
                spec.quantization.to_wire() if spec.quantization else {},
            ],
            "image": [plan.engine, plan.image, list(plan.entrypoint)],
            "arguments": [list(plan.arguments), written.get("extraArgs", []), written.get("env", [])],
            "custom": written.get("custom", {}),
            "gpu": [plan.gpu_product, plan.gpu_count],
            "parallelism": [plan.tensor_parallel, plan.pipeline_parallel],
            "context": [plan.max_model_len, plan.concurrency],
            "resources": written.get("resources", {}),
        }
    )


def fingerprint(plan_key_: str, measure_key: str, image_id: str, environment: Environment) -> str:
    """Names one measurement: both keys and what only the running pod shows."""
    shown = [
        image_id,
        environment.gpu_product,
        environment.gpu_count,
        environment.driver_version,
        environment.cpu_model,
    ]
    return names.digest([plan_key_, measure_key, shown], 16)
