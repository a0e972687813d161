"""Puts together everything one decision looks at, from the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from pydantic import ValidationError

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.objects import LIVE_KEY
from tacho_operator.core.measurement.history import stored_status
from tacho_operator.core.measurement.noisy_neighbours import needs_neighbours
from tacho_operator.core.names import DEPLOYMENT_LABEL, live_config_name
from tacho_operator.core.pods.claims import claim_names
from tacho_operator.core.pods.owners import owner_uid
from tacho_operator.core.pods.view import named
from tacho_operator.core.revisions.planning import desired_revision_name
from tacho_operator.core.status.undecided import StoredResource, internal_error, unreadable_spec
from tacho_operator.core.types import Manifest, Observed
from tacho_operator.shell.kube import ApiError, Kube
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key

CHILDREN = (
    "ControllerRevision",
    "Deployment",
    "ReplicaSet",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Pod",
)
"""Kinds that carry the resource's label."""


class UnreadableResource(Exception):
    """A stored resource that the types refuse: an old CRD let it in."""


class UndecidedResource(Exception):
    """A stored resource without a decision. Its cause is an UnreadableResource, or a defect."""

    def __init__(self, found: StoredResource, cause: Exception) -> None:
        readable = not isinstance(cause, UnreadableResource)
        self.found = found
        self.problem = internal_error(cause) if readable else unreadable_spec(str(cause))
        super().__init__(self.problem.message)


def read_resource(raw: Manifest) -> LLMDeployment:
    """The stored resource. Raises UnreadableResource.

    A status that the types refuse (a later version of the operator wrote it) is as if there were none: it has
    no other writer, so it is written anew, and no user could repair it.
    """
    try:
        resource = LLMDeployment.model_validate({**raw, "status": {}})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableResource(f"{place}: {first['msg']}") from None
    return resource.model_copy(update={"status": stored_status(raw)})


def owned(manifests: Iterable[Manifest], uids: set[str]) -> tuple[Manifest, ...]:
    """Objects that one of ``uids`` controls, by name. Labels can be forged; owner uids cannot be guessed."""
    found = (manifest for manifest in manifests if owner_uid(manifest) in uids)
    return tuple(sorted(found, key=lambda manifest: manifest["metadata"]["name"]))


def _live_config_text(config_maps: Iterable[Manifest], name: str) -> str:
    """The text of the live ConfigMap: the configuration that running pods read."""
    found = named(config_maps, live_config_name(name)) or {}
    return str((found.get("data") or {}).get(LIVE_KEY, ""))


class Observer:
    """Observes one resource at a time; objects that the resource does not own always come from the store."""

    def __init__(self, kube: Kube, store: Store, reports: Reports) -> None:
        self._kube, self._store, self._reports = kube, store, reports

    async def observe(self, key: Key, *, live: bool = False) -> Observed | None:
        """The resource and everything around it; None when it was deleted. Raises UndecidedResource.

        ``live``: the resource and its children come from the API server, as the store is not yet current.
        """
        raw = await self._kube.get("LLMDeployment", *key) if live else self._store.resource(key)
        if raw is None:
            self._reports.forget(key)
            return None
        selector = f"{DEPLOYMENT_LABEL}={key.name}"
        found = {
            kind: await self._kube.list_all(kind, key.namespace, selector)
            if live
            else self._store.children(kind, key)
            for kind in CHILDREN
        }
        uid = {raw["metadata"]["uid"]}
        mine = {kind: owned(items, uid) for kind, items in found.items()}
        replica_sets = owned(found["ReplicaSet"], {item["metadata"]["uid"] for item in mine["Deployment"]})
        pods = owned(found["Pod"], uid | {item["metadata"]["uid"] for item in replica_sets})
        try:
            return await self._complete(key, raw, mine, replica_sets, pods)
        except ApiError:
            raise
        except Exception as error:
            stored = StoredResource(
                raw=raw, pods=pods, deployments=mine["Deployment"], services=mine["Service"]
            )
            raise UndecidedResource(stored, error) from error

    async def _complete(
        self,
        key: Key,
        raw: Manifest,
        mine: Mapping[str, tuple[Manifest, ...]],
        replica_sets: tuple[Manifest, ...],
        pods: tuple[Manifest, ...],
    ) -> Observed:
        """What the children's content tells, and what is around the resource."""
        resource = read_resource(raw)
        recorded = {item["metadata"]["name"] for item in mine["ControllerRevision"]}
        planning = not recorded or desired_revision_name(resource) not in recorded
        reports = await self._reports.collect(key, pods, _live_config_text(mine["ConfigMap"], key.name))
        measuring = needs_neighbours(pods, reports, resource.status.measurements, datetime.now(timezone.utc))
        nodes = {pod["spec"]["nodeName"] for pod in pods if (pod.get("spec") or {}).get("nodeName")}
        return Observed(
            resource=resource,
            raw=raw,
            revisions=mine["ControllerRevision"],
            deployments=mine["Deployment"],
            services=mine["Service"],
            config_maps=mine["ConfigMap"],
            network_policies=mine["NetworkPolicy"],
            disruption_budgets=mine["PodDisruptionBudget"],
            pods=pods,
            replica_sets=replica_sets,
            reports=reports,
            neighbours=tuple(self._store.neighbours_on(nodes)) if measuring else (),
            claims=self._claims(key.namespace, claim_names(resource.spec)),
            nodes=self._store.nodes(),
            history=self._store.history(key.namespace) if planning else (),
            waiting=self._store.waiting(key),
        )

    def _claims(self, namespace: str, names: Iterable[str]) -> dict[str, Manifest | None]:
        """PersistentVolumeClaims by name; without permission to read them they are absent, that is:
        unknown."""
        if not self._store.known("PersistentVolumeClaim", namespace):
            return {}
        return {name: self._store.claim(namespace, name) for name in names}
