"""What one decision looks at comes from the store, and whose each object is from its owner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, cast

import pytest

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.types import Observed, PastMeasurement
from tacho_operator.shell.kube import Page
from tacho_operator.shell.observe import (
    Observer,
    UnreadableResource,
    read_resource,
)
from tacho_operator.shell.pod_http import PodClient
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tools.harness.resources import CLAIM_SPEC, raw_resource

KEY = Key("ml", "smol")
ROW = PastMeasurement(
    engine="e",
    engine_version="1",
    gpu_product="CPU",
    predicted_total_bytes=1,
    actual_total_bytes=2,
    predicted_known_bytes=1,
    actual_known_bytes=1,
)


class LiveCluster:
    """Counts what it is asked; nothing lives in it but the resource."""

    def __init__(self) -> None:
        self.raw = raw_resource(CLAIM_SPEC, resourceVersion="9")
        self.asked: list[str] = []

    async def get(self, kind: str, *_: Any) -> dict[str, Any]:
        self.asked.append(kind)
        return self.raw

    async def pages(self, *_: str) -> AsyncIterator[Page]:
        yield Page([], "9")


def owned_by(uid: str, name: str, **fields: Any) -> dict[str, Any]:
    owner = {"uid": uid, "controller": True, "kind": "LLMDeployment", "name": "smol"}
    metadata = {"name": name, "namespace": "ml", "uid": f"uid-{name}", "resourceVersion": "5"}
    labels = {DEPLOYMENT_LABEL: "smol"}
    return {"metadata": {**metadata, "labels": labels, "ownerReferences": [owner]}, **fields}


def held() -> tuple[Store, LiveCluster, dict[str, Any]]:
    store, live = Store(lambda change: None), LiveCluster()
    store.put("LLMDeployment", live.raw)
    return store, live, live.raw


def nobody() -> Reports:
    """No pod here has an address: none is asked."""
    return Reports(PodClient(), late=lambda key: None)


async def observe(store: Store, cluster: LiveCluster) -> Observed:
    observer = Observer(store, nobody())
    found = await observer.observe(KEY)
    assert found is not None
    return found


async def test_a_turn_asks_the_api_server_nothing() -> None:
    store, live, raw = held()
    uid = raw["metadata"]["uid"]
    store.put("Deployment", owned_by(uid, "smol-1", spec={"replicas": 1}))
    store.put("ReplicaSet", owned_by("uid-smol-1", "smol-1-a"))
    store.put("Pod", owned_by("uid-smol-1-a", "smol-1-a-x"))
    store.put("Pod", owned_by("somebody-else", "forged"))
    store.put("Service", owned_by("somebody-else", "smol"))
    found = await observe(store, live)
    assert live.asked == []
    assert [pod["metadata"]["name"] for pod in found.pods] == ["smol-1-a-x"]
    assert found.services == (), "labels can be forged"
    assert found.raw.get("status") == raw.get("status")
    assert found.raw["metadata"] == raw["metadata"]


async def test_only_pods_that_can_answer_are_asked_for_a_report() -> None:
    store, _, raw = held()
    asked: list[str] = []

    class Asked:
        async def collect(self, _key: Key, pods: list[dict[str, Any]], _live: str) -> dict[str, Any]:
            asked.extend(pod["metadata"]["name"] for pod in pods)
            return {}

    def keep(name: str, role: str, node: str, **metadata: Any) -> None:
        pod = owned_by(raw["metadata"]["uid"], name, spec={"nodeName": node})
        pod["metadata"] |= metadata
        pod["metadata"]["labels"][ROLE_LABEL] = role
        store.put("Pod", pod)

    for node, status in (("lost", "Unknown"), ("n", "True")):
        store.put(
            "Node",
            {
                "metadata": {"name": node, "uid": node},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            },
        )
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    keep("drains", "server", "n", **gone)
    keep("probes", "probe", "n")
    keep("silent", "server", "lost")
    keep("stuck", "server", "lost", **gone)
    keep("marker", "avoid", "n")
    keep("inspects", "inspect", "n")
    await Observer(store, cast(Reports, Asked())).observe(KEY)
    assert sorted(asked) == ["drains", "probes", "silent"]


async def test_a_resource_that_is_gone_is_nothing() -> None:
    observer = Observer(Store(lambda change: None), nobody())
    assert await observer.observe(KEY) is None


async def test_earlier_measurements_are_read_for_every_plan_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second plan of the same spec must not come out differently for want of them."""
    store, live, raw = held()

    async def history(namespace: str) -> tuple[PastMeasurement, ...]:
        return (ROW,) if namespace == "ml" else ()

    monkeypatch.setattr(store, "history", history)
    for _ in range(2):
        assert (await observe(store, live)).history == (ROW,)
    resource = LLMDeployment.read(raw)
    store.put("ControllerRevision", owned_by(raw["metadata"]["uid"], desired_revision_name(resource)))
    assert (await observe(store, live)).history == ()


async def test_claims_that_may_not_be_read_are_unknown_and_those_that_are_not_there_missing() -> None:
    store, live, _ = held()
    assert (await observe(store, live)).claims == {"models": None}
    store.forbidden("PersistentVolumeClaim", "ml")
    assert (await observe(store, live)).claims == {}


def test_a_status_of_another_version_never_hides_the_resource() -> None:
    raw = raw_resource(CLAIM_SPEC)
    raw["status"] = {"revisions": [{"name": f"r{n}"} for n in range(9)], "observedGeneration": 1}
    found = read_resource(raw)
    assert found.spec.model.uri == CLAIM_SPEC["model"]["uri"]
    assert found.status.to_wire() == {}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"replicas": "many"}, r"spec\.replicas"),
        (
            {"engine": {"name": "custom", "custom": {"preset": "tgi"}}},
            r"custom\.preset.* 'sglang' or 'trtllm'",
        ),
    ],
)
def test_a_spec_that_cannot_be_read_says_where(change: dict[str, Any], place: str) -> None:
    with pytest.raises(UnreadableResource, match=place):
        read_resource(raw_resource({**CLAIM_SPEC, **change}))


async def test_the_reports_of_a_resource_that_is_gone_are_forgotten() -> None:
    class Forgetting:
        forgotten: ClassVar[list[Key]] = []

        def forget(self, key: Key) -> None:
            self.forgotten.append(key)

    store = Store(lambda change: None)
    assert await Observer(store, cast(Reports, Forgetting())).observe(KEY) is None
    assert Forgetting.forgotten == [KEY]
