"""What makes a revision, what only makes a new measurement, and what the operator just follows.

Every leaf of spec belongs to exactly one class. ``CLASSES`` is that table; a test holds it complete
against the API's own list of leaves, so a field added later cannot be ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tacho_operator.api.defaults import MEANT
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core import names

FieldClass = Literal["identity", "measured", "live"]

IDENTITY_SCHEMA = 1
"""Part of every identity hash. Raised only when a frozen revision of old must be made anew."""

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
    raise KeyError(f"spec.{path} has no class in core/revisions/identity.py")


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


def _drop_meant(fields: dict[str, Any], name: str) -> None:
    preset = fields.get("engine", {}).get("custom", {}).get("preset")
    for path, meaning in {**MEANT, ("model", "servedName"): name}.items():
        *parents, leaf = path
        if preset and parents == ["engine", "custom"]:
            continue  # absent means what the preset says
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
