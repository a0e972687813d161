"""Reads the API server's answers in bounded memory. Of an object that is too long or too deep, only the
metadata is read.

A user's object may be as long as etcd accepts, six times that as JSON, and nested as deeply as the API server
accepts. At most ``LONGEST_BYTES`` of a line or body are kept; the rest is dropped while it arrives.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from tacho_operator.core.types import Manifest

LONGEST_BYTES = 4 << 20
"""Longest object, or page of a list, in bytes of JSON. etcd takes 1.5 MiB; resources are stored as sent."""
EVENT_BYTES = 64 << 10
"""Longest watch event that is parsed as a whole; a reconcile gets the rest of a longer object.

Anyone may change an object of 1 MB twenty times a second, and whole it takes 60 ms each time. Own objects
have about 20 KB.
"""
DEEPEST = 100
"""Deepest nesting of objects and lists that is read. The operator's have about 20; Python fails near 900."""
METADATA_ONLY = "tacho.dev/metadata-only"
"""Key that marks an object of which only the metadata was kept. Its value is the reason; "": a read of this
object alone may succeed.
"""

NESTED = "it is nested too deep"
TOO_LONG = f"it is longer than {LONGEST_BYTES >> 20} MiB as JSON"
_METADATA_DEEPEST = 6
"""Nesting depth of the owner references in a list of objects, the deepest metadata that is needed."""
IN_OBJECT, _IN_EVENT = 2, 3
"""Nesting depth of ``metadata`` in an object, and in a watch event."""
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STEP = re.compile(rb'(?:[^"{}\[\],]++|%b(?::%b,(?="))?+)*+([{}\[\],])' % (_STRING, _STRING), re.DOTALL)
"""Matches everything up to the next bracket or comma outside of strings.

Pairs of strings that another member follows are one step: a user may set thousands of labels and annotations.
"""
_PAIRS = re.compile(rb'(?:%b:%b,(?="))++' % (_STRING, _STRING), re.DOTALL)
"""Matches such pairs at the start of a step: where the text ends in the member after them, they are kept."""
_MEMBERS_DEEPEST = 4
"""Nesting depth of the members of ``metadata`` in a list of objects."""
_METADATA_BEGINS = (b'"metadata":{', b'"metadata": {')
_CLOSERS = {b"{": b"}", b"[": b"]"}
_HEAD = re.compile(
    rb'\s*\{\s*"type":\s*"(ADDED|MODIFIED|DELETED)",\s*"object":\s*\{\s*'
    rb'(?:"(?:kind|apiVersion)":\s*"[^"\\]*",\s*)*"metadata":\s*'
)
"""Matches the beginning of a watch event up to the object's metadata, as the API server writes it."""
_NAME_FIRST = b'{"name":'
"""Beginning of the metadata of a kind of Kubernetes itself; the members of a custom resource are sorted."""
_DECODER = json.JSONDecoder()
_LONG_TEXTS = ThreadPoolExecutor(1, "long text")
"""One thread, as each that computes takes as much of the interpreter's time as the event loop."""


class Chunks(Protocol):
    """A response body that is read while it arrives: each call waits for the next bytes; b"": the end."""

    async def readany(self) -> bytes: ...


class Text(NamedTuple):
    """A line of a watch stream, or a response body, of which only the first LONGEST_BYTES are kept."""

    start: bytes
    """The text, or its first LONGEST_BYTES."""
    length: int
    """Length in bytes up to the line's or the body's end."""
    ended: bool = True
    """Whether the line or body is complete; False: the stream ended in it."""

    @property
    def is_cut(self) -> bool:
        """Whether the text was longer than LONGEST_BYTES, so that its end is missing."""
        return self.length > len(self.start)


class Unreadable(ValueError):
    """A text that is not JSON, or JSON that is too long or nested too deep."""


async def lines(content: Chunks) -> AsyncIterator[Text]:
    """The lines of a response, each cut at LONGEST_BYTES, without empty ones."""
    held, length = bytearray(), 0
    while chunk := await content.readany():
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            held += chunk[start : min(end, start + LONGEST_BYTES - len(held))]
            if length + end - start:
                yield Text(bytes(held), length + end - start)
            held, length, start = bytearray(), 0, end + 1
        held += chunk[start : start + LONGEST_BYTES - len(held)]
        length += len(chunk) - start
    if length:
        yield Text(bytes(held), length, ended=False)


async def body(content: Chunks) -> Text:
    """The body of a response; where it is longer than LONGEST_BYTES, its beginning, and the rest is not
    read."""
    held = bytearray()
    while chunk := await content.readany():
        held += chunk
        if len(held) > LONGEST_BYTES:
            return Text(bytes(held[:LONGEST_BYTES]), len(held))
    return Text(bytes(held), len(held))


def parsed(text: Text) -> Any:
    """The JSON document in ``text``. Raises Unreadable."""
    if text.is_cut:
        raise Unreadable(TOO_LONG)
    with _parsing():
        return json.loads(text.start)


@contextmanager
def _parsing() -> Iterator[None]:
    """Turns the errors of Python's parser into Unreadable."""
    collects = gc.isenabled()
    gc.disable()  # it would look at the new objects again and again, for nine tenths of the time
    try:
        yield
    except RecursionError:
        raise Unreadable(NESTED) from None
    except ValueError as error:  # an integer of thousands of digits too
        raise Unreadable(f"it is not valid JSON: {error}") from None
    finally:
        if collects:
            gc.enable()


def is_deep(document: Any) -> bool:
    """Whether objects or lists are nested deeper than DEEPEST."""
    level = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


async def metadata_part(text: Text, until: int = 0) -> dict[str, Any]:
    """The part of a text that can be parsed: without deep parts, and only up to where it was cut.

    {} if nothing can. ``until``: the nesting depth of ``metadata``, after which the rest is left out. It runs
    in a thread, as a long text may take seconds.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_LONG_TEXTS, _metadata_part, text.start, until)


def _metadata_part(text: bytes, until: int) -> dict[str, Any]:
    kept, closers, depth, position, is_metadata = bytearray(), bytearray(), 0, 0, False
    cut, cut_closers = 0, b""
    while step := _STEP.match(text, position):
        token, shallow = step[1], depth <= _METADATA_DEEPEST
        if token in _CLOSERS:
            if depth <= _MEMBERS_DEEPEST and (pairs := _PAIRS.match(text, position)):
                cut, cut_closers = len(kept) + pairs.end() - 1 - position, bytes(closers)
            depth += 1
            if depth == until:
                is_metadata = step[0].endswith(_METADATA_BEGINS)
            if depth <= _METADATA_DEEPEST:
                kept += step[0]
                closers += _CLOSERS[token]
            elif shallow:
                kept += text[position : step.start(1)] + b"null"
        elif token == b",":
            if shallow:
                kept += text[position : step.start(1)]
                cut, cut_closers = len(kept), bytes(closers)
                kept += token
        else:
            if shallow:
                kept += step[0]
                closers = closers[:-1]
            depth -= 1
            if is_metadata and depth == until - 1:
                cut, cut_closers = len(kept), bytes(closers)
                break
        position = step.end()
    return _object(kept[:cut] + cut_closers[::-1] if closers else kept)


def _object(text: bytearray) -> dict[str, Any]:
    """The JSON object in ``text``; {} where it is none."""
    try:
        found = json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def metadata_only(manifest: Any, why: str) -> dict[str, Any]:
    """The metadata and kind of an object, with ``why`` the rest was left out. Raises Unreadable where it has
    no name or version."""
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    if not isinstance(metadata, dict) or not {"name", "uid", "resourceVersion"} <= metadata.keys():
        raise Unreadable(f"an object without a name that can be read: {why}")
    kept = {key: value for key, value in metadata.items() if key != "managedFields" and value is not None}
    kinds = {key: manifest[key] for key in ("apiVersion", "kind") if key in manifest}
    return {**kinds, "metadata": kept, METADATA_ONLY: why}


def event_head(text: Text) -> dict[str, Any]:
    """A watch event with only the object's metadata parsed, without managedFields. Raises Unreadable."""
    found = _HEAD.match(text.start)
    if found is None:
        raise Unreadable("an event without an object")
    part = _without_fields(text.start, found.end())
    with _parsing():
        try:
            metadata, _ = _DECODER.raw_decode(part.decode(errors="replace"))
        except ValueError:
            # Cut in the owners, which have any length and follow the names: by any other way it takes 100 ms.
            names, owners, _ = part.partition(b',"ownerReferences":[')
            if not owners or not part.startswith(_NAME_FIRST):
                raise
            metadata, _ = _DECODER.raw_decode(f"{names.decode(errors='replace')}}}")
    why = TOO_LONG if text.is_cut else ""
    return {"type": found[1].decode(), "object": metadata_only({"metadata": metadata}, why)}


def _without_fields(text: bytes, start: int) -> bytes:
    """The text from ``start``, where ``metadata`` begins, without managedFields: anyone may fill a megabyte
    with them, of any depth.

    They are the last member, but before the name in a custom resource, whose members are sorted. Fields have
    no lists, and other strings no unescaped quotes, so the end is certain.
    """
    fields = text.find(b'"managedFields":[', start)
    if fields < 0:
        return text[start:]
    if text.startswith(_NAME_FIRST, start):
        return text[start:fields] + b'"managedFields":null}'
    end = text.find(b'],"name":"', fields)
    return text[start:fields] + text[end + 2 :] if end >= 0 else text[start:]


async def readable_event(text: Text, longest: int = LONGEST_BYTES) -> dict[str, Any]:
    """A watch event. An object that is longer than ``longest`` bytes or too deep is reduced to its metadata.

    Raises Unreadable where not even the object's name can be read.
    """
    if text.length > longest:
        with suppress(Unreadable):
            return event_head(text)
    try:
        event = parsed(text)
        what, manifest = event["type"], event["object"]
        if what in ("ERROR", "BOOKMARK"):
            return {
                "type": str(what),
                "object": {**manifest, "metadata": {**(manifest.get("metadata") or {})}},
            }
        metadata_only(manifest, "")
    except Unreadable as error:
        event = await metadata_part(text, until=_IN_EVENT)
        return {"type": event.get("type"), "object": metadata_only(event.get("object"), str(error))}
    except (TypeError, KeyError, AttributeError):
        raise Unreadable("an event without an object") from None
    return {"type": str(what), "object": manifest}


PAGE = 50
"""Most objects per page of a list; fewer where they are long (bounded_reading.LONGEST_BYTES)."""
METADATA_PAGE = 500
"""Most objects per page, where only metadata is requested."""
CROWD = 8
"""Unreadable objects in a namespace after which only metadata of the rest of it is read."""

PageText = Callable[[int, str | None, bool], Awaitable[Text]]
"""Function that reads a page: (number of objects, continue token, whether only metadata) to text."""


class Page(NamedTuple):
    """One page of a list."""

    items: list[Manifest]
    """The objects, with kind and apiVersion added."""
    version: str
    """The list's resourceVersion, from which a watch continues."""
    token: str | None = None
    """Continue token of the next page; None after the last page."""


async def readable_pages(read: PageText, kinds: dict[str, str]) -> AsyncIterator[Page]:
    """The pages of a list. ``kinds``: kind and apiVersion.

    A page that is too long or cannot be parsed is requested again in halves, down to one object. That object
    is read as metadata only, and marked METADATA_ONLY. Pages grow again afterwards. Each such object costs
    two requests, and anyone can create many: after CROWD of them, the rest of their namespace is read as
    metadata only. Raises Unreadable where an answer is no list.
    """
    limit, as_metadata, token = PAGE, False, None
    unreadable: Counter[str] = Counter()
    crowded = ""
    while True:
        text = await read(limit, token, as_metadata)
        try:
            page, is_whole = parsed(text), not as_metadata
        except Unreadable:
            if limit > 1 and (text.is_cut or not as_metadata):
                limit //= 2
                continue
            if not as_metadata:
                as_metadata = True
                continue
            page, is_whole = await metadata_part(text), False
        metadata = (page.get("metadata") if isinstance(page, dict) else None) or {}
        if not metadata.get("resourceVersion"):  # a proxy's page: as an empty list it would end all
            raise Unreadable("an answer that is no list")
        items = _items(kinds, page, whole=is_whole)
        if crowded and (theirs := _beginning(items, crowded)) < len(items):
            # Another namespace begins: what is still theirs is a page of its own, so that a token ends it.
            limit = max(1, theirs)
            as_metadata, crowded = bool(theirs), crowded if theirs else ""
            continue
        token = metadata.get("continue")
        yield Page(items, str(metadata["resourceVersion"]), token)
        if not token:
            return
        if is_whole or crowded:
            limit = min(METADATA_PAGE if as_metadata else PAGE, 2 * limit)
            continue
        unreadable.update(_namespace(item) for item in items)
        crowded = next((name for name, count in unreadable.items() if name and count >= CROWD), "")
        unreadable.pop(crowded, None)
        as_metadata, limit = bool(crowded), METADATA_PAGE if crowded else limit


def _items(kinds: dict[str, str], page: Manifest, *, whole: bool) -> list[Manifest]:
    """The objects of a page; only their metadata where ``whole`` is False."""
    found = []
    for item in page.get("items") or ():
        with suppress(Unreadable):  # without a name: nothing of it can be kept
            found.append({**(item if whole else metadata_only(item, "")), **kinds})
    return found


def _namespace(item: Manifest) -> str:
    return str(item["metadata"].get("namespace", ""))


def _beginning(items: list[Manifest], namespace: str) -> int:
    """How many of the first ``items`` belong to ``namespace``; lists are sorted by namespace."""
    return len(list(takewhile(lambda item: _namespace(item) == namespace, items)))
