"""What a deleted resource left behind, by the child that was read."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.former_children import is_empty, is_former
from tacho_operator.core.names import DEPLOYMENT_LABEL

OWNER = {
    "apiVersion": "tacho.dev/v1alpha1",
    "kind": "LLMDeployment",
    "name": "demo",
    "uid": "former",
    "controller": True,
}
METADATA = {
    "name": "demo-1",
    "uid": "child",
    "labels": {DEPLOYMENT_LABEL: "demo"},
    "ownerReferences": [OWNER],
}


def judged(metadata: dict[str, Any] | None = None, **owner: Any) -> bool:
    changed = {**METADATA, "ownerReferences": [{**OWNER, **owner}], **(metadata or {})}
    return is_former({"metadata": changed}, uid="child", resource="demo", owner_uid="former")


def test_a_child_of_the_deleted_resource_alone_is_a_former_one() -> None:
    assert judged()
    assert judged(apiVersion="tacho.dev/v2"), "whatever version wrote it"


@pytest.mark.parametrize(
    "metadata",
    [
        {"uid": "another"},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"labels": None},
        {"labels": {DEPLOYMENT_LABEL: "other"}},
        {"ownerReferences": None},
        {"ownerReferences": [OWNER, {**OWNER, "uid": "live", "controller": False}]},
    ],
)
def test_any_other_child_is_none(metadata: dict[str, Any]) -> None:
    assert not judged(metadata)


@pytest.mark.parametrize(
    "owner",
    [
        {"uid": "live"},
        {"name": "other"},
        {"kind": "Deployment"},
        {"apiVersion": "tacho.devil/v1"},
        {"apiVersion": None},
        {"controller": False},
        {"controller": None},
    ],
)
def test_a_child_of_another_owner_is_none(owner: dict[str, Any]) -> None:
    assert not judged(**owner)


def test_the_label_of_another_resource_is_no_proof() -> None:
    """A resource of that name could have another uid, and the child be its own."""
    assert not judged({"labels": {DEPLOYMENT_LABEL: "other"}}, name="other")


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"replicas": 0}, {"observedGeneration": 2}, True),
        ({"replicas": 0}, {"observedGeneration": 3, "replicas": 0}, True),
        ({"replicas": 0}, {"observedGeneration": 1}, False),
        ({"replicas": 0}, {"observedGeneration": 2, "replicas": 1}, False),
        ({"replicas": 0}, None, False),
        ({"replicas": 1}, {"observedGeneration": 2}, False),
        ({}, {"observedGeneration": 2}, False),
        (None, {"observedGeneration": 2}, False),
    ],
)
def test_a_deployment_is_empty_once_its_controller_has_seen_it(
    spec: dict[str, Any] | None, status: dict[str, Any] | None, expected: bool
) -> None:
    assert is_empty({"metadata": {"generation": 2}, "spec": spec, "status": status}) is expected
