"""The HTTP surface of in-process engines, over a backend that says what it is told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from tacho_contract.report import LATENCY_EDGES_SECONDS
from tacho_server import metrics
from tacho_server.generating import Piece, merged
from tests.unit.server.scripted import END, Letters, Scripted, client_of

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_completion_with_exact_usage() -> None:
    async with client_of(Scripted("abc")) as client:
        answer = (await client.post(COMPLETIONS, json={"model": "m", "prompt": "xy"})).json()
    assert answer["choices"] == [{"index": 0, "text": "abc", "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


async def test_a_chat_in_chunks_with_the_usage_so_far_in_each() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {**HELLO, "stream": True, "stream_options": options, "max_tokens": 2}
    async with client_of(Scripted("abc")) as client:
        answer = await client.post(CHAT, json=body)
    opening, first, second, usage = events(answer)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["choices"][0]["delta"] == {"content": "a"}
    assert first["usage"]["completion_tokens"] == 1
    assert second["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_ends_the_answer_and_the_generation(stream: bool) -> None:
    backend = Scripted("one, two, three")
    body = {"prompt": "x", "stop": [", t", "zzz"], "max_tokens": 30, "stream": stream}
    async with client_of(backend) as client:
        answer = await client.post(COMPLETIONS, json=body)
    choices = [e["choices"][0] for e in events(answer)] if stream else answer.json()["choices"]
    assert "".join(choice["text"] for choice in choices) == "one"
    assert choices[-1]["finish_reason"] == "stop"
    assert backend.running == 0


@pytest.mark.parametrize("prompt", ["x", [120], ["x"], [[120]]])
async def test_every_form_of_a_prompt(prompt: object) -> None:
    backend = Scripted("a")
    async with client_of(backend) as client:
        assert (await client.post(COMPLETIONS, json={"prompt": prompt})).status_code == 200
    assert [list(generation.prompt) for generation in backend.seen] == [[120]]


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
async def test_null_stands_for_a_fields_default(path: str) -> None:
    """As in OpenAI's API: some clients send each field that was not set as null."""
    shared = (
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "n",
        "stop",
        "stream",
        "presence_penalty",
    )
    nulls: dict[str, Any] = dict.fromkeys((*shared, "logprobs", "user", "top_k"))
    given: dict[str, Any] = {"prompt": "x", "echo": None} if path == COMPLETIONS else {**HELLO, "tools": None}
    backend = Scripted("a")
    async with client_of(backend) as client:
        answer = await client.post(path, json={**nulls, **given, "stream_options": {"include_usage": None}})
    assert answer.json().get("error") is None
    assert (backend.seen[0].sampling.temperature, backend.seen[0].sampling.top_p) == (1.0, 1.0)


async def test_several_prompts_and_copies_are_choices_of_one_answer() -> None:
    backend = Scripted("ab")
    async with client_of(backend) as client:
        answer = await client.post(COMPLETIONS, json={"prompt": ["x", "y"], "n": 2, "seed": 7})
    assert [choice["text"] for choice in answer.json()["choices"]] == ["ab"] * 4
    assert answer.json()["usage"]["prompt_tokens"] == 2
    assert sorted(generation.sampling.seed or 0 for generation in backend.seen) == [7, 7, 8, 8]


async def test_log_probabilities_of_given_tokens() -> None:
    body = {"prompt": [120, 121], "echo": True, "logprobs": 1, "max_tokens": 0}
    async with client_of(Scripted("a")) as client:
        choice = (await client.post(COMPLETIONS, json=body)).json()["choices"][0]
    assert choice["text"] == "xy"
    assert choice["logprobs"]["token_logprobs"] == [None, -1.0]
    assert choice["logprobs"]["tokens"] == ["x", "y"]


async def test_an_echo_comes_before_the_first_token_and_is_not_counted_as_generated() -> None:
    body = {"prompt": "xy", "echo": True, "logprobs": 0, "max_tokens": 1}
    async with client_of(Scripted("a")) as client:
        answer = (await client.post(COMPLETIONS, json=body)).json()
    assert answer["choices"][0]["text"] == "xya"
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == [None, -1.0, -0.5]
    assert answer["usage"]["completion_tokens"] == 1


async def test_the_tokens_of_a_stream_say_where_in_the_text_they_begin() -> None:
    body = {"prompt": ["xy", "z"], "echo": True, "logprobs": 0, "max_tokens": 2}
    async with client_of(Scripted("ab")) as client:
        whole = (await client.post(COMPLETIONS, json=body)).json()["choices"]
        chunks = events(await client.post(COMPLETIONS, json={**body, "stream": True}))
    choices = [chunk["choices"][0] for chunk in chunks]
    streamed = [
        [at for each in choices if each["index"] == index for at in each["logprobs"]["text_offset"]]
        for index in (0, 1)
    ]
    assert streamed == [each["logprobs"]["text_offset"] for each in whole] == [[0, 1, 2, 3], [0, 1, 2]]


async def test_a_text_is_scored_up_to_a_length_whose_memory_is_planned() -> None:
    backend = Scripted("answer")
    backend.abilities = dataclasses.replace(backend.abilities, scored_tokens=4)
    async with client_of(backend) as client:
        for logprobs, length, status in ((0, 4, 200), (0, 5, 400), (None, 5, 200)):
            body = {"prompt": "x" * length, "echo": True, "logprobs": logprobs, "max_tokens": 0}
            answer = await client.post(COMPLETIONS, json=body)
            assert answer.status_code == status
            assert status == 200 or "at most 4 tokens, not 5" in answer.json()["error"]["message"]


async def test_log_probabilities_of_a_chat() -> None:
    body = {**HELLO, "logprobs": True, "top_logprobs": 1, "max_tokens": 1}
    async with client_of(Scripted("é")) as client:
        choice = (await client.post(CHAT, json=body)).json()["choices"][0]
    (entry,) = choice["logprobs"]["content"]
    assert (entry["token"], entry["bytes"], entry["logprob"]) == ("é", list("é".encode()), -0.5)
    assert entry["top_logprobs"][0]["token"] == "é"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": "x" * 70}, "maximum context length is 64"),
        ({"prompt": "x", "max_tokens": 64}, "maximum context length is 64"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": [1 << 20]}, "not in the vocabulary"),
        ({"prompt": "x", "max_tokens": 0}, "nothing is left to generate"),
        ({"prompt": "x", "min_tokens": 20}, "min_tokens is 20"),
        ({"prompt": "x", "logprobs": 9}, "at most 5 alternatives"),
        ({"prompt": "x", "presence_penalty": 0.5}, "presence_penalty"),
        ({"prompt": "x", "best_off": 2}, "best_off"),
        ({"prompt": "x", "temperature": 3}, "temperature"),
        ({}, "prompt"),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_words(body: dict[str, object], words: str) -> None:
    async with client_of(Scripted("a")) as client:
        answer = await client.post(COMPLETIONS, json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_that_is_no_json_and_a_path_that_is_none() -> None:
    async with client_of(Scripted("a")) as client:
        broken = await client.post(COMPLETIONS, content=b"{", headers={"content-type": "application/json"})
        assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")
        assert (await client.post("/load_model")).json()["error"]["type"] == "not_found_error"
        assert (await client.get("/docs")).status_code == 404


async def test_another_model_is_not_found() -> None:
    async with client_of(Scripted("a")) as client:
        answer = await client.post(COMPLETIONS, json={"model": "gpt", "prompt": "x"})
        assert (await client.get("/v1/models/gpt")).status_code == 404
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_without_a_chat_template_chat_is_refused_and_health_says_so() -> None:
    backend = Scripted("a")
    backend.tokenizer = Letters(chat_problem="no chat template")
    async with client_of(backend) as client:
        answer = await client.post(CHAT, json=HELLO)
        health = (await client.get("/health")).json()
    assert answer.status_code == 400
    assert "cannot chat: no chat template" in answer.json()["error"]["message"]
    assert health == {"status": "ok", "chat": False, "chatProblem": "no chat template"}


async def test_parts_of_text_are_one_message_and_a_refusing_template_is_the_clients_error() -> None:
    backend = Scripted("a")
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    async with client_of(backend) as client:
        await client.post(CHAT, json={"messages": [{"role": "user", "content": parts}]})
        refused = await client.post(CHAT, json={**HELLO, "chat_template_kwargs": {"refuse": True}})
        image = {"type": "image_url", "image_url": {"url": "http://x"}}
        seen = await client.post(CHAT, json={"messages": [{"role": "user", "content": [image]}]})
    assert backend.tokenizer.decode(backend.seen[0].prompt) == "user:hi;"
    assert backend.seen[0].sampling.max_tokens == 64 - 8, "chat takes the room that is left"
    assert (refused.status_code, seen.status_code) == (400, 400)


async def test_before_the_model_is_loaded_and_after_the_engine_died() -> None:
    async with client_of(Scripted("a"), loaded=False) as client:
        for path in ("/health", "/v1/models", "/metrics"):
            assert (await client.get(path)).status_code == 503
        assert (await client.post(COMPLETIONS, json={"prompt": "x"})).status_code == 503
        assert (await client.get("/version")).json() == {"engine": "scripted", "version": "1.2"}
    backend = Scripted("a")
    backend.dead = "the generation thread ended"
    async with client_of(backend) as client:
        assert "thread ended" in (await client.get("/health")).json()["error"]["message"]
        assert (await client.post(COMPLETIONS, json={"prompt": "x"})).status_code == 503


async def test_a_key_opens_everything_but_health() -> None:
    async with client_of(Scripted("a"), api_key="secret") as client:
        assert (await client.get("/health")).status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer secré".encode()}):
            assert (await client.get("/v1/models", headers=headers)).status_code == 401
        for scheme in ("Bearer", "bearer"):  # RFC 9110, 11.1: in any case
            right = {"Authorization": f"{scheme} secret"}
            answer = await client.get("/v1/models", headers=right)
            assert answer.json()["data"][0]["max_model_len"] == 64


@pytest.mark.parametrize(
    ("path", "host"), [("/v1/models", "server/health?"), ("/health%3F", "server"), ("/heal%09th", "server")]
)
async def test_an_open_path_in_a_url_opens_no_other(path: str, host: str) -> None:
    """A URL is made of the header Host too, and characters of a path are left out of it."""
    async with client_of(Scripted("a"), api_key="secret") as client:
        assert (await client.get(path, headers={"host": host})).status_code == 401


async def test_a_key_beyond_ascii() -> None:
    async with client_of(Scripted("a"), api_key="clé") as client:
        for key, status in (("clé", 200), ("cle", 401)):
            headers = {"Authorization": f"Bearer {key}".encode()}
            assert (await client.get("/v1/models", headers=headers)).status_code == status


async def test_more_than_is_admitted_is_told_to_come_again() -> None:
    backend = Scripted("a")
    backend.gate.clear()
    async with client_of(backend, max_requests=1) as client:
        first = asyncio.ensure_future(client.post(COMPLETIONS, json={"prompt": "x"}))
        while not backend.running:
            await asyncio.sleep(0.001)
        for stream in (False, True):
            refused = await client.post(COMPLETIONS, json={"prompt": "x", "stream": stream})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        backend.gate.set()
        assert (await first).status_code == 200
        assert (await client.post(COMPLETIONS, json={"prompt": "x"})).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_fails_in_the_middle_says_so(stream: bool) -> None:
    backend = Scripted("abc")
    backend.break_after = 1
    async with client_of(backend) as client:
        answer = await client.post(COMPLETIONS, json={"prompt": "x", "stream": stream})
        figures = (await client.get("/metrics")).text
    assert "a kernel failed" in answer.text
    assert answer.status_code == (200 if stream else 500)
    assert "[DONE]" not in answer.text
    assert 'tacho_server_requests_total{outcome="error"} 1.0' in figures


async def test_figures() -> None:
    async with client_of(Scripted("abc")) as client:
        await client.post(COMPLETIONS, json={"prompt": "xy"})
        text = (await client.get("/metrics")).text
    for line in (
        "tacho_server_requests_running 0.0",
        "tacho_server_requests_waiting 0.0",
        "tacho_server_prompt_tokens_total 2.0",
        "tacho_server_generation_tokens_total 4.0",
        "tacho_server_kv_cache_usage_ratio 0.25",
        'tacho_server_requests_total{outcome="stop"} 1.0',
        "tacho_server_time_to_first_token_seconds_count 1.0",
        "tacho_server_time_per_output_token_seconds_count 1.0",
    ):
        assert line in text.splitlines()
    assert END == 0


async def test_each_sequence_is_counted_as_in_the_gauges() -> None:
    """The engine computes each copy by itself. One request of 16 sequences had the lengths of 16, and each of
    its 16 running sequences was expected to take as long as all.
    """
    async with client_of(Scripted("abc")) as client:
        await client.post(COMPLETIONS, json={"prompt": "xy", "n": 3})
        await client.post(COMPLETIONS, json={"prompt": "xy", "max_tokens": 1})
        lines = (await client.get("/metrics")).text.splitlines()
    assert "tacho_server_time_to_first_token_seconds_count 4.0" in lines
    assert "tacho_server_time_per_output_token_seconds_count 3.0" in lines
    assert "tacho_server_prompt_tokens_total 8.0" in lines


def test_latencies_are_counted_at_the_edges_that_the_runtime_knows() -> None:
    assert metrics.LATENCY_SECONDS == LATENCY_EDGES_SECONDS
    assert {0.012, 0.025, 0.2, 2.0, 600.0} < set(LATENCY_EDGES_SECONDS)


async def test_choices_wait_for_their_reader() -> None:
    made = 0

    async def endless() -> AsyncGenerator[Piece, None]:
        nonlocal made
        while True:
            made += 1
            yield Piece(index=0, text="a")

    reader = merged([endless(), endless()])
    assert (await anext(reader)).text == "a"
    for _ in range(100):
        await asyncio.sleep(0)
    assert made < 10
    await reader.aclose()


async def test_a_panic_in_one_of_several_choices_ends_all() -> None:
    """A panic of a tokenizer is no Exception: the reader would wait for ever."""

    class PanicError(BaseException):
        pass

    async def endless() -> AsyncGenerator[Piece, None]:
        while True:
            await asyncio.sleep(0)
            yield Piece(index=0, text="a")

    async def panicking() -> AsyncGenerator[Piece, None]:
        yield Piece(index=1, text="b")
        raise PanicError

    reader = merged([endless(), panicking()])
    async with asyncio.timeout(20):
        with pytest.raises(PanicError):
            async for _ in reader:
                pass
