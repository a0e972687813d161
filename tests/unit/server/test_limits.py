"""What one client may ask without the others noticing: templates, sizes, places."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from starlette.types import Message

from tacho_server import app as app_module, service
from tacho_server.app import FLOOR_BYTES, body_limit_bytes
from tacho_server.text import HuggingFaceTokenizer
from tests.unit.server.scripted import Letters, Scripted, app_of, client_of, client_to

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"chat_template": "{% for i in range(99999) %}{% endfor %}"}, "'chat_template' is not a variable"),
        ({"thoughts": ["a"]}, "'thoughts' must be text, a number, true, false or null"),
        ({"thoughts": {"a": 1}}, "'thoughts' must be text"),
    ],
)
async def test_clients_set_variables_of_the_template_and_nothing_else(
    variables: dict[str, object], words: str
) -> None:
    async with client_of(Scripted("a")) as client:
        refused = await client.post(CHAT, json={**HELLO, "chat_template_kwargs": variables})
        free = {"enable_thinking": False, "effort": "low", "depth": 1, "share": 0.5, "none": None}
        taken = await client.post(CHAT, json={**HELLO, "chat_template_kwargs": free})
    assert (refused.status_code, taken.status_code) == (400, 200)
    assert words in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "chat_template_kwargs"


class Base:
    """As transformers has it: the method takes what steers it by name, and hands on the rest."""

    chat_template = "x"

    def __call__(self, text: str, **_options: object) -> dict[str, list[int]]:
        return {"input_ids": [len(text)]}

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        tools: object = None,
        chat_template: str | None = None,
        tokenize: bool = True,
        **kwargs: object,
    ) -> str:
        return f"{len(conversation)} {tools} {chat_template} {tokenize} {kwargs}"


class Derived(Base):
    """Of a model's own code."""

    def apply_chat_template(self, *arguments: Any, **kwargs: Any) -> str:
        return super().apply_chat_template(*arguments, **kwargs)


@pytest.mark.parametrize("kind", [Base, Derived])
def test_names_of_the_library_are_reserved(kind: type[Base]) -> None:
    reserved = HuggingFaceTokenizer(kind()).reserved
    assert reserved >= {"self", "conversation", "tools", "chat_template", "tokenize"}
    assert not reserved & {"kwargs", "enable_thinking"}


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (COMPLETIONS, {"prompt": "hi"})])
async def test_a_slow_template_or_tokenizer_does_not_hold_up_the_others(
    path: str, body: dict[str, object]
) -> None:
    backend = Scripted("a")
    backend.tokenizer.open.clear()
    async with client_of(backend) as client:
        slow = asyncio.ensure_future(client.post(path, json=body))
        while not backend.tokenizer.encoded:
            await asyncio.sleep(0.001)
        assert (await client.get("/health")).status_code == 200
        assert not slow.done()
        assert not backend.seen
        backend.tokenizer.open.set()
        assert (await slow).status_code == 200


TEMPLATE = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
"""Of a model: it takes half an hour."""


async def test_a_template_that_loops_ends_and_the_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "TEXT_SECONDS", 0.4)
    backend = Scripted("a")
    template = ImmutableSandboxedEnvironment().from_string(TEMPLATE)

    def chat(_messages: object, _options: object) -> list[int]:
        return [len(template.render())]

    monkeypatch.setattr(backend.tokenizer, "chat", chat)
    async with client_of(backend) as client:
        asked = [client.post(CHAT, json=HELLO) for _ in range(2)]
        *refused, taken = await asyncio.gather(*asked, client.post(COMPLETIONS, json={"prompt": "x"}))
        assert [answer.status_code for answer in refused] == [400, 400]
        assert "took longer than" in refused[0].json()["error"]["message"]
        assert taken.status_code == 200
        assert (await client.get("/health")).status_code == 200


async def test_a_tokenizer_that_nothing_ends_is_an_engine_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "TEXT_SECONDS", 0.05)
    backend = Scripted("a")
    backend.tokenizer.open.clear()  # a lock is waited for in C
    async with client_of(backend) as client:
        slow = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "x"}))
        while (answer := await client.get("/health")).status_code == 200:
            await asyncio.sleep(0.01)
        assert "the tokenizer has not returned" in answer.json()["error"]["message"]
        assert (await client.post(COMPLETIONS, json={"prompt": "x"})).status_code == 503
        backend.tokenizer.open.set()
        assert (await slow).status_code == 400
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "body", [{"prompt": ["x"] * 5}, {"prompt": "x", "n": 5}, {"prompt": [[1]] * 3, "n": 2}]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_more_sequences_than_ever_fit_is_the_clients_error(
    body: dict[str, object], stream: bool
) -> None:
    backend = Scripted("a")
    async with client_of(backend, max_requests=4) as client:
        refused = await client.post(COMPLETIONS, json={**body, "stream": stream})
    assert refused.status_code == 400
    assert "at most 4 are admitted" in refused.json()["error"]["message"]
    assert "retry-after" not in refused.headers
    assert not backend.tokenizer.encoded, "refused before it costs anything"


async def test_an_answer_names_so_many_log_probabilities_of_given_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are named in the loop of all requests."""
    monkeypatch.setattr(service, "SCORED_LIMIT", 30)
    asked = {"echo": True, "logprobs": 2, "max_tokens": 0}
    async with client_of(Scripted("a")) as client:
        taken = await client.post(COMPLETIONS, json={**asked, "prompt": ["x" * 5, "y" * 5]})
        refused = await client.post(COMPLETIONS, json={**asked, "prompt": ["x" * 5, "y" * 6]})
    assert (taken.status_code, refused.status_code) == (200, 400)
    assert "33 log-probabilities" in refused.json()["error"]["message"]


async def test_a_full_server_refuses_before_it_tokenizes() -> None:
    backend = Scripted("a")
    backend.gate.clear()
    async with client_of(backend, max_requests=1) as client:
        first = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "x"}))
        while not backend.running:
            await asyncio.sleep(0.001)
        assert (await client.post(COMPLETIONS, json={"prompt": "y"})).status_code == 429
        backend.gate.set()
        await first
    assert backend.tokenizer.encoded[0] == "x"
    assert "y" not in backend.tokenizer.encoded


async def test_a_bad_request_gives_its_place_back() -> None:
    async with client_of(Scripted("a"), max_requests=1) as client:
        for _ in range(2):
            assert (await client.post(COMPLETIONS, json={"prompt": ""})).status_code == 400
        assert (await client.post(COMPLETIONS, json={"prompt": "x"})).status_code == 200


async def test_a_stream_has_its_place_before_the_first_chunk_and_gives_it_back_unread() -> None:
    app = app_of(Scripted("a"), max_requests=1)
    answering, leave = asyncio.Event(), asyncio.Event()
    body = json.dumps({"prompt": "x", "stream": True}).encode()
    asked = iter([{"type": "http.request", "body": body}])

    async def receive() -> Message:
        if (message := next(asked, None)) is not None:
            return message
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        answering.set()
        await leave.wait()
        raise OSError("the client has gone")

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": COMPLETIONS, "headers": headers, "query_string": b""}
    unread = asyncio.ensure_future(app({**scope, "asgi": {"spec_version": "2.4"}}, receive, send))
    await answering.wait()
    async with client_to(app) as client:
        for stream in (False, True):
            refused = await client.post(COMPLETIONS, json={"prompt": "y", "stream": stream})
            assert refused.status_code == 429
        leave.set()
        await asyncio.gather(unread, return_exceptions=True)
        assert (await client.post(COMPLETIONS, json={"prompt": "y"})).status_code == 200


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


class Utf8(Letters):
    """Encodes no more than what has bytes, as real ones do."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


HALF = "\ud83d"
"""Of a surrogate pair; JSON can write it, UTF-8 cannot."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETIONS, {"prompt": f"x{HALF}"}),
        (COMPLETIONS, {"prompt": ["x", HALF]}),
        (COMPLETIONS, {"prompt": "x", HALF: 1}),
        (COMPLETIONS, {"prompt": "x", "model": HALF}),
        (CHAT, {"messages": [{"role": "user", "content": HALF}]}),
        (CHAT, {"messages": [{"role": "user", "content": "x", "name": HALF}]}),
        (CHAT, {**HELLO, "chat_template_kwargs": {"date": HALF}}),
        (CHAT, {**HELLO, "chat_template_kwargs": {HALF: 1}}),
        (CHAT, {**HELLO, "chat_template_kwargs": {HALF: []}}),
    ],
)
async def test_half_a_character_is_the_clients_error(path: str, body: Mapping[str, object]) -> None:
    backend = Scripted("a")
    backend.tokenizer = Utf8()
    headers = {"content-type": "application/json"}
    async with client_of(backend) as client:
        answer = await client.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]


async def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.2)
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
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.2)
    backend = Scripted("a")
    backend.gate.clear()
    async with client_of(backend) as client:
        asking = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "hi"}))
        asyncio.get_running_loop().call_later(0.6, backend.gate.set)
        assert (await asking).status_code == 200
