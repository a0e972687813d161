"""A store for tests, and the objects that are put into it."""

from __future__ import annotations

from typing import Any

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell.store.store import Store, StoreChange
from tacho_operator.shell.workqueue import Key

KEY = Key("ml", "smol")


def thing(
    name: str, version: str = "1", *, owner: str = "smol", uid: str = "", **rest: Any
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml", "uid": uid or f"uid-{name}", "resourceVersion": version}
    labels = {DEPLOYMENT_LABEL: owner} if owner else {}
    return {"metadata": {**metadata, "labels": labels, **rest.pop("metadata", {})}, **rest}


def pod(name: str, version: str = "1", *, node: str = "", **rest: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "engine", "env": ["x" * 20_000]}], **({"nodeName": node} if node else {})}
    return thing(name, version, spec=spec, **rest)


def told() -> tuple[Store, list[StoreChange]]:
    changes: list[StoreChange] = []
    return Store(changes.append), changes


def owned_by(kind: str, name: str, uid: str = "") -> dict[str, Any]:
    reference = {"kind": kind, "name": name, "uid": uid or f"uid-{name}", "controller": True}
    return {"ownerReferences": [reference]}


def own_config_map(version: str = "1", *, uid: str = "", **rest: Any) -> dict[str, Any]:
    metadata = {**owned_by("LLMDeployment", "smol"), **rest.pop("metadata", {})}
    return thing("smol-live", version, uid=uid, metadata=metadata, **rest)
