"""How much of a request's body is read, and what it may cost before the request is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from tacho_server import bodies
from tacho_server.bodies import (
    FLOOR_BYTES,
    FLOOR_MEMORY_BYTES,
    PART_BYTES,
    SMALL_MEMORY_BYTES,
    TEXT_FACTOR,
    body_limit_bytes,
    memory_bytes,
)
from tacho_server.schema import ChatRequest, CompletionRequest, Message as ChatMessage, Part, StreamOptions
from tests.unit.server.scripted import Scripted, app_of, client_of, client_to

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def chat_of(size_bytes: int) -> str:
    """A chat whose message has more than its content, which only a template would read."""
    return json.dumps({"messages": [{"role": "user", "content": "x", "more": "u" * size_bytes}]})


async def test_a_body_too_large_is_not_parsed() -> None:
    assert (body_limit_bytes(64), body_limit_bytes(1 << 20)) == (FLOOR_BYTES, 64 << 20)
    large = json.dumps({"prompt": "x" * FLOOR_BYTES}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 100_000):
            yield large[at : at + 100_000]

    backend = Scripted("a")
    async with client_of(backend, api_key="k") as client:
        for content in (large, chunks()):
            headers = {"content-type": "application/json", "authorization": "Bearer k"}
            answer = await client.post(COMPLETIONS, content=content, headers=headers)
            assert answer.status_code == 413
            assert f"larger than {FLOOR_BYTES} bytes" in answer.json()["error"]["message"]
            assert answer.json()["error"]["type"] == "invalid_request_error"
            answer = await client.post(COMPLETIONS, content=large, headers={"authorization": "Bearer no"})
            assert answer.status_code == 401
    assert not backend.tokenizer.encoded


async def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    sent: list[Message] = []
    waits = asyncio.Event()
    first: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Message:
        if first:
            return first.pop()
        await waits.wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": COMPLETIONS, "headers": headers, "query_string": b""}
    async with asyncio.timeout(20):
        await app_of(Scripted("a"))(scope, receive, send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_an_answer_may_take_longer_than_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    backend = Scripted("a")
    backend.gate.clear()
    async with client_of(backend) as client:
        asking = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "hi"}))
        asyncio.get_running_loop().call_later(0.6, backend.gate.set)
        assert (await asking).status_code == 200


async def test_large_bodies_of_many_clients_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "FLOOR_MEMORY_BYTES", TEXT_FACTOR * FLOOR_BYTES)
    monkeypatch.setattr(bodies, "BODIES", 1)
    backend = Scripted("a")
    backend.gate.clear()
    large, small = chat_of(FLOOR_BYTES * 3 // 4), chat_of(SMALL_MEMORY_BYTES // 2 // TEXT_FACTOR)
    headers = {"content-type": "application/json"}
    async with client_of(backend) as client:
        first = asyncio.ensure_future(client.post(CHAT, content=large, headers=headers))
        while not backend.running:
            await asyncio.sleep(0.001)
        refused = await client.post(CHAT, content=large, headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        taken = asyncio.ensure_future(client.post(CHAT, content=small, headers=headers))
        while backend.running < 2:
            await asyncio.sleep(0.001)
        backend.gate.set()
        assert [(await one).status_code for one in (first, taken)] == [200, 200]
        again = await client.post(CHAT, content=large, headers=headers)
        assert again.status_code == 200


def errors_of(kind: type[BaseModel], document: object) -> int:
    try:
        kind.model_validate(document)
    except ValidationError as error:
        return error.error_count()
    return 0


@pytest.mark.parametrize("kind", [CompletionRequest, ChatRequest, ChatMessage, Part, StreamOptions])
def test_the_errors_of_a_body_are_few_however_long_its_lists_and_objects(kind: type[BaseModel]) -> None:
    wrong = [object(), "x", 1, ["x"], [1], [object()], {"x": object()}]
    values: list[object] = [[*[good] * 500, *[bad] * 500] for good in wrong for bad in wrong]
    values += [[one] for one in values] + [{str(at): one for at in range(1000)} for one in wrong]
    documents: list[object] = [{name: value} for name in kind.model_fields for value in values]
    for document in [*documents, *values]:
        assert errors_of(kind, document) < 100, str(document)[:80]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 1 << 16])
def test_the_memory_of_a_body_is_by_its_values_not_by_what_its_texts_hold(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "CHUNK_BYTES", chunk_bytes)
    texts = ["", ",[{", '"', "\\", '\\"', '",{"', "\\\\", 'é"\n,', "\\u0022,"]
    for text in texts:
        document = {"a": [text, 1, {text: [text]}], "b": text}
        for body in (json.dumps(document).encode(), json.dumps(document, ensure_ascii=False).encode()):
            parts = 2 * PART_BYTES[b"{"] + 2 * PART_BYTES[b"["] + 3 * PART_BYTES[b","]
            assert memory_bytes(body) == parts + TEXT_FACTOR * len(body)
    assert memory_bytes(b'["' + b"\\x" * 99) == PART_BYTES[b"["] + TEXT_FACTOR * 200


async def test_a_body_of_very_many_values_is_not_parsed() -> None:
    backend = Scripted("a")
    pair = FLOOR_BYTES // 27 * '{"role":"u","content":""},'
    lists = FLOOR_BYTES // 4 * "[],"
    async with client_of(backend) as client:
        for path, body in (
            (CHAT, f'{{"messages":[{pair[:-1]}]}}'),
            (CHAT, f'{{"messages":[{{"role":"u","content":"","x":[{lists[:-1]}]}}]}}'),
            (COMPLETIONS, f'{{"prompt":[{lists[:-1]}]}}'),
        ):
            answer = await client.post(path, content=body, headers=JSON)
            assert answer.status_code == 413
            assert f"more than {FLOOR_MEMORY_BYTES >> 20} MiB" in answer.json()["error"]["message"]
    assert not backend.tokenizer.encoded


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
async def test_a_body_whose_values_are_hidden_by_its_encoding_is_not_parsed(encoding: str) -> None:
    body = '{"user":"\\"","messages":[{"role":"u","content":""}]}'
    async with client_of(Scripted("a")) as client:
        assert (await client.post(CHAT, content=body.encode(), headers=JSON)).status_code == 200
        answer = await client.post(CHAT, content=body.encode(encoding), headers=JSON)
    assert (answer.status_code, "UTF-8" in answer.text) == (400, True)


async def test_a_large_body_that_is_refused_ends_no_other_that_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "FLOOR_MEMORY_BYTES", TEXT_FACTOR * FLOOR_BYTES)
    monkeypatch.setattr(bodies, "BODIES", 1)
    backend, begun, rest = Scripted("a"), asyncio.Event(), asyncio.Event()
    backend.gate.clear()
    large = chat_of(FLOOR_BYTES * 3 // 4)

    async def slow(body: bytes, first_bytes: int) -> AsyncIterator[bytes]:
        yield body[:first_bytes]
        begun.set()
        await rest.wait()
        yield body[first_bytes:]

    app = app_of(backend)
    async with client_to(app) as client:
        first = asyncio.ensure_future(client.post(CHAT, content=large, headers=JSON))
        while not backend.running:
            await asyncio.sleep(0.001)
        others = []
        for body, first_bytes in ((chat_of(9), 1), (chat_of(SMALL_MEMORY_BYTES), SMALL_MEMORY_BYTES // 2)):
            others.append(
                asyncio.ensure_future(
                    client.post(CHAT, content=slow(body.encode(), first_bytes), headers=JSON)
                )
            )
            await begun.wait()
            begun.clear()
        assert (await client.post(CHAT, content=large, headers=JSON)).status_code == 429
        rest.set()
        backend.gate.set()
        assert [(await one).status_code for one in (first, *others)] == [200, 200, 200]


async def test_a_client_that_stops_in_the_middle_of_large_bodies_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "FLOOR_MEMORY_BYTES", TEXT_FACTOR * FLOOR_BYTES)
    monkeypatch.setattr(bodies, "BODIES", 1)
    large = chat_of(FLOOR_BYTES * 3 // 4).encode()
    sent: list[Message] = []
    waits, stopped = asyncio.Event(), asyncio.Event()
    first: list[Message] = [{"type": "http.request", "body": large[:-9], "more_body": True}]

    async def receive() -> Message:
        if first:
            return first.pop()
        stopped.set()
        await waits.wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
    app = app_of(Scripted("a"))
    async with asyncio.timeout(20), client_to(app) as client:
        stopping = asyncio.ensure_future(app(scope, receive, send))
        await stopped.wait()
        for _ in range(2):
            assert (await client.post(CHAT, content=large, headers=JSON)).status_code == 200
        await stopping
    assert sent[0]["status"] == 429


@pytest.mark.parametrize("more", [{"user": "u" * 600}, {"metadata": {"a": "u" * 600}}])
async def test_what_has_no_effect_is_short(more: dict[str, object]) -> None:
    async with client_of(Scripted("a")) as client:
        assert (await client.post(COMPLETIONS, json={"prompt": "x", **more})).status_code == 400


async def test_the_memory_of_all_bodies_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a context of a million tokens, four of the largest were 2 GiB."""
    gate = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        await gate.wait()

    limit = bodies.BodyLimit(app, lambda: 64)
    most = bodies.memory_limit_bytes(64)
    body = b"[" + b"1," * (most * 2 // 3 // PART_BYTES[b","]) + b"1]"

    async def asked() -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(_message: Message) -> None: ...

        await limit({"type": "http", "headers": []}, receive, send)

    for memory, kept in ((bodies.BODIES_MEMORY_BYTES, 2), (most, 1)):
        monkeypatch.setattr(bodies, "BODIES_MEMORY_BYTES", memory)
        gate.clear()
        tasks = [asyncio.ensure_future(asked()) for _ in range(2)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert sum(task.done() for task in tasks) == 2 - kept
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in results].count(HTTPException) == 2 - kept
        assert limit._memory_bytes == 0
