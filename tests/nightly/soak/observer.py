"""Reads the API server and its audit log beside everything else, and trusts no other source."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tests.nightly.soak.invariants import Resource, Snapshot, Write
from tools.cluster.handle import Cluster
from tools.harness.operating import MUTATING, OPERATOR_USER

FOREIGN_ANNOTATION = "soak/foreign"
PERIOD_SECONDS = 2.0
POD_NAME = "authentication.kubernetes.io/pod-name"
CHILDREN = {
    "/apis/apps/v1": ("deployments", "replicasets", "controllerrevisions"),
    "/api/v1": ("pods", "services", "configmaps"),
    "/apis/networking.k8s.io/v1": ("networkpolicies",),
    "/apis/policy/v1": ("poddisruptionbudgets",),
}
API_ERRORS = (OSError, http.client.HTTPException, subprocess.CalledProcessError, ValueError)
"""Of an API server that is being restarted."""


class Observer(threading.Thread):
    """Until ``stop``: a snapshot each PERIOD_SECONDS, and the operators' writes."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self.snapshots: list[Snapshot] = []
        self.writes: list[Write] = []
        self.lease: list[Write] = []
        self._stopped = threading.Event()
        assert cluster.audit_log is not None
        self._audit = AuditLog(cluster.audit_log)

    def run(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            with contextlib.suppress(*API_ERRORS):
                self.snapshots.append(self._snapshot())
            self._read_audit()

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._read_audit()

    def _read_audit(self) -> None:
        for event in self._audit.new_events():
            if write := write_of(event):
                (self.lease if write.target.startswith("leases ") else self.writes).append(write)

    def _items(self, path: str) -> list[dict[str, Any]]:
        # Not Cluster.raw, which asks kubectl where the API server does not answer.
        found: list[dict[str, Any]] = json.loads(self._cluster._request("GET", path))["items"]
        return found

    def _snapshot(self) -> Snapshot:
        """The resources are read last: a child of a resource that is being deleted is then an orphan too
        early, never too late, and only what lasts counts."""
        children = {
            plural: self._items(f"{group}/{plural}?labelSelector={DEPLOYMENT_LABEL}")
            for group, plurals in CHILDREN.items()
            for plural in plurals
        }
        resources = self._items("/apis/tacho.dev/v1alpha1/llmdeployments")
        taken_over, uncollected = orphans(children, resources)
        return Snapshot(
            at=time.time(),
            resources=tuple(
                resource_of(item, endpoints(item, children["services"], children["pods"]))
                for item in resources
            ),
            orphans=tuple(taken_over),
            uncollected=tuple(uncollected),
        )


class AuditLog:
    """The API server's audit log as it grows from now on; where it is renamed, the next one is read."""

    def __init__(self, path: Path) -> None:
        found = path.stat()
        self._path, self._file_number, self._offset = path, found.st_ino, found.st_size

    def new_events(self) -> list[dict[str, Any]]:
        with self._path.open("rb") as file:
            if (number := os.fstat(file.fileno()).st_ino) != self._file_number:
                self._file_number, self._offset = number, 0
            file.seek(self._offset)
            whole = file.read().rpartition(b"\n")
        self._offset += len(whole[0]) + len(whole[1])
        return [
            json.loads(line)
            for line in whole[0].split(b"\n")
            if line.startswith(b"{") and line.endswith(b"}")
        ]


def write_of(event: dict[str, Any]) -> Write | None:
    """An accepted write of an operator to a child, a status or the Lease; None for anything else."""
    user, target = event["user"], event.get("objectRef") or {}
    accepted = (event.get("responseStatus") or {}).get("code", 500) < 300
    mine = user.get("username") == OPERATOR_USER and event["verb"] in MUTATING
    if not (accepted and mine) or "dryRun" in event["requestURI"] or target.get("resource") == "events":
        return None
    name = "/".join(filter(None, (target.get("namespace"), target.get("name"), target.get("subresource"))))
    return Write(
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        pod=(user.get("extra") or {}).get(POD_NAME, ["?"])[0],
        target=f"{target.get('resource')} {name}",
    )


def resource_of(item: dict[str, Any], endpoints_ready: int) -> Resource:
    metadata, status = item["metadata"], item.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}

    def is_true(kind: str) -> bool:
        return conditions.get(kind, {}).get("status") == "True"

    return Resource(
        name=f"{metadata['namespace']}/{metadata['name']}",
        uid=metadata["uid"],
        current=status.get("observedGeneration") == metadata["generation"],
        ready=is_true("Ready"),
        stalled=is_true("Stalled"),
        reconciling=is_true("Reconciling"),
        reason=conditions.get("Ready", {}).get("reason", ""),
        endpoints=endpoints_ready,
        retry_at=retry_of(conditions.get("RolloutAccepted", {}).get("message", "")),
    )


def retry_of(message: str) -> float:
    """The time of a candidate's retry in a message of RolloutAccepted; 0 where it names none."""
    found = re.search(r"Retry after (\S+Z)\.", message)
    return datetime.fromisoformat(found[1]).timestamp() if found else 0.0


def endpoints(item: dict[str, Any], services: list[dict[str, Any]], pods: list[dict[str, Any]]) -> int:
    """Ready pods that the resource's Service selects. Not its EndpointSlices: Kubernetes writes them, up to
    49 s after the pod's readiness where the API server was restarted, and none for a pod without a node."""
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    selector = next(
        (
            one["spec"].get("selector")
            for one in services
            if (one["metadata"]["namespace"], one["metadata"]["name"]) == (namespace, name)
        ),
        None,
    )
    return sum(
        1
        for pod in pods
        if selector
        and pod["metadata"]["namespace"] == namespace
        and selector.items() <= pod["metadata"]["labels"].items()
        and "deletionTimestamp" not in pod["metadata"]
        and pod["status"].get("podIP")
        and any(
            one["type"] == "Ready" and one["status"] == "True"
            for one in pod["status"].get("conditions") or ()
        )
    )


def orphans(
    children: dict[str, list[dict[str, Any]]], resources: list[dict[str, Any]]
) -> tuple[list[str], list[str]]:
    """tacho's own children without the resource that controls them, foreign and terminating ones left out:
    those whose resource has a successor of its name, and those that Kubernetes alone collects.
    A ReplicaSet or a pod of a Deployment that is gone is for the cluster's garbage collector, too, which a
    restart of the API server holds up for minutes."""
    existing = {item["metadata"]["uid"] for items in (*children.values(), resources) for item in items}
    names = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in resources}
    succeeded, uncollected = [], []
    for plural, items in children.items():
        for item in items:
            metadata = item["metadata"]
            owners = [one for one in metadata.get("ownerReferences") or () if one.get("controller")]
            owned = any(one["uid"] in existing or one["kind"] != "LLMDeployment" for one in owners)
            foreign = FOREIGN_ANNOTATION in (metadata.get("annotations") or {})
            if owned or foreign or "deletionTimestamp" in metadata:
                continue
            line = f"{plural} {metadata['namespace']}/{metadata['name']} {metadata['uid']} of {owners}"
            gone = owners and all((metadata["namespace"], one["name"]) not in names for one in owners)
            (uncollected if gone else succeeded).append(line)
    return succeeded, uncollected
