"""Of each namespace a bounded number of bytes is stored; what is beyond is read when a decision needs it."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest
from hypothesis import given, settings, strategies as st

from tacho_operator.core.names import DEPLOYMENT_LABEL, ROLE_LABEL, ROLE_PROBE, is_read
from tacho_operator.core.types import Manifest
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.fleet import priority
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.probe_turns import _turns
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store import compression, objects
from tacho_operator.shell.store.objects import StoredObjects
from tacho_operator.shell.store.store import Store, StoreChange
from tacho_operator.shell.workqueue import Key, Priority
from tests.unit.core.test_history import MEASURED, ROW
from tests.wiring.storing import KEY, owned_by, pod, thing, told
from tests.wiring.test_long_resources import serving
from tools.harness.resources import CLAIM_SPEC, raw_resource


def random_text(length: int) -> str:
    return random.Random(length).randbytes(length).hex()[:length]


def own(kind: str, name: str, version: str = "1", **content: Any) -> tuple[str, Manifest]:
    return kind, thing(name, version, metadata=owned_by("LLMDeployment", "smol"), **content)


def stored_bytes(store: Store, namespace: str) -> int:
    return sum(
        len(entry.text)
        for kind, held in store._kinds.items()
        for name, entry in held.by_name.items()
        if name[0] == namespace and not entry.is_part and kind not in objects.NOT_COUNTED
    )


class Live:
    """An API server with these objects."""

    def __init__(self, *found: tuple[str, Manifest]) -> None:
        self.found = {(kind, item["metadata"]["name"]): item for kind, item in found}
        self.asked: list[tuple[str, str]] = []

    async def get(self, kind: str, _namespace: str, name: str) -> Manifest | None:
        self.asked.append((kind, name))
        return self.found.get((kind, name))


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


def observer(store: Store, live: Live) -> Observer:
    return Observer(cast(Kube, live), store, Reports(late=lambda key: None))


def a_resource(version: str = "1", **more: Any) -> tuple[str, Manifest]:
    return "LLMDeployment", raw_resource(CLAIM_SPEC, resourceVersion=version, uid="uid-smol", **more)


def test_what_a_namespace_stores_beyond_its_bytes_is_metadata_and_no_other_namespace_has_less(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8 MiB of random text for each LLMDeployment, and a megabyte in each, filled the operator's memory."""
    monkeypatch.setattr(objects, "NAMESPACE_BYTES", 100_000)
    store, _ = told()
    store.put(*a_resource())
    for number in range(20):
        store.put(*own("Deployment", f"smol-{number}", spec={"a": random_text(20_000 + number)}))
        store.put(
            "LLMDeployment", thing(f"long-{number}", owner="", spec={"a": random_text(15_000 + number)})
        )
    assert caplog.text.count("its namespace has more than") == 1, "it is logged once"
    assert 90_000 < stored_bytes(store, "ml") <= 100_000
    assert len(store.children("Deployment", KEY)) == 20
    assert store.excess("Deployment", "ml", {"uid-smol"}) is None
    weight = store._kinds["Deployment"].controlled_bytes("ml", {"uid-smol"})
    assert weight > 400_000, "what is not stored counts as long as it is"
    elsewhere = thing("long", owner="", spec={"a": random_text(90_000)})
    elsewhere["metadata"]["namespace"] = "honest"
    store.put("LLMDeployment", elsewhere)
    assert METADATA_ONLY not in (store.resource(Key("honest", "long")) or {METADATA_ONLY: ""})
    for number in range(20):
        store.remove("Deployment", "ml", f"smol-{number}")
    for version, length in (("2", 20_000), ("30", 15_000), ("400", 20_000)):
        store.put(*own("Deployment", "smol-1", version, spec={"a": random_text(length)}))
        assert METADATA_ONLY not in store.children("Deployment", KEY)[0], "there is place again"
        monkeypatch.setattr(objects, "NAMESPACE_BYTES", stored_bytes(store, "ml"))
        store.put(*own("Deployment", "smol-1", version + "0", spec={"a": random_text(length - 500)}))
        assert METADATA_ONLY not in store.children("Deployment", KEY)[0], "it takes its own place"
        monkeypatch.setattr(objects, "NAMESPACE_BYTES", 100_000)


def test_a_later_version_that_is_shorter_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "NAMESPACE_BYTES", 10_000)
    store, _ = told()
    store.put(*a_resource())
    store.put(*own("Service", "smol", spec={"a": random_text(50_000)}))
    kind, later = own("Service", "smol", "2", spec={"a": "b"})
    store.put(kind, {**later, METADATA_ONLY: ""})
    assert METADATA_ONLY in store.children("Service", KEY)[0]
    store.put(kind, later)
    assert store.children("Service", KEY)[0]["spec"] == {"a": "b"}


async def test_a_decision_is_that_of_a_store_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    claim = {"name": "models", "namespace": "ml", "uid": "c", "resourceVersion": "1"}
    found = (
        a_resource(),
        ("PersistentVolumeClaim", {"metadata": claim, "spec": {"accessModes": ["ReadWriteOnce"]}}),
        own("Deployment", "smol-1", spec={"replicas": 1, "template": {}}),
        own("Service", "smol", spec={"selector": {"a": "b"}}),
        own("ConfigMap", "smol-live", data={"a": "1"}),
        own("ControllerRevision", "smol-1", revision=1, data={"a": "b"}),
        ("ReplicaSet", thing("smol-1-a", metadata=owned_by("Deployment", "smol-1"))),
        ("Pod", pod("smol-1-a-x", node="n1", status=ready, metadata=owned_by("ReplicaSet", "smol-1-a"))),
    )
    seen = []
    for share in (objects.NAMESPACE_BYTES, 0):
        monkeypatch.setattr(objects, "NAMESPACE_BYTES", share)
        changes: list[StoreChange] = []
        store, live = Store(changes.append), Live(*found)
        for kind, item in found:
            store.put(kind, item)
        changes.clear()
        seen.append(await observer(store, live).observe(KEY))
        with monkeypatch.context() as patch:
            patch.setattr(zlib, "compress", None)
            patch.setattr(zlib, "compressobj", None)  # once a version, as it takes 24 ms a megabyte
            seen.append(await observer(store, live).observe(KEY))
        assert changes == [], "what is read causes no other reconcile"
        assert len(live.asked) == (0 if share else 2 * (len(found) - 1)), "a claim is always stored"
        store.put(*own("Deployment", "smol-1", "2", spec={"replicas": 2, "template": {}}))
        assert [change.kind for change in changes] == ["Deployment"], "as long as before, and another"
    assert seen[0] is not None
    assert all(item == seen[0] for item in seen)


async def test_a_resource_of_which_only_metadata_is_stored_is_queued_as_if_it_were_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "NAMESPACE_BYTES", 0)
    changes: list[StoreChange] = []
    clock = Clock()
    store = Store(changes.append, clock)
    status = {"conditions": [{"type": "Ready", "status": "False", "reason": "HubUnreachable"}]}
    for name in "ab":
        store.put("LLMDeployment", thing(name, owner="", spec={}, status=status))
    assert store.waiting(Key("ml", "a"))["HubUnreachable"].count == 2
    store.put("LLMDeployment", thing("b", "2", owner="", spec={}))
    assert changes[-1].freed is not None, "the others try their hub again"
    store.put("LLMDeployment", thing("c", owner="", spec={}, status=status))
    store.put("LLMDeployment", {**thing("c", "2", owner=""), METADATA_ONLY: ""})
    clock.now += timedelta(hours=1)
    changes.clear()
    for _ in range(2):
        store.put("LLMDeployment", thing("c", "2", owner="", spec={}))
    assert len(changes) == 1, "so they do once it was read"
    store.put("LLMDeployment", serving("8"))
    assert priority(store, KEY) == Priority.SERVES
    assert store.naming({("ml", "models")}) == [KEY]
    changes.clear()
    noted = serving("9", annotations={"tacho.dev/measure-again": "1"})
    store.put("LLMDeployment", noted)
    assert [change.name for change in changes] == ["smol"], "any change may be one that is read"
    held = store.resource(KEY) or {"metadata": ()}
    assert held == {
        "metadata": {key: noted["metadata"][key] for key in held["metadata"]},
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        METADATA_ONLY: "",
    }


async def test_measurements_in_a_status_that_is_not_stored_whole_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second plan of the same spec must not come out differently."""
    monkeypatch.setattr(objects, "NAMESPACE_BYTES", 0)
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner="", spec={}, status={"measurements": [MEASURED]}))
    assert await store.history("ml") == (ROW,)


async def test_a_pod_that_is_not_stored_whole_disturbs_others_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenant who fills a namespace's bytes must not hide what disturbs the measurements of others."""
    probe = {"labels": {DEPLOYMENT_LABEL: "smol", ROLE_LABEL: ROLE_PROBE, "tacho.dev/revision": "smol-1"}}
    metadata = probe | owned_by("LLMDeployment", "smol") | {"creationTimestamp": "2026-01-01T00:00:00Z"}
    times = {"startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:09:00Z"}
    ended = {"terminated": {**times, "exitCode": 1, "message": "x" * 2000, "reason": "Error"}}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}
    states = [
        {"phase": "Running", "conditions": [scheduled], "containerStatuses": []},
        {
            "phase": "Failed",
            "conditions": [scheduled, {**scheduled, "type": "Other", "message": "m" * 1000}],
            "containerStatuses": [{"name": "engine", "restartCount": 1, "state": ended, "lastState": ended}],
        },
        {
            "phase": "Running",
            "conditions": [scheduled, {**scheduled, "type": "Ready"}],
            "containerStatuses": [{"name": "engine", "restartCount": 2, "state": {"running": times}}],
        },
    ]
    found = []
    for share in (objects.NAMESPACE_BYTES, 0):
        monkeypatch.setattr(objects, "NAMESPACE_BYTES", share)
        store, _ = told()
        store.put(*a_resource())
        store.put(*own("Deployment", "smol-1", spec={"progressDeadlineSeconds": 7200, "a": "b"}))
        for number, status in enumerate(states):
            store.put("Pod", pod(f"p{number}", node="n1", status=status, metadata=metadata))
        assert store.owners_on("n1") == {KEY}
        turns = list(_turns(store.children("Pod", KEY), store.children("Deployment", KEY)))
        found.append((store.neighbours_on({"n1"}), turns))
        assert all(METADATA_ONLY in item for item in store.children("Pod", KEY)) == (share == 0)
    assert found[0] == found[1]
    neighbours, turns = found[0]
    assert (len(neighbours), neighbours[0].limit_seconds) == (3, 7200)
    assert len(turns) == 2, "one has ended; they hold turns over a restart of the operator"


async def test_config_maps_and_policies_that_no_decision_reads_are_not_read() -> None:
    """A user's own ones counted as children, and each change of them caused a reconcile."""
    store, changes = told()
    store.put(*a_resource())
    changes.clear()
    for number in range(objects.CHILD_LIMIT + 1):
        for kind in ("ConfigMap", "NetworkPolicy"):
            store.put(*own(kind, f"mine-{number}", data={"a": "x" * 200_000}, spec={"a": "x" * 200_000}))
    assert changes == []
    assert stored_bytes(store, "ml") < 10_000
    store.put(*own("ConfigMap", "smol-live", data={"a": "1"}))
    store.put(*own("ConfigMap", "smol-facts", data={"a": "2"}))
    store.put(*own("NetworkPolicy", "smol", spec={}))
    assert len(changes) == 3
    live = Live()
    found = await observer(store, live).observe(KEY)
    assert found is not None
    assert live.asked == []
    assert [item["metadata"]["name"] for item in found.config_maps] == ["smol-facts", "smol-live"]
    assert [item["metadata"]["name"] for item in found.network_policies] == ["smol"]


async def test_what_was_deleted_while_it_was_read_is_not_stored_again() -> None:
    """It stayed until the next list, and counted."""
    store, _ = told()
    store.put(*a_resource())
    kind, child = own("Deployment", "smol-1", spec={"a": "b"})
    store.put(kind, {**child, METADATA_ONLY: ""})

    class Deleting(Live):
        async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
            store.remove(kind, namespace, name)
            return await super().get(kind, namespace, name)

    await observer(store, Deleting((kind, child))).observe(KEY)
    assert store.size("Deployment") == 0


def test_of_the_first_objects_of_a_kind_little_is_kept_for_the_dictionary() -> None:
    compressor = compression.Compressor()
    for number in range(compression.SAMPLES - 1):
        compressor.compressed({"a": random_text(1_000_000 + number)})
    assert sum(map(len, compressor._samples)) <= compression.SAMPLES * compression.DICTIONARY_BYTES


KINDS = ("LLMDeployment", "Deployment", "ConfigMap", "Pod", "Service", "ReplicaSet", "PersistentVolumeClaim")
STEP = st.fixed_dictionaries(
    {
        "what": st.sampled_from(["put"] * 6 + ["metadata", "deep", "remove", "keep only", "relist"]),
        "kind": st.sampled_from(KINDS),
        "namespace": st.sampled_from(["ml", "other"]),
        "name": st.sampled_from(["smol", "smol-live", "a", "b"]),
        "uid": st.sampled_from(["u1", "u2"]),
        "owner": st.sampled_from(["", "smol", "a"]),
        "owner_uid": st.sampled_from(["", "u1", "u2", "forged"]),
        "length": st.sampled_from([0, 10, 500, 1500, 3000, 9000]),
        "text": st.sampled_from(["x", "語", '"\\', "\ud800", "random"]),
    }
)


def manifest_of(step: dict[str, Any], version: int) -> Manifest:
    owner = {"kind": "LLMDeployment", "name": step["owner"], "uid": step["owner_uid"], "controller": True}
    metadata: Manifest = {
        "name": step["name"],
        "namespace": step["namespace"],
        "uid": step["uid"],
        "resourceVersion": str(version),
        "labels": {DEPLOYMENT_LABEL: step["owner"]},
        "ownerReferences": [owner] if step["owner_uid"] else [],
    }
    text = random_text(step["length"]) if step["text"] == "random" else step["text"] * step["length"]
    if step["what"] == "metadata":
        return {"metadata": metadata, METADATA_ONLY: ""}
    inner: Manifest = {"a": text}
    for _ in range(200 if step["what"] == "deep" else 0):
        inner = {"a": inner}
    spec = {"nodeName": "n", "a": inner} if step["text"] == "x" else {"nodeSelector": {"a": text}, "a": inner}
    status = {"conditions": [], "phase": "Running", "measurements": [{}]}
    return {"metadata": metadata, "spec": spec, "data": inner, "status": status}


def taken(store: Store, step: dict[str, Any], version: int) -> None:
    kind, namespace = step["kind"], step["namespace"]
    if step["what"] == "remove":
        store.remove(kind, namespace, step["name"], uid=step["uid"] if step["length"] else "")
    elif step["what"] == "keep only":
        store.keep_only(kind, namespace if step["length"] else "", {(namespace, step["name"])})
    else:
        # A list may bring an older version.
        store.put(
            kind,
            manifest_of(step, version // 2 if step["length"] == 10 else version),
            listed=step["what"] == "relist",
        )


def indexed(held: StoredObjects) -> list[dict[Any, Any]]:
    """The indexes and counts of one kind."""
    parts = (held.content_bytes, held._controlled, held._controlled_bytes, held._labelled, held._on_node)
    return [dict(part) for part in parts]


def counted(kind: str, held: StoredObjects) -> list[dict[Any, Any]]:
    """The same, from the stored objects alone."""
    content, controlled, weights = Counter[str](), Counter[Any](), Counter[Any]()
    labelled: dict[Any, dict[Any, None]] = {}
    on_node: dict[str, set[Any]] = {}
    for name, entry in held.by_name.items():
        if not entry.is_part and kind not in objects.NOT_COUNTED:
            content[name[0]] += len(entry.text)
        if entry.owner_uid and is_read(kind, name[1], entry.owner):
            controlled[name[0], entry.owner_uid] += 1
            weights[name[0], entry.owner_uid] += entry.size
        if entry.owner and is_read(kind, name[1], entry.owner):
            labelled.setdefault((name[0], entry.owner), {})[name] = None
        if entry.node:
            on_node.setdefault(entry.node, set()).add(name)
    return [dict(part) for part in (content, controlled, weights, labelled, on_node)]


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_what_is_counted_is_what_is_stored(steps: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "NAMESPACE_BYTES", 4000)
        patch.setattr(objects, "CHILD_LIMIT", 2)
        patch.setattr(objects, "BYTES_LIMIT", 12_000)
        store, _ = told()
        for version, step in enumerate(steps, start=2):
            taken(store, step, version)
            assert [indexed(held) for held in store._kinds.values()] == [
                counted(kind, held) for kind, held in store._kinds.items()
            ]
            assert max(stored_bytes(store, namespace) for namespace in ("ml", "other")) <= 4000
        for kind in KINDS:
            store.keep_only(kind, "", set())
        assert not any(part for held in store._kinds.values() for part in indexed(held))
