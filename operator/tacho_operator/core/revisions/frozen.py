"""A revision in its ControllerRevision: the plan and pod template as they were when it was created.

Its data is immutable, so an operator upgrade, new GPU figures or later measurements restart no pod.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tacho_contract import codec
from tacho_contract.model import ModelFacts
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.manifests.objects import child
from tacho_operator.core.manifests.pod_template import pod_template
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.identity import identity, live_config, plan_key
from tacho_operator.core.types import Config, Manifest, RuntimeImage

DATA_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision, decoded from its ControllerRevision: plan, pod template, runtime."""

    name: str
    number: int
    """Counts the revisions of one resource upwards; the newest has the highest."""
    plan: ModelPlan
    plan_key: str
    facts_key: str
    pod_template: Manifest
    tacho_image: str
    runtime_sha256: str = ""
    """Hash of the runtime that ``tacho_image`` had; "" where it has a digest, and of earlier operators."""
    measure_key: str | None = None
    """Key of the workload, service level and probe that the plan was made with. None: frozen by
    an earlier operator."""


def new_revision(
    resource: LLMDeployment,
    plan: ModelPlan,
    facts: ModelFacts,
    *,
    facts_key: str,
    number: int,
    config: Config,
    runtime: RuntimeImage | None = None,
    name: str = "",
) -> Manifest:
    """The ControllerRevision of the resource's present spec.

    ``name``: set where it is not the name that follows from spec. ``runtime``: the runtime that its pods get,
    where that is not the configured image's.
    """
    tacho = runtime or RuntimeImage(image=config.tacho_image)
    meta = resource.metadata
    document = identity(resource.spec, meta.name, meta.annotations)
    name = name or names.revision_name(meta.name, names.digest(document))
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
        "podTemplate": pod_template(resource, plan, revision=name, plan_key=key, config=config, tacho=tacho),
        "tachoImage": tacho.image,
    }
    if tacho.sha256:
        manifest["data"]["runtimeSha256"] = tacho.sha256
    return manifest


def read(manifest: Manifest) -> Revision | None:
    """The revision in ``manifest``; None where this version cannot decode it."""
    data = manifest.get("data")
    if not isinstance(data, dict) or data.get("schema") != DATA_SCHEMA:
        return None
    try:
        plan = codec.from_dict(ModelPlan, data["plan"])
        return Revision(
            name=manifest["metadata"]["name"],
            number=int(manifest.get("revision", 0)),
            plan=plan,
            plan_key=str(data["planKey"]),
            facts_key=str(data["factsKey"]),
            pod_template=dict(data["podTemplate"]),
            tacho_image=str(data["tachoImage"]),
            runtime_sha256=str(data.get("runtimeSha256", "")),
            measure_key=data.get("measureKey"),
        )
    except (KeyError, TypeError, ValueError):
        return None


def read_all(manifests: Iterable[Manifest]) -> dict[str, Revision]:
    """Every readable revision by name, oldest first."""
    found = [revision for manifest in manifests if (revision := read(manifest)) is not None]
    return {revision.name: revision for revision in sorted(found, key=lambda item: (item.number, item.name))}
