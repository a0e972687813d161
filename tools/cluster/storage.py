"""Volumes without a provisioner: local volumes made beforehand, directories in the cluster's folder.

Class ``local`` (the default) waits for the first consumer. Not hostPath volumes: fsGroup is honoured by
local ones only, and pods that may not be root need it.
"""

import fcntl
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.cluster.handle import Cluster

CLASS = "local"
COUNT = 16
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany")  # ReadWriteOncePod must stand alone
CAPACITY = "20Gi"


def storage_class() -> dict[str, Any]:
    """The default StorageClass."""
    metadata = {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume(
    name: str,
    path: Path,
    node: str,
    claim: tuple[str, str] | None = None,
    modes: Sequence[str] = MODES,
) -> dict[str, Any]:
    """A PersistentVolume on a directory; with `claim` (namespace, name) it is kept for that claim."""
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    spec: dict[str, Any] = {
        "capacity": {"storage": CAPACITY},
        "accessModes": list(modes),
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": CLASS,
        "local": {"path": str(path)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
    }
    if claim is not None:
        spec["claimRef"] = {"namespace": claim[0], "name": claim[1]}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def folder(directory: Path, name: str) -> Path:
    """The empty directory behind a volume: anyone may write, as on a network disk."""
    path = directory / "volumes" / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    path.chmod(0o777)
    return path


def pool(directory: Path, node: str) -> list[dict[str, Any]]:
    """The volumes a cluster starts with."""
    names = [f"{node}-{number:02}" for number in range(COUNT)]
    return [volume(name, folder(directory, name), node) for name in names]


def replenish(cluster: Cluster) -> list[str]:
    """Makes released volumes available again, emptied; returns their names. One process at a time."""
    with (cluster.directory / "volumes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        released = [
            item["metadata"]["name"]
            for item in cluster.get("persistentvolumes")["items"]
            if item["status"].get("phase") == "Released" and item["spec"].get("storageClassName") == CLASS
        ]
        for name in released:
            cluster.kubectl("delete", "persistentvolume", name)
            cluster.apply(volume(name, folder(cluster.directory, name), cluster.name))
        return released


def claim_volume(cluster: Cluster, namespace: str, claim: str, modes: Sequence[str] = MODES) -> Path:
    """Makes a volume for one claim only; returns its directory, to be filled from here."""
    name = f"{namespace}-{claim}"
    path = folder(cluster.directory, name)
    cluster.apply(volume(name, path, cluster.name, (namespace, claim), modes))
    return path
