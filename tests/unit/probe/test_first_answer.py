"""The first requests to an engine that has just started: which failures of them are its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from itertools import count, repeat
from random import Random

import pytest

from tacho_runtime.probe import sequence
from tacho_runtime.probe.load import engine_counters
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.probe.load.first_answer import NeverAnswered
from tacho_runtime.probe.sequence import run_probe
from tests.unit.probe.engines import live, mock_engine, target
from tests.unit.probe.scripted_engine import (
    CHAT,
    COMPLETIONS,
    STREAM,
    TOKEN,
    Answer,
    Late,
    Script,
    Unended,
    always,
    asked,
    beside_others,
    engine,
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "AGAIN_SECONDS", 0.1)


OWN = {
    "500": always((500, '{"content": "CUDA error: device-side assert"}')),
    "503": always((503, "loading")),
    "hang": always(None),
    "no token": always((200, '{"choices":[]}')),
    "error alone": always((200, '{"error": {"message": "CUDA error"}}')),
    "no event": always(STREAM + b"data: [DONE]\n\n"),
    "error in the stream": always(STREAM + b'data: {"error": "died"}\n\ndata: [DONE]\n\n'),
    "closed": always(b""),
    "no HTTP": always(b"SSH-2.0-x\r\n"),
    "models too": always((500, "CUDA error"), (500, "CUDA error")),
    "chat alone": lambda path, _: (404, "no") if path == COMPLETIONS else always((500, "died"))(path, ""),
}


@pytest.mark.parametrize(
    ("mode", "name"), [*((mode, "custom") for mode in OWN), ("500", "vllm"), ("no token", "vllm")]
)
async def test_an_engine_that_answers_nothing_by_its_own_fault(mode: str, name: str) -> None:
    began = time.monotonic()
    with pytest.raises(NeverAnswered) as caught:
        await asked(OWN[mode], name)
    assert 0.5 < time.monotonic() - began < 8, "most of the probe's time"
    assert not caught.value.refused


@pytest.mark.parametrize("mode", OWN)
async def test_where_it_need_not_answer_it_is_a_failed_measurement(mode: str) -> None:
    """A probe of an engine that serves, and `tacho probe`."""
    began = time.monotonic()
    assert (await asked(OWN[mode], must=False)).state == "Failed"
    retried = ("hang", "503", "models too", "closed", "no HTTP")
    assert mode in retried or time.monotonic() - began < 1, "told at once"


async def test_its_own_words_are_told_once_and_without_its_key() -> None:
    said = "CUDA error: device-side assert\x1b[31m of the-key " + "x" * 5000
    with pytest.raises(NeverAnswered) as caught:
        await asked(always((500, said)), api_key="the-key")
    words = str(caught.value)
    assert words.count("CUDA error") == 2, "once of each path"
    assert "the-key" not in words
    assert "\x1b" not in words
    assert len(words) <= 500


@pytest.mark.parametrize("status", [302, 308, 400, 404, 422, 405, 501])
async def test_a_custom_engine_may_have_another_api(status: int) -> None:
    found = await asked(always((status, "not this one")))
    assert (found.state, "not this one" in found.message) == ("Failed", True)


@pytest.mark.parametrize("body", ["<html>an app</html>", '{"response": "a word"}', "[]"])
async def test_a_custom_engine_may_answer_with_another_document(body: str) -> None:
    """It crashed at each start, though its clients got what they asked for."""
    assert (await asked(always((200, body)))).state == "Failed"
    with pytest.raises(NeverAnswered):
        await asked(always((200, body)), "vllm")


async def test_an_answer_without_a_body_is_no_other_document() -> None:
    with pytest.raises(NeverAnswered):
        await asked(always((200, "")))


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_an_engine_that_tacho_knows_has_not(status: int) -> None:
    with pytest.raises(NeverAnswered, match="not this one") as caught:
        await asked(always((status, "not this one")), "vllm")
    assert caught.value.refused


@pytest.mark.parametrize("status", [401, 403, 429])
@pytest.mark.parametrize("name", ["custom", "vllm"])
async def test_one_that_admits_other_clients_is_left_alone(status: int, name: str) -> None:
    assert (await asked(always((status, "not you")), name)).state == "Failed"
    assert (await asked(always((status, "not you"), (status, "not you")), name)).state == "Failed"
    by_path = {COMPLETIONS: (500, "no such API"), CHAT: (status, "not you")}
    assert (await asked(lambda path, _: by_path.get(path, (200, "{}")), name)).state == "Failed"


async def test_a_custom_engine_that_lists_no_models_is_left_alone() -> None:
    assert (await asked(always((500, "died"), (404, "")))).state == "Failed"


async def test_of_a_custom_engine_the_plainest_requests_decide() -> None:
    """A server may break by a prompt of token ids, and want a field that nobody knows."""

    def odd(_: str, body: str) -> Answer:
        if not body:
            return 200, "{}"
        return (500, "a defect") if isinstance(json.loads(body).get("prompt"), list) else (400, "no field x")

    assert (await asked(odd)).state == "Failed"


async def test_a_server_that_hangs_up_at_token_ids_is_asked_with_texts() -> None:
    def odd(_: str, body: str) -> Answer:
        if not body:
            return 200, "{}"
        texts = isinstance(json.loads(body).get("prompt"), str)
        return STREAM + 8 * TOKEN + b"data: [DONE]\n\n" if texts else b""

    assert (await asked(odd, seconds=20)).cold_first_request_milliseconds is not None


async def test_one_that_recovers_in_time_is_measured() -> None:
    began = time.monotonic()

    def late(_: str, body: str) -> Answer:
        if not body:
            return 200, "{}"
        loading = time.monotonic() - began < 0.5
        return (500, "the model is loading") if loading else STREAM + 8 * TOKEN + b"data: [DONE]\n\n"

    found = await asked(late)
    assert "loading" not in found.message
    assert found.cold_first_request_milliseconds is not None


async def test_one_that_compiles_in_its_first_request_is_waited_for() -> None:
    with mock_engine(ttft_base_ms=3000, itl_base_ms=1) as port:
        goal = target(port, must_answer=True)
        found = await run_probe(goal, live(timeout=8, budget=8), plan_key="plan", rng=Random(1))
    assert (found.cold_first_request_milliseconds or 0) > 2500


async def test_the_first_answer_may_take_most_of_the_time() -> None:
    """A server that loads its model at the first request took more than a half, and crashed at each start."""
    async with engine(always(STREAM + 8 * TOKEN + b"data: [DONE]\n\n"), seconds=2.6) as port:
        goal = target(port, must_answer=True, engine="custom")
        found = await run_probe(goal, live(timeout=4, budget=2), plan_key="plan", rng=Random(1))
    assert found.state == "Failed"
    assert "BudgetExhausted" in found.flags


async def test_one_that_answers_and_is_too_slow_for_the_rest_has_started() -> None:
    def texts_alone(_: str, body: str) -> Answer:
        if not body:
            return 200, "{}"
        texts = isinstance(json.loads(body).get("prompt"), str)
        return STREAM + 8 * TOKEN + b"data: [DONE]\n\n" if texts else (400, "no token ids")

    async with engine(texts_alone, seconds=0.9) as port:
        goal = target(port, must_answer=True, engine="custom")
        found = await run_probe(goal, live(timeout=4, budget=2), plan_key="plan", rng=Random(1))
    assert found.state == "Failed"
    assert "stopped after 4 s" in found.message


@pytest.mark.parametrize(("reason", "ended"), [("stop", True), ("length", True), ("abort", False)])
async def test_an_answer_that_the_model_ends_before_a_token_is_one(reason: str, *, ended: bool) -> None:
    event = '{"choices":[{"index":0,"text":"","finish_reason":"%s"}],"usage":{"completion_tokens":0}}'
    script = always(STREAM + f"data: {event % reason}\n\ndata: [DONE]\n\n".encode())
    if ended:
        assert (await asked(script)).state == "Failed"
    else:
        with pytest.raises(NeverAnswered, match="gave up"):
            await asked(script)


async def test_an_answer_that_is_slow_to_end_is_one() -> None:
    """Its tokens came, the last of them too late."""
    found = await asked(always(Unended(STREAM + TOKEN)))
    assert found.state == "Failed"
    assert "no full answer" in found.message


@pytest.mark.parametrize(
    "whole",
    [
        '{"choices":[{"text":"a word"}]}',
        '{"choices":[{"message":{"content": "a word"}}]}',
        '{"choices":[{"message":{"content":null,"reasoning_content":"so"},"finish_reason": "length"}]}',
        '{"choices":[{"text":"","finish_reason":"stop"}],"usage":{"completion_tokens":0}}',
    ],
)
async def test_an_answer_in_one_piece_is_one(whole: str) -> None:
    found = await asked(always((200, whole)))
    assert (found.state, "without a token" in found.message) == ("Failed", True)


async def test_an_engine_that_answers_and_lists_no_models_is_no_failed_start() -> None:
    found = await asked(always(STREAM + 8 * TOKEN + b"data: [DONE]\n\n", (500, "no list")))
    assert (found.state, "no list" in found.message) == ("Failed", True)


async def test_each_format_that_takes_long_is_no_answer_in_the_end() -> None:
    async with engine(always((500, "")), seconds=0.7) as port:
        with pytest.raises(NeverAnswered):
            await run_probe(
                target(port, must_answer=True), live(timeout=2, budget=2), plan_key="plan", rng=Random(1)
            )


@pytest.mark.parametrize("answer", [None, (503, "the queue is full")])
async def test_one_that_serves_others_meanwhile_has_started(answer: Answer) -> None:
    """Whoever reaches a pod may fill its queue before it is Ready: no reason to start it anew."""
    found = await asked(beside_others(answer, count(7), running=2), "vllm", seconds=4)
    assert (found.state, "served other clients" in found.message) == ("Failed", True)


@pytest.mark.parametrize(
    ("answer", "tokens", "running"),
    [(None, count(7), 1), (None, repeat(7), 5), ((500, "CUDA error"), count(7), 5), (b"", count(7), 5)],
    ids=["its own request", "no progress", "errors", "closed"],
)
async def test_requests_of_others_excuse_no_engine_that_does_not_serve(
    answer: Answer, tokens: Iterable[int], running: int
) -> None:
    with pytest.raises(NeverAnswered):
        await asked(beside_others(answer, tokens, running), seconds=4)


@pytest.mark.parametrize("page", [None, (200, "")], ids=["late", "empty"])
async def test_without_counters_at_the_start_work_shows_in_later_ones(page: Answer) -> None:
    """What an engine had generated before it hung was taken for work since, and it was Ready."""

    def later(tokens: Iterable[int]) -> Script:
        pages, others = count(), beside_others(None, tokens, running=2)
        return lambda path, body: page if path == "/metrics" and not next(pages) else others(path, body)

    assert (await asked(later(count(7)), "vllm", seconds=4)).state == "Failed"
    with pytest.raises(NeverAnswered):
        await asked(later(repeat(7)), "vllm", seconds=4)


async def test_one_that_is_busy_after_a_while_serves_others_too() -> None:
    """Its queue had no place for two seconds: the probe's time ran out, and the start failed."""
    late = Late(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
    found = await asked(beside_others(late, count(7), running=2), "vllm", seconds=4)
    assert (found.state, "stopped after 4 s" in found.message) == ("Failed", True)
    with pytest.raises(NeverAnswered):
        await asked(beside_others(late, repeat(7), running=2), "vllm", seconds=4)


async def test_one_that_is_late_to_refuse_a_client_is_left_alone_too() -> None:
    """A proxy whose queue gives up after half a minute: the time ran out, and it crashed at each start."""
    late = Late(b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n")
    assert (await asked(always(late), seconds=4)).state == "Failed"


async def test_a_long_page_of_counters_does_not_extend_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the probe's time a hung engine was Ready."""

    async def slow(_: str) -> EngineCounters:
        await asyncio.sleep(8)
        return EngineCounters()

    monkeypatch.setattr(engine_counters, "counters_of", slow)
    began = time.monotonic()
    with pytest.raises(NeverAnswered):
        await asked(beside_others(None, count(7), running=2), seconds=4)
    assert time.monotonic() - began < 4 + 2 + 1


async def test_a_timeout_is_no_wrong_setting() -> None:
    with pytest.raises(NeverAnswered) as caught:
        await asked(always((408, "Request Timeout")), "vllm")
    assert not caught.value.refused, "as which it would not be started again"


async def test_one_that_is_silent_from_its_list_of_models_on_has_not_started() -> None:
    with pytest.raises(NeverAnswered):
        await asked(always(None, None))


async def test_a_refusal_of_another_format_excuses_no_silence() -> None:
    """The time ran out while a custom engine hung at a text, after it was late to refuse token ids."""

    def odd(_: str, body: str) -> Answer:
        if not body:
            return 200, "{}"
        late = Late(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
        return late if isinstance(json.loads(body).get("prompt"), list) else None

    with pytest.raises(NeverAnswered, match="in time"):
        await asked(odd, seconds=4)
