"""Stores a revision in a ControllerRevision: its plan and its pod template, which never change afterwards.

So an operator upgrade, new GPU data or later measurements restart no pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tacho_contract import codec
from tacho_contract.model import ModelFacts
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.manifests.objects import child
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.planner.shown_plan import shown_plan
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.identity import identity, live_config, plan_key
from tacho_operator.core.types import Config, Manifest

DATA_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision, decoded from its ControllerRevision: plan, pod template, runtime."""

    name: str
    number: int
    """Number of the revision within its resource; the newest has the highest."""
    plan: ModelPlan
    plan_key: str
    facts_key: str
    pod_template: Manifest
    tacho_image: str
    runtime_sha256: str = ""
    """sha256 of the runtime in ``tacho_image``; "" where that image has a digest."""
    measure_key: str = ""
    """Measure key (hash of workload, SLO and probe settings) at the time of planning."""
    model_uri: str = ""
    """The model's address in spec; "": unknown."""
    of_spec: str = ""
    """Name that spec alone gives. It is another one where GPUs were tried before (``plan.tried_gpus``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    secret_key_ref: _Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variable:
    name: str
    value_from: _Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resources:
    limits: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    name: str
    env: tuple[_Variable, ...] = ()
    resources: _Resources | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    claim_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Volume:
    name: str
    persistent_volume_claim: _Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _PodSpec:
    init_containers: tuple[_Container, ...]
    containers: tuple[_Container, ...]
    volumes: tuple[_Volume, ...] = ()
    termination_grace_period_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """What decisions read of a stored pod template. The API server judges the rest."""

    metadata: _Metadata
    spec: _PodSpec


def new_revision(
    resource: LLMDeployment,
    plan: ModelPlan,
    facts: ModelFacts,
    *,
    facts_key: str,
    number: int,
    config: Config,
) -> Manifest:
    """The ControllerRevision for the resource's spec."""
    tacho, meta = config.injected, resource.metadata
    document = identity(resource.spec, meta.name, meta.annotations)
    of_spec = name = names.revision_name(meta.name, names.digest(document))
    if plan.tried_gpus:
        document["triedGpus"] = list(plan.tried_gpus)
        name = names.revision_name(meta.name, names.digest(document))
    key = plan_key(plan, resource.spec)
    manifest = child(resource, "apps/v1", "ControllerRevision", name, role=names.ROLE_SERVER, revision=name)
    manifest["revision"] = number
    manifest["data"] = {
        "schema": DATA_SCHEMA,
        "identity": document,
        "factsKey": facts_key,
        "facts": {
            "digest": facts.files.digest,
            "commit": facts.files.commit,
            "format": facts.format,
            "fileCount": facts.files.file_count,
            "totalBytes": facts.files.total_bytes,
        },
        "plan": codec.to_dict(plan),
        "planKey": key,
        "measureKey": live_config(resource.spec).measure_key,
        "podTemplate": pod_template(resource, plan, revision=name, plan_key=key, config=config),
        "tachoImage": tacho.image,
        "ofSpec": of_spec,
    }
    if tacho.sha256:
        manifest["data"]["runtimeSha256"] = tacho.sha256
    return manifest


def read(manifest: Manifest) -> Revision | None:
    """The revision stored in ``manifest``; None where this version of tacho cannot decode it, or where
    somebody damaged it."""
    data = manifest.get("data")
    if not isinstance(data, dict) or data.get("schema") != DATA_SCHEMA:
        return None
    try:
        plan = codec.from_dict(ModelPlan, data["plan"])
        shown_plan(plan)
        codec.from_dict(_Template, data["podTemplate"])
        return Revision(
            name=manifest["metadata"]["name"],
            number=int(manifest.get("revision", 0)),
            plan=plan,
            plan_key=str(data["planKey"]),
            facts_key=str(data["factsKey"]),
            pod_template=dict(data["podTemplate"]),
            tacho_image=str(data["tachoImage"]),
            runtime_sha256=str(data.get("runtimeSha256", "")),
            measure_key=str(data["measureKey"]),
            model_uri=_model_uri(data.get("identity")),
            of_spec=str(data.get("ofSpec") or manifest["metadata"]["name"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _model_uri(document: object) -> str:
    """``spec.model.uri`` of the identity ``document``; "" where somebody damaged it."""
    for key in ("spec", "model", "uri"):
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) else ""


def newest_of(revisions: Mapping[str, Revision], of_spec: str) -> Revision | None:
    """The newest of the revisions for one spec; there are several if GPUs of one kind were not free."""
    mine = (item for item in revisions.values() if item.of_spec == of_spec)
    return max(mine, key=lambda item: item.number, default=None)


def read_all(manifests: Iterable[Manifest]) -> dict[str, Revision]:
    """Every readable revision by name, oldest first."""
    found = [revision for manifest in manifests if (revision := read(manifest)) is not None]
    return {revision.name: revision for revision in sorted(found, key=lambda item: (item.number, item.name))}
