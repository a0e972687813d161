"""What one decision looks at comes from the store, and whose each object is from its owner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, cast

import pytest

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.types import Observed, PastMeasurement
from tacho_operator.shell.api_errors import ApiError, Forbidden
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.drift import abandoned
from tacho_operator.shell.kube import Kube, Page
from tacho_operator.shell.observe import (
    Observer,
    UndecidedResource,
    UnreadableObject,
    read_resource,
)
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store import objects as objects_module
from tacho_operator.shell.store.compression import Compressor
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
    return Reports(late=lambda key: None)


async def observe(store: Store, cluster: LiveCluster) -> Observed:
    observer = Observer(cast(Kube, cluster), store, nobody())
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
    store, live, raw = held()
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
    await Observer(cast(Kube, live), store, cast(Reports, Asked())).observe(KEY)
    assert sorted(asked) == ["drains", "probes", "silent"]


async def test_what_others_control_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    store, cluster, raw = held()
    store.put("Pod", owned_by(raw["metadata"]["uid"], "own"))
    for number in range(100):
        store.put("Pod", owned_by("forged", f"pod-{number}"))
    unpack, count = Compressor.decompressed, 0

    def unpacked(compressor: Compressor, text: bytes) -> dict[str, Any]:
        nonlocal count
        count += 1
        return unpack(compressor, text)

    monkeypatch.setattr(Compressor, "decompressed", unpacked)
    assert len((await observe(store, cluster)).pods) == 1
    assert count <= 5


async def test_a_resource_that_is_gone_is_nothing() -> None:
    observer = Observer(cast(Kube, None), Store(lambda change: None), nobody())
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
    with pytest.raises(UnreadableObject, match=place):
        read_resource(raw_resource({**CLAIM_SPEC, **change}))


async def test_an_own_child_that_cannot_be_read_is_named_with_what_to_do() -> None:
    store, live, raw = held()
    child = owned_by(raw["metadata"]["uid"], "smol-live", data={"a": "1"})
    store.put("ConfigMap", {**child, METADATA_ONLY: "it is too long"})
    live.raw = {**child, METADATA_ONLY: "it is too long"}
    with pytest.raises(UndecidedResource) as undecided:
        await observe(store, live)
    assert undecided.value.problem.reason == "InvalidConfig"
    assert "ConfigMap smol-live cannot be read: it is too long. Remove" in undecided.value.problem.message
    live.raw = child
    assert [item["data"] for item in (await observe(store, live)).config_maps] == [{"a": "1"}]
    live.asked.clear()
    await observe(store, live)
    assert live.asked == [], "what was read by itself is held"


async def test_a_child_that_may_not_be_read_by_itself_is_a_condition_and_no_endless_error() -> None:
    class Refusing(LiveCluster):
        async def get(self, kind: str, *_: Any) -> dict[str, Any]:
            raise Forbidden(403, 'replicasets "smol-1-a" is forbidden: User "tacho" cannot get resource')

    store, _, raw = held()
    store.put("Deployment", owned_by(raw["metadata"]["uid"], "smol-1", spec={"replicas": 1}))
    store.put("ReplicaSet", {**owned_by("uid-smol-1", "smol-1-a"), METADATA_ONLY: ""})
    with pytest.raises(UndecidedResource) as undecided:
        await observe(store, Refusing())
    assert undecided.value.problem.reason == "AdmissionDenied"
    assert "The operator lacks a permission." in undecided.value.problem.message
    assert "ReplicaSet smol-1-a cannot be read: 403" in undecided.value.problem.message


async def test_every_child_is_read_before_one_that_cannot_be_is_told() -> None:
    class Whole(LiveCluster):
        """All can be read but the ConfigMap, and the Service where it is ``short`` of one."""

        short = False

        async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
            why = {METADATA_ONLY: "it is too long"}
            return {**children[kind], **(why if kind == "ConfigMap" or self.short else {})}

    store, _, raw = held()
    uid, cluster = raw["metadata"]["uid"], Whole()
    children = {
        "Deployment": owned_by(uid, "smol-1", spec={"replicas": 2}),
        "ConfigMap": owned_by(uid, "smol-live"),
        "Service": owned_by(uid, "smol", spec={"selector": {}}),
        "Pod": owned_by(uid, "smol-x", status={"phase": "Running"}),
    }
    for is_whole in (False, True):
        cluster.short = not is_whole
        for kind, child in children.items():
            store.put(kind, {**child, METADATA_ONLY: ""})
        with pytest.raises(UndecidedResource, match="cannot be read: it is too long") as undecided:
            await observe(store, cluster)
        found = undecided.value.found
        assert found.is_whole == is_whole
    assert found.desired_replicas == 2
    assert (found.pods[0]["status"]["phase"], found.services[0]["spec"]) == ("Running", {"selector": {}})


async def test_of_objects_that_name_it_as_their_controller_a_bounded_number_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Anyone in the namespace can make very many: 40,000 took 2.9 s at each decision."""
    store, cluster, raw = held()
    uid = raw["metadata"]["uid"]
    monkeypatch.setattr(objects_module, "POD_LIMIT", 2000)
    for number in range(3000):
        store.put("ControllerRevision", owned_by(uid, f"c{number}", data={"a": "x" * 1000}))
        store.put("Pod", owned_by(uid, f"p{number}"))
    read: list[bytes] = []
    full = Compressor.decompressed
    monkeypatch.setattr(Compressor, "decompressed", lambda by, text: read.append(text) or full(by, text))
    with pytest.raises(UndecidedResource) as raised:
        await observe(store, cluster)
    assert (
        "the controller of more than 100 objects of kind ControllerRevision" in raised.value.problem.message
    )
    assert not raised.value.found.is_whole, "Ready stays as it was"
    assert len(read) == 1, "the resource"
    assert cluster.asked == []
    revisions = store._kinds["ControllerRevision"]
    assert sum(METADATA_ONLY in (revisions.read(name) or {}) for name in revisions.by_name) == 99
    assert len(revisions.by_name) == 200, "of the others nothing is stored"
    for number in range(3000):
        store.remove("Pod", "ml", f"p{number}")
        store.remove("ControllerRevision", "ml", f"c{number}")
    assert (await observe(store, cluster)).revisions == ()


async def test_few_very_long_objects_are_a_crowd_too() -> None:
    store, cluster, raw = held()
    uid = raw["metadata"]["uid"]
    for number in range(10):
        store.put("ControllerRevision", owned_by(uid, f"c{number}", data={"a": "x" * (1 << 20)}))
    for version in ("6", "7"):
        changed = owned_by(uid, "c1", data={"a": version * (1 << 20)})
        changed["metadata"]["resourceVersion"] = version
        store.put("ControllerRevision", changed)
        with pytest.raises(
            UndecidedResource,
            match=r"8 MiB of objects, .* Delete the longest; the operator",
        ):
            await observe(store, cluster)
    assert cluster.asked == []
    for number in range(10):
        store.remove("ControllerRevision", "ml", f"c{number}")
    assert (await observe(store, cluster)).revisions == ()
    assert not store._kinds["ControllerRevision"]._controlled_bytes


class OneByOne(LiveCluster):
    """Answers a read of a single child with ``answer``, or raises it."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        super().__init__()
        self.answer = answer

    async def get(self, kind: str, *_: Any) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def held_in_part() -> tuple[Store, dict[str, Any]]:
    """A store that has the metadata alone of a child."""
    store, _, raw = held()
    child = owned_by(raw["metadata"]["uid"], "smol-live", data={"a": "1"})
    store.put("ConfigMap", {**child, METADATA_ONLY: ""})
    return store, child


async def test_a_child_that_was_replaced_meanwhile_is_no_child() -> None:
    store, child = held_in_part()
    child["metadata"]["uid"] = "of-another-owner"
    assert (await observe(store, OneByOne(child))).config_maps == ()


async def test_an_own_child_that_is_nested_too_deep_is_named() -> None:
    store, child = held_in_part()
    for _ in range(200):
        child["data"] = {"a": child["data"]}
    with pytest.raises(UndecidedResource, match="ConfigMap smol-live cannot be read"):
        await observe(store, OneByOne(child))


def nested(depth: int, key: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {key: found}
    return found


@pytest.mark.parametrize("depth", [101, 900, 5000])
async def test_a_child_that_is_nested_too_deep_is_named_too(depth: int) -> None:
    """Python reads it but cannot write it."""
    store, child = held_in_part()
    with pytest.raises(UndecidedResource, match=r"ConfigMap smol-live cannot be read: it is nest"):
        await observe(store, OneByOne({**child, "data": nested(depth)}))


@pytest.mark.parametrize("depth", [101, 900, 5000])
async def test_deep_fields_of_a_child_are_not_followed(depth: int) -> None:
    store, child = held_in_part()
    entry = {"manager": "tacho-operator", "operation": "Apply", "fieldsV1": nested(depth, "f:data")}
    child["metadata"]["managedFields"] = [entry]
    (found,) = (await observe(store, OneByOne(child))).config_maps
    wanted = {"kind": "ConfigMap", "metadata": {"namespace": "ml", "name": "smol-live"}, "data": {}}
    assert abandoned(found, wanted, "tacho-operator"), "an apply removes them"


async def test_an_api_server_that_does_not_answer_is_no_defect() -> None:
    store, _ = held_in_part()
    with pytest.raises(ApiError, match="503"):
        await observe(store, OneByOne(ApiError(503, "overloaded")))


async def test_as_many_children_as_are_allowed_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    store, live, raw = held()
    for number in range(2):
        store.put("Pod", owned_by(raw["metadata"]["uid"], f"p{number}"))
    monkeypatch.setattr(objects_module, "POD_LIMIT", 2)
    assert len((await observe(store, live)).pods) == 2


async def test_the_reports_of_a_resource_that_is_gone_are_forgotten() -> None:
    class Forgetting:
        forgotten: ClassVar[list[Key]] = []

        def forget(self, key: Key) -> None:
            self.forgotten.append(key)

    store = Store(lambda change: None)
    assert await Observer(cast(Kube, None), store, cast(Reports, Forgetting())).observe(KEY) is None
    assert Forgetting.forgotten == [KEY]
