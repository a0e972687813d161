"""What one client may ask without the others noticing: templates, sizes, places."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from starlette.types import Message

from tacho_server import service
from tacho_server.answers import AnswerChoice, AnswerFormat
from tacho_server.text import HuggingFaceTokenizer
from tacho_server.threads import TimedThread
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
    reserved = HuggingFaceTokenizer(kind(), 64).reserved
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


async def test_a_short_request_does_not_wait_for_all_the_long_ones_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []
    run = TimedThread.run

    async def noted(self: TimedThread, work: Any, size: int = 0) -> Any:
        sizes.append(size)
        return await run(self, work, size)

    monkeypatch.setattr(TimedThread, "run", noted)
    async with client_of(Scripted("a", max_model_len=4096)) as client:
        for prompt in ("x" * 900, "x"):
            assert (await client.post(COMPLETIONS, json={"prompt": prompt})).status_code == 200
    assert sizes[0] - sizes[1] == 899


@pytest.mark.parametrize(
    ("tokens", "words"), [([], "a prompt is empty"), ([1, 1 << 16], "not in the vocabulary")]
)
async def test_a_chat_that_the_model_has_no_tokens_for_does_not_reach_it(
    tokens: list[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedding that is not there would end the thread of all requests."""
    backend = Scripted("a")
    monkeypatch.setattr(backend.tokenizer, "chat", lambda *_arguments: tokens)
    async with client_of(backend) as client:
        answer = await client.post(CHAT, json=HELLO)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert not backend.seen


@pytest.mark.parametrize("tiny", [5e-324, 1e-50, 1e-46])
async def test_engines_get_no_number_that_is_zero_as_a_32_bit_float(tiny: float) -> None:
    """A top-p of 0 leaves no token to draw, which ended the thread of all requests."""
    backend = Scripted("a")
    async with client_of(backend) as client:
        for body in ({"top_p": tiny}, {"temperature": tiny}):
            assert (await client.post(COMPLETIONS, json={"prompt": "x", **body})).status_code == 200
    first, second = (generation.sampling for generation in backend.seen)
    assert first.top_p > 1e-30
    assert second.temperature == 0


async def test_a_tokenizer_that_nothing_ends_is_an_engine_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "TEXT_SECONDS", 0.05)
    monkeypatch.setattr(service, "STUCK_SECONDS", 0.05)
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
    monkeypatch.setattr(service, "LOGPROBS_LIMIT", 30)
    asked = {"echo": True, "logprobs": 2, "max_tokens": 0}
    async with client_of(Scripted("a")) as client:
        taken = await client.post(COMPLETIONS, json={**asked, "prompt": ["x" * 5, "y" * 5]})
        refused = await client.post(COMPLETIONS, json={**asked, "prompt": ["x" * 5, "y" * 6]})
    assert (taken.status_code, refused.status_code) == (200, 400)
    assert "33 log-probabilities" in refused.json()["error"]["message"]


async def test_an_answer_has_so_many_echoed_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen copies of each echo made 126 MB of a request of 8 MB, and kept the loop for seconds."""
    monkeypatch.setattr(service, "LOGPROBS_LIMIT", 30)
    async with client_of(Scripted("a")) as client:
        for echo, n, status in ((True, 3, 200), (True, 4, 400), (False, 4, 200)):
            body = {"prompt": "x" * 10, "n": n, "echo": echo, "max_tokens": int(not echo)}
            answer = await client.post(COMPLETIONS, json=body)
            assert answer.status_code == status
            if status == 400:
                assert answer.json()["error"]["param"] == "echo"
                assert "no echo" in answer.json()["error"]["message"]


async def test_an_answer_ends_with_so_many_log_probabilities_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """65,000 tokens with 20 alternatives each kept the loop of all requests for 12 s."""
    monkeypatch.setattr(service, "LOGPROBS_LIMIT", 30)
    chat = {**HELLO, "logprobs": True, "top_logprobs": 2}
    async with client_of(Scripted("a")) as client:
        for path, body, status in (
            (COMPLETIONS, {"prompt": "x", "logprobs": 2, "max_tokens": 5, "n": 2}, 200),
            (COMPLETIONS, {"prompt": "x", "logprobs": 2, "max_tokens": 6, "n": 2}, 400),
            (COMPLETIONS, {"prompt": "x", "logprobs": 2, "max_tokens": 60, "stream": True}, 200),
            (COMPLETIONS, {"prompt": "x", "max_tokens": 60}, 200),
            (CHAT, {**chat, "max_tokens": 10}, 200),
            (CHAT, chat, 400),
            (CHAT, {**chat, "stream": True}, 200),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == status, answer.text
            assert status == 200 or "a lower max_tokens, or stream" in answer.json()["error"]["message"]


async def test_log_probabilities_of_all_answers_have_a_limit_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "LOGPROBS_HELD", 30)
    backend = Scripted("a")
    backend.gate.clear()
    body = {"prompt": "x", "logprobs": 0, "max_tokens": 20}
    async with client_of(backend) as client:
        first = asyncio.ensure_future(client.post(COMPLETIONS, json=body))
        while not backend.running:
            await asyncio.sleep(0.001)
        refused = await client.post(COMPLETIONS, json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        backend.gate.set()
        assert (await first).status_code == 200
        assert (await client.post(COMPLETIONS, json=body)).status_code == 200


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


async def test_log_probabilities_that_nobody_asked_for_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    async def whole(_form: AnswerFormat, choices: Sequence[AnswerChoice], _usage: object) -> bytes:
        kept.extend(len(choice.tokens) for choice in choices)
        return b"{}"

    monkeypatch.setattr(AnswerFormat, "whole", whole)
    async with client_of(Scripted("abc")) as client:
        for more in ({}, {"logprobs": 0}):
            await client.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 3, **more})
    assert kept == [0, 3]


async def test_a_client_that_hangs_up_gives_its_place_back_before_its_text_is_tokenized() -> None:
    order: list[str] = []

    class Slow(Letters):
        def encode(self, text: str) -> Sequence[int]:
            found = super().encode(text)
            order.append("tokenized")
            return found

    backend = Scripted("a")
    backend.tokenizer = Slow()
    backend.tokenizer.open.clear()
    body = json.dumps({"prompt": "x"}).encode()
    asked: list[Message] = [{"type": "http.request", "body": body}]

    async def receive() -> Message:
        if asked:
            return asked.pop()
        while not backend.tokenizer.encoded:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        return None

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": COMPLETIONS, "headers": headers, "query_string": b""}
    app = app_of(backend, max_requests=1)
    await app(scope, receive, send)
    order.append("answered")
    backend.tokenizer.open.set()
    async with client_to(app) as client:
        assert (await client.post(COMPLETIONS, json={"prompt": "y"})).status_code == 200
    assert order[:2] == ["answered", "tokenized"]


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
