"""Whatever the API server sends is read within bounds: as it is, as its metadata, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, strategies as st

from tacho_operator.core.names import DEPLOYMENT_LABEL
from tacho_operator.shell import bounded_reading
from tacho_operator.shell.api_errors import Expired
from tacho_operator.shell.bounded_reading import (
    EVENT_BYTES,
    METADATA_ONLY,
    Text,
    Unreadable,
    lines,
    metadata_part,
    parsed,
    readable_event,
)
from tacho_operator.shell.kube import Kube, connect
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tests.wiring.api_double import UNREADABLE
from tests.wiring.test_kube import Watching, kubeconfig, listed

LONG = 300
"""LONGEST_BYTES in these tests."""
REPOSITORY = Path(__file__).parents[2]


class Drawn:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = list(chunks)

    async def readany(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


@given(st.lists(st.binary(min_size=1, max_size=2 * LONG) | st.sampled_from([b"\n", b"{}\n", b"x" * LONG])))
def test_lines_are_the_same_in_any_chunks_and_none_is_held_beyond_the_limit(chunks: list[bytes]) -> None:
    async def read() -> list[Text]:
        return [line async for line in lines(Drawn(chunks))]

    with patch.object(bounded_reading, "LONGEST_BYTES", LONG):
        found = asyncio.run(read())
    *ended, rest = b"".join(chunks).split(b"\n")
    expected = [(line[:LONG], len(line), True) for line in ended if line]
    assert found == expected + ([(rest[:LONG], len(rest), False)] if rest else [])


VALUES = st.one_of(
    st.integers(0, 4000).map(lambda depth: "[" * depth + "]" * depth if depth else "0"),
    st.integers(0, 4000).map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
    st.integers(1, 6000).map(lambda digits: "1" * digits),
    st.text(max_size=2 * LONG).map(json.dumps),
    st.recursive(
        st.none() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
    ).map(json.dumps),
)
METADATA = {"name": "a", "namespace": "ml", "uid": "u", "resourceVersion": "8"}


@given(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), VALUES, st.integers(0, 4 * LONG))
def test_an_event_is_read_whole_or_by_its_metadata(what: str, value: str, length: int) -> None:
    metadata = f'{json.dumps(METADATA)[:-1]}, "managedFields": [{value}]}}'
    text = (
        f'{{"type":"{what}","object":{{"kind":"ConfigMap","metadata":{metadata},"data":{value}}}}}'.encode()
    )
    line = Text(text[: max(length, LONG)], len(text))
    event = asyncio.run(readable_event(line))
    found = event["object"]["metadata"]
    assert event["type"] == what
    assert {key: found[key] for key in METADATA} == METADATA
    if METADATA_ONLY in event["object"]:
        assert event["object"].keys() == {"kind", "metadata", METADATA_ONLY}
    else:
        assert event == json.loads(text)


@given(st.binary(max_size=LONG) | VALUES.map(str.encode), st.integers(0, LONG), st.booleans())
def test_what_is_no_event_is_unreadable_and_nothing_else(text: bytes, cut: int, is_event: bool) -> None:
    if is_event:
        text = b'{"type":"ADDED","object":' + text + b"}"
    with contextlib.suppress(Unreadable):
        event = asyncio.run(readable_event(Text(text[: len(text) - cut], len(text))))
        assert event["type"] in ("ERROR", "BOOKMARK") or event["object"]["metadata"]["name"]


def long_event(**metadata: Any) -> bytes:
    manifest = {"kind": "ConfigMap", "metadata": METADATA | metadata, "data": {"a": "x" * (64 << 10)}}
    return json.dumps({"type": "MODIFIED", "object": manifest}, separators=(",", ":")).encode() + b"\n"


OWNED = {"labels": {DEPLOYMENT_LABEL: "smol"}, "ownerReferences": [{"uid": "o", "controller": True}]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"annotations": {"note": "{,[" * 20_000}},
        {"managedFields": [{"fieldsV1": {"f:data": {f"f:{number}": {} for number in range(20_000)}}}]},
    ],
    ids=["data", "annotation", "managedFields"],
)
async def test_of_a_long_event_the_metadata_is_read_and_nothing_else(more: dict[str, Any]) -> None:
    watches = (
        ("Pod", DEPLOYMENT_LABEL, True),
        ("LLMDeployment", "", True),
        ("PersistentVolumeClaim", "", True),
        ("Node", "", False),
    )
    for kind, selector, is_part in watches:
        async with Kube(Watching(long_event(**OWNED, **more))).watch(kind, "ml", selector, "7") as events:
            _, found = await anext(events)
        assert (METADATA_ONLY in found, "data" in found) == (is_part, not is_part)
        assert found.get(METADATA_ONLY, "") == "", "it may be read by itself"
        assert METADATA | OWNED | more == {**found["metadata"]} | more


async def test_a_short_child_is_read_whole_and_a_crowd_of_labels_by_its_metadata() -> None:
    event = json.loads(long_event(**OWNED))
    event["object"]["data"] = {"a": "x"}
    text = json.dumps(event).encode()
    assert await readable_event(Text(text, len(text)), EVENT_BYTES) == event
    labels = {f"a{number}": "" for number in range(50_000)}
    text = long_event(labels=labels)
    found = (await readable_event(Text(text, len(text)), EVENT_BYTES))["object"]["metadata"]
    assert METADATA.items() <= found.items()


async def test_the_metadata_of_a_custom_resource_is_found_behind_its_deep_fields() -> None:
    deep = '{"f:a":' * 3000 + "1" + "}" * 3000
    text = f'{{"metadata":{{"managedFields":[{{"fieldsV1":{deep}}}],"name":"a"}},"spec":{{}}}}'.encode()
    found = await metadata_part(Text(text, len(text)))
    assert found["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    "text", ["{" + ",".join(f'"{n}":{{}}' for n in range(50_000)) + "}", "[" * 5000, "x"]
)
def test_no_garbage_is_collected_while_an_object_is_read(text: str) -> None:
    """It made 1.2 MB of fields take 300 ms instead of 50, at each change of a resource."""
    runs: list[str] = []

    def count(phase: str, _: dict[str, int]) -> None:
        runs.append(phase)

    gc.callbacks.append(count)
    try:
        with contextlib.suppress(Unreadable):
            parsed(Text(text.encode(), len(text)))
    finally:
        gc.callbacks.remove(count)
    assert len(runs) <= 4
    assert gc.isenabled()


def claim(length: int) -> bytes:
    """A claim without labels, whose owner's name is 700 KB of characters that are six bytes each in JSON."""
    return (
        b'{"kind":"PersistentVolumeClaim","apiVersion":"v1","metadata":{"name":"x","namespace":"ml","uid":"u",'
        b'"resourceVersion":"9","creationTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"apiVersion":'
        b'"v1","kind":"Pod","name":"' + b"\\u003c" * length + b'","uid":"q"}]}}'
    )


async def test_an_object_whose_first_member_after_its_names_is_cut_is_known_by_name() -> None:
    """The event of a claim was unreadable: all claims were listed anew, and no resource was reconciled
    meanwhile.
    """
    line = b'{"type":"MODIFIED","object":' + claim(700_000) + b"}"
    event = await readable_event(Text(line[: bounded_reading.LONGEST_BYTES], len(line)))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("MODIFIED", "x")
    assert event["object"]["metadata"]["resourceVersion"] == "9"
    page = b'{"kind":"L","metadata":{"resourceVersion":"7","continue":"T"},"items":[' + claim(700_000) + b"]}"
    found = await metadata_part(Text(page[: bounded_reading.LONGEST_BYTES], len(page)))
    assert [item["metadata"]["uid"] for item in found["items"]] == ["u"]
    assert found["metadata"]["continue"] == "T"


async def test_an_event_whose_owners_are_cut_is_read_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 100 ms each, ten such events a second were more than a watch could follow: it was ever further
    behind.
    """

    async def slow(*_: Any) -> dict[str, Any]:
        raise AssertionError("it takes long")

    monkeypatch.setattr(bounded_reading, "metadata_part", slow)
    line = b'{"type":"MODIFIED","object":' + claim(700_000) + b"}"
    event = await readable_event(Text(line[: bounded_reading.LONGEST_BYTES], len(line)), EVENT_BYTES)
    found = event["object"]["metadata"]
    assert (found["name"], found["uid"], "ownerReferences" in found) == ("x", "u", False)
    assert event["object"][METADATA_ONLY], "it is longer than what is read by itself"


async def test_an_event_of_an_unknown_object_means_a_new_list_and_no_end() -> None:
    kube = Kube(Watching(b'{"type":"ADDED","object":' + b"[" * 5000 + b"\n"))
    async with kube.watch("Pod", "ml", "a", "7") as events:
        with pytest.raises(Expired):
            await anext(events)


class Lists:
    """An API server of ConfigMaps, some of which cannot be read."""

    def __init__(
        self, count: int, unreadable: dict[int, str], namespace: Callable[[int], str] = lambda _: "ml"
    ) -> None:
        self._namespace = namespace
        self.objects = [self._object(number, unreadable.get(number, "0")) for number in range(count)]
        self.asked: list[tuple[int, bool]] = []

    def _object(self, number: int, value: str) -> tuple[str, str]:
        place = {"name": f"c{number:03}", "namespace": self._namespace(number), "uid": f"u{number}"}
        metadata = json.dumps({**METADATA, **place})
        return f'{{"metadata":{metadata},"data":{{"a":{value}}}}}', f'{{"metadata":{metadata}}}'

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(600)
        alone = "PartialObjectMetadata" in request.headers["Accept"]
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        self.asked.append((limit, alone))
        end = start + limit
        token = f',"continue":"{end}"' if end < len(self.objects) else ""
        texts = (texts[alone] for texts in self.objects[start:end])
        body = f'{{"metadata":{{"resourceVersion":"9"{token}}},"items":[{",".join(texts)}]}}'
        return web.Response(text=body, content_type="application/json")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_route("GET", "/{path:.*}", self.answer)
        async with TestServer(application) as server:
            yield str(server.make_url("/"))


@pytest.mark.parametrize("how", UNREADABLE)
async def test_of_a_page_that_cannot_be_read_one_object_is_read_as_metadata(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_reading, "PAGE", 8)
    lists = Lists(20, {9: UNREADABLE[how]})
    async with lists.serving() as url, connect(kubeconfig(tmp_path, url)) as kube:
        found = await listed(kube, "ConfigMap")
    assert [item["metadata"]["name"] for item in found] == [f"c{number:03}" for number in range(20)]
    assert [item["metadata"]["name"] for item in found if METADATA_ONLY in item] == ["c009"]
    whole = (8, 8, 4, 2, 1, 2, 1)
    assert lists.asked[:8] == [*((limit, False) for limit in whole), (1, True)]
    assert lists.asked[8:] == [(limit, False) for limit in (1, 2, 4, 8)], "pages grow again"


@pytest.mark.parametrize("every", [1, 2])
async def test_a_namespace_full_of_them_costs_a_request_a_page_and_no_other_namespace(
    every: int, tmp_path: Path
) -> None:
    """2,000 of them cost 4,000 requests. ``every``: so many is one that cannot be read."""
    theirs = range(100, 2100)
    unreadable = dict.fromkeys(range(100, 2100, every), UNREADABLE["deep"])
    lists = Lists(2300, unreadable, lambda number: "evil" if number in theirs else f"ml{number // 2100}")
    async with lists.serving() as url, connect(kubeconfig(tmp_path, url)) as kube:
        found = await listed(kube, "ConfigMap")
    assert [item["metadata"]["uid"] for item in found] == [f"u{number}" for number in range(2300)]
    alone = {item["metadata"]["namespace"] for item in found if METADATA_ONLY in item}
    assert alone == {"evil"}
    assert len(lists.asked) < 60


async def test_a_full_namespace_is_forgotten_once_it_is_read(tmp_path: Path) -> None:
    """Else each later object that cannot be read costs a request for a page of that namespace."""
    unreadable = dict.fromkeys([*range(10), 60, 62], UNREADABLE["deep"])
    lists = Lists(64, unreadable, lambda number: "a" if number < 50 else "b")
    async with lists.serving() as url, connect(kubeconfig(tmp_path, url)) as kube:
        found = await listed(kube, "ConfigMap")
    assert len(found) == 64
    assert lists.asked.count((bounded_reading.METADATA_PAGE, True)) == 1


PEAK = """
import asyncio, re, sys
from pathlib import Path
from tacho_operator.shell.kube import connect
from tacho_operator.shell.store.reflector import Reflector, WatchScope
from tacho_operator.shell.store.store import Store

async def main():
    store = Store(lambda change: None)
    async with connect(sys.argv[1]) as kube:
        scope = WatchScope("ConfigMap")
        stream = Reflector(kube, store, scope, lists=asyncio.Semaphore(1), on_reconnect=lambda *_: None)
        task = asyncio.create_task(stream.run())
        while store.stale():
            await asyncio.sleep(0.05)
        task.cancel()
    peak_kib = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    print(store.size("ConfigMap"), int(peak_kib) // 1024)

asyncio.run(main())
"""


async def test_thirty_objects_of_a_megabyte_of_escapes_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Whole, in one page of today's JSON, they took more than 500 MiB."""
    lists = Lists(30, dict.fromkeys(range(30), '"' + "\\u003c" * 1_000_000 + '"'))
    async with lists.serving() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PEAK, kubeconfig(tmp_path, url),
            stdout=subprocess.PIPE, cwd=REPOSITORY,
        )  # fmt: skip
        told, _ = await process.communicate()
    count, peak_mib = map(int, told.split())
    assert count == 30
    assert peak_mib < 150


def test_what_is_held_of_anothers_objects_is_whose_they_are() -> None:
    store = Store(lambda change: None)
    owner = {"kind": "LLMDeployment", "name": "smol", "uid": "u-smol", "controller": True}
    metadata: dict[str, Any] = {
        **METADATA,
        "name": "smol-live",
        "labels": {"tacho.dev/deployment": "smol", "mine": "x" * 63},
        "annotations": {"note": "x" * 200_000},
        "managedFields": [{"manager": "me"}],
        "ownerReferences": [owner],
    }
    manifest = {"metadata": metadata, "data": {"a": "x" * 1000}}
    key = Key("ml", "smol")
    store.put("ConfigMap", manifest)
    (found,) = store.children("ConfigMap", key)
    assert "data" not in found
    assert found["metadata"].keys() == {*METADATA, "labels", "ownerReferences"}
    assert found["metadata"]["labels"] == {"tacho.dev/deployment": "smol"}
    store.put("LLMDeployment", {"metadata": {**METADATA, "name": "smol", "uid": "u-smol"}, "spec": {}})
    store.put("ConfigMap", manifest)
    (found,) = store.children("ConfigMap", key)
    assert found["data"] == manifest["data"], "its owner is held"
    forged = {
        **metadata,
        "uid": "u2",
        "resourceVersion": "9",
        "ownerReferences": [{**owner, "uid": "u-former"}],
    }
    store.put("ConfigMap", {**manifest, "metadata": forged})
    (found,) = store.children("ConfigMap", key)
    assert "data" not in found, "an owner of that name is held, of another uid"
    store.put("Pod", {**manifest, "spec": {}, "status": {}})
    (found,) = store.children("Pod", key)
    assert "annotations" not in found["metadata"]


@pytest.mark.parametrize("many", ["labels", "annotations", "ownerReferences"])
async def test_a_long_child_stays_its_owners_however_many_it_has_of(many: str) -> None:
    """A Service whose owner is not seen is none of the resource's, and nobody sees where it leads."""
    owner = {"kind": "LLMDeployment", "name": "smol", "uid": "u-smol", "controller": True}
    own: dict[str, Any] = {
        "labels": {"tacho.dev/deployment": "smol"},
        "annotations": {"note": "x"},
        "ownerReferences": [owner],
    }
    if many == "ownerReferences":
        others = [{"apiVersion": "a/v1", "kind": "K", "name": f"n{item}", "uid": "u"} for item in range(2000)]
        own[many] = [*others, owner]
    else:
        own[many] = {**{f"a-{item:04}": "x" * 40 for item in range(2000)}, **own[many]}
    event = {"type": "MODIFIED", "object": {"kind": "Service", "metadata": {**METADATA, **own}, "spec": {}}}
    text = json.dumps(event, separators=(",", ":")).encode()
    assert len(text) > EVENT_BYTES
    found = (await readable_event(Text(text, len(text)), EVENT_BYTES))["object"]["metadata"]
    assert found["labels"]["tacho.dev/deployment"] == "smol"
    assert found["ownerReferences"][-1] == owner
