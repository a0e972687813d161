"""What /metrics tells of requests before the batch, and of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import httpx
import pytest

from tacho_server.backend import Generation, GenerationError, Token
from tacho_server.threads import Mailbox
from tests.unit.server.scripted import Scripted, client_of

COMPLETIONS = "/v1/completions"


async def figure(client: httpx.AsyncClient, name: str) -> float:
    await asyncio.sleep(0.03)  # a page is given again for 20 ms
    lines = (await client.get("/metrics")).text.splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"tacho_server_{name} ")), 0.0)


async def test_requests_whose_text_is_tokenized_are_no_idle_server() -> None:
    """A drain took it for idle, and ended it with the requests in it."""
    backend = Scripted("a")
    backend.tokenizer.open.clear()
    async with client_of(backend) as client:
        body = {"prompt": "x", "n": 2, "max_tokens": 1}
        asking = asyncio.ensure_future(client.post(COMPLETIONS, json=body))
        leaving = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "x"}))
        while not backend.tokenizer.encoded:
            await asyncio.sleep(0.01)
        assert await figure(client, "requests_waiting") == 3
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await figure(client, 'requests_total{outcome="cancelled"}') == 1
        assert await figure(client, "request_duration_seconds_count") == 1
        backend.tokenizer.open.set()
        assert (await asking).status_code == 200
        assert await figure(client, "requests_waiting") == 0


async def test_a_request_is_unfinished_until_its_answer_is_sent() -> None:
    backend = Scripted("a")
    async with client_of(backend) as client:
        for stream in (False, True):
            backend.gate.clear()
            asking = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "x", "stream": stream}))
            await asyncio.sleep(0.05)
            assert await figure(client, "requests_unfinished") == 1
            backend.gate.set()
            assert (await asking).status_code == 200
            assert await figure(client, "requests_unfinished") == 0
        await client.post(COMPLETIONS, content=b"{")
        assert await figure(client, "requests_unfinished") == 0


async def test_texts_that_are_scored_are_no_idle_server() -> None:
    backend, go_on = Scripted("a"), asyncio.Event()
    original = backend.score

    async def score(tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        await go_on.wait()
        return await original(tokens, top_logprobs)

    backend.score = score  # type: ignore[method-assign]  # it waits first
    async with client_of(backend) as client:
        body = {"prompt": ["x", "y"], "echo": True, "logprobs": 0, "max_tokens": 0}
        asking = asyncio.ensure_future(client.post(COMPLETIONS, json=body))
        await asyncio.sleep(0.05)
        assert await figure(client, "requests_waiting") == 2
        go_on.set()
        assert (await asking).status_code == 200
        assert await figure(client, "requests_waiting") == 0


async def test_where_one_text_cannot_be_scored_the_others_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were scored for nobody, outside the places among the requests."""
    backend = Scripted("a")

    async def score(tokens: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        if tokens[0] != ord("x"):
            await asyncio.Event().wait()
        raise GenerationError("out of memory")

    monkeypatch.setattr(backend, "score", score)
    async with client_of(backend) as client:
        body = {"prompt": ["x", "y"], "echo": True, "logprobs": 0, "max_tokens": 0}
        assert (await client.post(COMPLETIONS, json=body)).status_code == 500
        assert await figure(client, "requests_waiting") == 0


async def test_a_prompt_that_was_not_computed_is_not_counted() -> None:
    """Else clients that leave the queue make the traffic's prompts look long, and replicas too few."""
    backend = Scripted("ab")
    backend.gate.clear()
    async with client_of(backend) as client:
        leaving = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "x" * 9, "echo": True}))
        while not backend.running:
            await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        backend.gate.set()
        await client.post(COMPLETIONS, json={"prompt": "xy", "n": 2})
        assert await figure(client, "prompt_tokens_total") == 4
        await client.post(COMPLETIONS, json={"prompt": "xyz", "echo": True, "logprobs": 0, "max_tokens": 0})
        assert await figure(client, "prompt_tokens_total") == 7


async def test_a_text_that_is_scored_alone_is_a_request() -> None:
    """An hour of such texts made the traffic's mean prompt millions of tokens long, and replicas many."""
    async with client_of(Scripted("a")) as client:
        body = {"prompt": ["xyz", "xy"], "echo": True, "logprobs": 0, "max_tokens": 0}
        await client.post(COMPLETIONS, json=body)
        assert await figure(client, "time_to_first_token_seconds_count") == 2
        await client.post(COMPLETIONS, json={**body, "max_tokens": 1})
        assert await figure(client, "time_to_first_token_seconds_count") == 4
        await client.post(
            COMPLETIONS, json={"prompt": "x", "echo": True, "max_tokens": 0}
        )  # nothing is computed
        assert await figure(client, "time_to_first_token_seconds_count") == 4


async def test_tokens_are_counted_as_they_are_made_not_as_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that reads nothing made its pod look as if it hung, and slower than it is."""

    async def generate(generation: Generation) -> AsyncGenerator[Token, None]:
        mailbox: Mailbox[Token] = Mailbox(lambda: None, on_item=generation.on_token)
        for finish in ("", "", "length"):
            mailbox.put(Token(token=97, finish=finish))
        await asyncio.Event().wait()
        yield Token(token=97)

    backend = Scripted("a")
    monkeypatch.setattr(backend, "generate", generate)
    async with client_of(backend) as client:
        leaving = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "xyz"}))
        await asyncio.sleep(0.2)
        for name, count in (
            ("generation_tokens_total", 3),
            ("prompt_tokens_total", 3),
            ("time_to_first_token_seconds_count", 1),
            ("time_per_output_token_seconds_count", 1),
        ):
            assert await figure(client, name) == count
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await figure(client, "time_per_output_token_seconds_count") == 1


async def test_the_time_to_the_first_token_begins_before_the_text_is_tokenized() -> None:
    """The text of one request may wait for those of hundreds."""
    backend = Scripted("a")
    backend.tokenizer.open.clear()
    async with client_of(backend) as client:
        asyncio.get_running_loop().call_later(0.3, backend.tokenizer.open.set)
        assert (await client.post(COMPLETIONS, json={"prompt": "x"})).status_code == 200
        for name in ("time_to_first_token_seconds_sum", "request_duration_seconds_sum"):
            assert 0.25 < await figure(client, name) < 3


async def test_tokens_that_are_read_late_were_made_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads slowly makes no latencies from which replicas are added."""

    async def generate(generation: Generation) -> AsyncGenerator[Token, None]:
        made = [Token(token=97, finish=finish) for finish in ("", "", "length")]
        for token in made:
            await asyncio.sleep(0.2)
            generation.on_token(token)
            yield token

    backend = Scripted("a")
    monkeypatch.setattr(backend, "generate", generate)
    async with client_of(backend) as client:
        await client.post(COMPLETIONS, json={"prompt": "x"})
        assert await figure(client, "time_to_first_token_seconds_count") == 1
        assert await figure(client, "time_to_first_token_seconds_sum") < 0.15
        assert await figure(client, "time_per_output_token_seconds_count") == 1
        assert await figure(client, "time_per_output_token_seconds_sum") < 0.15


class PanicError(BaseException):
    """What Rust's panics are in Python: no Exception."""


@pytest.mark.parametrize("error", [RuntimeError, PanicError])
async def test_what_fails_with_any_error_was_not_cancelled(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    backend = Scripted("a")

    def fail(_tokens: Sequence[int]) -> str:
        raise error("no text")

    monkeypatch.setattr(backend.tokenizer, "decode", fail)
    async with client_of(backend) as client:
        with pytest.raises(error):
            await client.post(COMPLETIONS, json={"prompt": "x"})
        assert await figure(client, 'requests_total{outcome="error"}') == 1
