"""What is too long or nested too deep is skipped, counted and named; the rest is read."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tacho_operator.shell import guard
from tacho_operator.shell.guard import DEEPEST, NESTED, TOO_LONG, Cut, Page, Unreadable, pages, parsed

KINDS = {"kind": "ConfigMap", "apiVersion": "v1"}


class Chunks:
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = [*chunks]

    async def readany(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


async def read_lines(*chunks: bytes) -> list[bytes | None]:
    return [line async for line in guard.lines(Chunks(*chunks))]


async def test_lines_come_whole_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LONGEST_BYTES", 10)
    assert await read_lines(b"one\ntw", b"o\n\n", b"th", b"ree\n") == [b"one", b"two", b"three"]
    assert await read_lines(b"x" * 8, b"x" * 8, b"\nnext\n") == [None, b"next"]
    assert await read_lines(b"x" * 11 + b"\n") == [None]
    assert await read_lines(b"x" * 10 + b"\n") == [b"x" * 10]
    for left in (b"half", b"x" * 20):
        with pytest.raises(Cut):
            await read_lines(b"one\n", left)


async def test_a_body_that_is_too_long_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LONGEST_BYTES", 10)
    assert await guard.body(Chunks(b"12345", b"67890")) == b"1234567890"
    rest = Chunks(b"x" * 11, b"never")
    with pytest.raises(Unreadable, match=re.escape(TOO_LONG)):
        await guard.body(rest)
    assert await rest.readany() == b"never"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (deep(DEEPEST + 1), NESTED),
        (deep(3_000), NESTED),
        (b"[" * 100_000, "."),
        (b"{", "not valid JSON"),
        (b"1" * 5_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
    ],
)
def test_what_cannot_be_read_says_why(text: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parsed(text)
    assert parsed(deep(DEEPEST - 1))


class Server:
    """Lists objects, in pages and with continue tokens as the API server does."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.items, self.requests = items, []  # type: ignore[var-annotated]  # of tuples
        self.skipped: list[tuple[str, str, str]] = []

    async def _read(self, limit: int, token: str | None, is_head: bool) -> bytes:
        start = int(token or 0)
        self.requests.append((limit, start, is_head))
        found, end = self.items[start : start + limit], start + limit
        metadata = {"resourceVersion": "7", **({"continue": str(end)} if end < len(self.items) else {})}
        kept = [{"kind": "P", "metadata": item["metadata"]} for item in found] if is_head else found
        text = json.dumps({"metadata": metadata, "items": kept}, separators=(",", ":")).encode()
        if not is_head and len(text) > guard.LONGEST_BYTES:
            raise Unreadable(TOO_LONG)
        return text[: guard.HEAD_BYTES] if is_head else text

    async def pages(self) -> AsyncIterator[Page]:
        async for page in pages(self._read, KINDS, lambda *what: self.skipped.append(what)):
            yield page

    async def names(self) -> list[str]:
        return [item["metadata"]["name"] async for page in self.pages() for item in page.items]


def thing(name: str, **content: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **content}


@pytest.mark.parametrize("bad", ["long", "deep"])
@pytest.mark.parametrize("place", [0, 60, 119])
async def test_a_list_goes_on_after_an_object_that_cannot_be_read(
    bad: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LONGEST_BYTES", 20_000)
    content = "x" * 20_000 if bad == "long" else json.loads(deep(DEEPEST + 1))
    items = [thing(f"n{number}") for number in range(120)]
    items[place] = thing("bad", data=content)
    server = Server(*items)
    assert await server.names() == [f"n{number}" for number in range(120) if number != place]
    assert server.skipped == [("ConfigMap", "bad", TOO_LONG if bad == "long" else NESTED)]


async def test_a_list_of_readable_objects_takes_one_request_a_page() -> None:
    server = Server(*(thing(f"n{number}") for number in range(120)))
    assert len(await server.names()) == 120
    assert [limit for limit, *_ in server.requests] == [50, 50, 50]
    assert server.skipped == []


@pytest.mark.parametrize("text", [b"<html>", b"{}", b"[]", b'{"items":[]}'])
async def test_an_answer_that_is_no_list_is_not_an_empty_one(text: bytes) -> None:
    async def read(*_: object) -> bytes:
        return text

    with pytest.raises(Unreadable, match="no list"):
        [page async for page in pages(read, KINDS, lambda *_: None)]


def test_the_guard_is_one_short_file() -> None:
    assert len(Path(guard.__file__).read_text().splitlines()) <= 150
