"""The store's neighbours on a node: pods whose owners end at a held resource."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.launch import LONGEST_STARTUP_SECONDS
from tacho_operator.core.names import REVISION_LABEL, ROLE_LABEL, ROLE_PROBE, ROLE_SERVER
from tests.wiring.storing import owned_by, pod, thing, told

PROBE = {ROLE_LABEL: ROLE_PROBE}
CREATED = {"creationTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        (owned_by("ReplicaSet", "set") | {"labels": {ROLE_LABEL: ROLE_SERVER}}, 2400.0),
        (owned_by("LLMDeployment", "smol") | {"labels": {**PROBE, REVISION_LABEL: "smol-1"}}, 2400.0),
        (owned_by("LLMDeployment", "smol") | {"labels": PROBE}, 1800.0),
        (owned_by("LLMDeployment", "smol") | {"labels": {**PROBE, REVISION_LABEL: "other-1"}}, 1800.0),
        (owned_by("LLMDeployment", "smol") | {"labels": {ROLE_LABEL: ROLE_SERVER}}, None),
        ({"labels": PROBE}, None),
        (owned_by("ReplicaSet", "set", "forged"), None),
        (owned_by("ReplicaSet", "another"), None),
        (owned_by("ReplicaSet", "lone"), None),
        (owned_by("LLMDeployment", "smol", "forged") | {"labels": PROBE}, None),
        (owned_by("LLMDeployment", "gone") | {"labels": PROBE}, None),
        (owned_by("Deployment", "smol-1"), None),
        (owned_by("ReplicaSet", "set") | {"namespace": "others"}, None),
        (owned_by("LLMDeployment", "smol") | {"labels": PROBE, "namespace": "others"}, None),
    ],
    ids=str,
)
def test_a_neighbour_has_owners_that_end_at_a_held_resource(
    metadata: dict[str, Any], seconds: float | None
) -> None:
    store, _ = told()
    spec = {"progressDeadlineSeconds": 2400}
    store.put("LLMDeployment", thing("smol", owner=""))
    store.put("Deployment", thing("smol-1", spec=spec, metadata=owned_by("LLMDeployment", "smol")))
    store.put("LLMDeployment", thing("other", owner=""))
    store.put("Deployment", thing("other-1", spec=spec, metadata=owned_by("LLMDeployment", "other")))
    store.put("ReplicaSet", thing("set", metadata=owned_by("Deployment", "smol-1")))
    store.put("Deployment", thing("own", spec=spec, metadata=owned_by("LLMDeployment", "smol", "forged")))
    store.put("ReplicaSet", thing("lone", metadata=owned_by("Deployment", "own")))
    store.put("Pod", pod("a", node="n1", metadata=CREATED | metadata))
    assert [item.limit_seconds for item in store.neighbours_on({"n1"})] == ([seconds] if seconds else [])
    assert store.neighbours_on({"n2"}) == []


def test_no_deadline_of_a_forged_deployment_makes_a_neighbour_for_ever() -> None:
    """A user may make a Deployment in a resource's name, and keep it by a finalizer."""
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner=""))
    spec = {"progressDeadlineSeconds": 2**31 - 1}
    store.put("Deployment", thing("forged", spec=spec, metadata=owned_by("LLMDeployment", "smol")))
    store.put("ReplicaSet", thing("set", metadata=owned_by("Deployment", "forged")))
    labels = {"labels": {ROLE_LABEL: ROLE_SERVER}}
    store.put("Pod", pod("a", node="n1", metadata=CREATED | owned_by("ReplicaSet", "set") | labels))
    (found,) = store.neighbours_on({"n1"})
    assert found.limit_seconds == LONGEST_STARTUP_SECONDS
