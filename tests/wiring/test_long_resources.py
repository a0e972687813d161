"""A long event of an LLMDeployment costs the event loop little, and loses nothing that the store knew."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import patch

import pytest

from tacho_operator.api.conditions import Reason
from tacho_operator.core.types import Observed
from tacho_operator.shell import bounded_reading
from tacho_operator.shell.bounded_reading import EVENT_BYTES, METADATA_ONLY, Text, readable_event
from tacho_operator.shell.fleet import priority
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.observe import Observer, UndecidedResource
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store.store import Store, StoreChange
from tacho_operator.shell.workqueue import Key, Priority
from tools.harness.resources import CLAIM_SPEC, raw_resource

KEY = Key("ml", "smol")
MANY = ",".join(['{"fieldsV1":{"f:a":{},"f:b":{}}}'] * 3000)
DEEP = '{"manager":"],\\"name\\":\\"c\\"","fieldsV1":' + '{"f:a":' * 3000 + "{}" + "}" * 3000 + "}"
BEFORE = '"annotations":{"a":"],\\"name\\":\\"b\\""},"generation":1,'
NAMES = '"name":"a","namespace":"ml","resourceVersion":"8","uid":"u"'


@pytest.mark.parametrize(
    "fields",
    [f'"managedFields":[{DEEP}],', f'"managedFields":[{MANY}],', ""],
    ids=["deep", "many", "none"],
)
@pytest.mark.parametrize("value", ['"x"', '{"managedFields":[{"a":[1],"name":"d"}]}'])
async def test_the_names_behind_the_fields_of_a_custom_resource_are_read(fields: str, value: str) -> None:
    """A megabyte of fields was parsed at each change, or walked through: 60 to 160 ms."""
    spec = f'{{"a":{value},"long":"{"x" * EVENT_BYTES}"}}'
    manifest = f'{{"apiVersion":"a/v1","kind":"L","metadata":{{{BEFORE}{fields}{NAMES}}},"spec":{spec}}}'
    text = f'{{"type":"MODIFIED","object":{manifest}}}'.encode()
    with patch.object(bounded_reading, "metadata_part", None), patch.object(bounded_reading, "parsed", None):
        found = await readable_event(Text(text, len(text)), EVENT_BYTES)
    assert found["type"] == "MODIFIED"
    names = {"name": "a", "namespace": "ml", "resourceVersion": "8", "uid": "u"}
    assert found["object"]["metadata"] == {"annotations": {"a": '],"name":"b"'}, "generation": 1, **names}


class Live:
    """An API server with one resource, or none."""

    def __init__(self, raw: dict[str, Any] | None) -> None:
        self.raw = raw
        self.asked = 0

    async def get(self, kind: str, *_: Any) -> dict[str, Any] | None:
        assert kind == "LLMDeployment"
        self.asked += 1
        return self.raw


def serving(version: str, **more: Any) -> dict[str, Any]:
    found = raw_resource(CLAIM_SPEC, resourceVersion=version, **more)
    ready = {"type": "Ready", "status": "True", "reason": Reason.SERVING, "message": "1 of 1."}
    ready["lastTransitionTime"] = "2026-11-20T11:00:00Z"
    found["status"] = {"observedGeneration": 1, "readyReplicas": 1, "conditions": [ready]}
    return found


def long(raw: dict[str, Any]) -> dict[str, Any]:
    """As a long event is read."""
    return {"metadata": raw["metadata"], METADATA_ONLY: ""}


async def observed(store: Store, live: Live) -> Observed | None:
    observer = Observer(cast(Kube, live), store, Reports(late=lambda key: None))
    return await observer.observe(KEY)


async def test_a_long_event_of_a_resource_is_read_at_the_next_decision_and_changes_no_priority() -> None:
    changes: list[StoreChange] = []
    store = Store(changes.append)
    store.put("LLMDeployment", serving("8"))
    changed = serving("9")
    changed["spec"]["replicas"] = 3
    store.put("LLMDeployment", long(changed))
    assert len(changes) == 2, "it is reconciled"
    assert priority(store, KEY) == Priority.SERVES
    live = Live(changed)
    found = await observed(store, live)
    assert found is not None
    assert (found.resource.spec.replicas, found.resource.status.ready_replicas) == (3, 1)
    await observed(store, live)
    assert live.asked == 1, "it is held now"
    store.put("LLMDeployment", long(serving("10")))
    unchanged = Live({**changed, "metadata": {**changed["metadata"], "resourceVersion": "10"}})
    for _ in range(2):
        await observed(store, unchanged)
    assert unchanged.asked == 1, "the same content counts for the later version"


async def test_a_long_resource_that_is_gone_is_not_decided_and_its_successor_is_new() -> None:
    store = Store(lambda change: None)
    store.put("LLMDeployment", serving("8"))
    store.put("LLMDeployment", long(serving("9")))
    assert await observed(store, Live(None)) is None
    store.put("LLMDeployment", long(serving("10", uid="another")))
    assert priority(store, KEY) == Priority.NEW
    assert (store.resource(KEY) or {}).keys().isdisjoint({"spec", "status"})


async def test_a_resource_that_became_unreadable_is_not_decided_by_what_it_was() -> None:
    """Its status is not written: an apply by an old status would lose the present one."""
    store = Store(lambda change: None)
    store.put("LLMDeployment", serving("8"))
    unreadable = {"metadata": serving("9")["metadata"], METADATA_ONLY: "it is nested too deep"}
    store.put("LLMDeployment", unreadable)
    with pytest.raises(UndecidedResource, match="nested") as undecided:
        await observed(store, Live(unreadable))
    assert "spec" not in undecided.value.found.raw


def test_a_claim_keeps_its_access_modes_after_a_long_event() -> None:
    """Without them a claim of one node would limit no replicas, until the next list."""
    store = Store(lambda change: None)
    claim = {"metadata": {"name": "models", "namespace": "ml", "uid": "c", "resourceVersion": "8"}}
    store.put("PersistentVolumeClaim", {**claim, "spec": {"accessModes": ["ReadWriteOnce"]}})
    later = {"metadata": {**claim["metadata"], "resourceVersion": "9"}}
    store.put("PersistentVolumeClaim", {**later, METADATA_ONLY: ""})
    found = store.claim("ml", "models") or {}
    assert found["spec"] == {"accessModes": ["ReadWriteOnce"]}
    assert found["metadata"]["resourceVersion"] == "9"
    another = {"metadata": {**later["metadata"], "uid": "d", "resourceVersion": "10"}, METADATA_ONLY: ""}
    store.put("PersistentVolumeClaim", another)
    assert "spec" not in (store.claim("ml", "models") or {})
