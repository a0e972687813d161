"""An engine under test over real sockets: what is sent, and what a loop leaves behind."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from random import Random
from typing import Any, NoReturn

import pytest

from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import EngineUnderTest
from tacho_runtime.probe.load import engine_counters, socket_engine
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.timed_client import EngineEndpoint, RequestFailed, open_stream
from tacho_runtime.probe.load.token_stream import TokenStream
from tests.unit.probe.engines import mock_engine, target

QUICK = {"ttft_base_ms": 10, "ttft_per_token_ms": 0.02, "itl_base_ms": 4, "itl_per_seq_ms": 0.1}
SMALL = Workload(input_tokens=24, output_tokens=20)


async def opened(port: int, **changes: Any) -> SocketEngine:
    engine = await SocketEngine.open(target(port, **changes), Random(1))
    await engine.first_request(10)
    return engine


def test_it_is_what_the_phases_ask_for() -> None:
    engine: type[EngineUnderTest] = SocketEngine
    assert engine is SocketEngine


async def test_a_request_alone_has_exact_lengths_and_counts() -> None:
    with mock_engine(**QUICK, tokens_per_chunk=4) as port:
        engine = await opened(port)
        for size, length in ((17, 24), (40, 1), (40, 9)):
            stream = await engine.complete(size, length, 10)
            assert (stream.prompt_tokens, stream.cached_tokens) == (size, 0)
            assert (stream.output_tokens, stream.finish_reason) == (length, "length")
        assert engine.max_model_len == 4096
        assert (await engine.reading()).counters.generated_tokens == 8 + 24 + 1 + 9


async def test_an_answer_that_comes_before_its_request_is_a_failure() -> None:
    """Its time to the first token was below zero."""

    async def hasty(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\n\r\ndata: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n')
        writer.close()

    async with await asyncio.start_server(hasty, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        stream = await open_stream(EngineEndpoint.of(f"http://127.0.0.1:{port}"), TokenStream)
        while stream.first_token_ns is None:
            await asyncio.sleep(0.01)
        stream.send(b"")
        with pytest.raises(RequestFailed, match="before the request"):
            await stream.wait(10)
        stream.close()


async def test_an_open_loop_sends_when_it_was_meant_to() -> None:
    with mock_engine(**QUICK, max_num_seqs=2) as port:
        engine = await opened(port)
        trace = await engine.open_loop(40, SMALL, spread=0.25, seconds=2)
    assert len(trace.intended_ns) == len(trace.streams)
    assert list(trace.intended_ns) == sorted(trace.intended_ns)
    assert trace.concurrency > 2, "requests wait in the engine, not here"
    assert all(stream.sent_ns >= due for stream, due in zip(trace.streams, trace.intended_ns, strict=True))
    span = (trace.intended_ns[-1] - trace.intended_ns[0]) / 1e9
    assert 20 < len(trace.streams) / span < 60
    assert all(15 <= stream.output_tokens <= 25 for stream in trace.streams if stream.finish_reason)


async def test_arrivals_that_got_no_token_are_told() -> None:
    """Two at a time for 0.9 s each: of some thirty that arrive in 1.5 s few are answered."""
    with mock_engine(**QUICK | {"ttft_base_ms": 800}, max_num_seqs=2) as port:
        engine = await opened(port)
        trace = await engine.open_loop(20, SMALL, spread=0.25, seconds=1.5)
    assert trace.failures == ()
    assert len(trace.streams) <= 4
    assert len(trace.unanswered_ns) > 10
    assert list(trace.unanswered_ns) == sorted(trace.unanswered_ns)
    assert not set(trace.unanswered_ns) & set(trace.intended_ns)
    assert max(trace.unanswered_ns) <= trace.end_ns


async def test_arrivals_that_failed_are_not_told_twice() -> None:
    with mock_engine(**QUICK, fail="errors-after:12") as port:
        engine = await opened(port)
        trace = await engine.open_loop(20, SMALL, spread=0.25, seconds=3)
    assert len(trace.unanswered_ns) < len(trace.failures) >= 3


async def test_text_is_the_way_out() -> None:
    with mock_engine(**QUICK, no_token_prompts=True) as port:
        engine = await opened(port)
        stream = await engine.complete(50, 4, 10)
    assert stream.prompt_tokens == 50
    assert engine.notes == ()


async def counting(counted: int, *, refused: str = "") -> tuple[int | None, tuple[str, ...]]:
    """What is believed of an engine that counts ``counted`` tokens in each prompt, and its notes.

    It refuses bodies that ``refused`` matches.
    """
    usage = {"prompt_tokens": counted, "completion_tokens": 1}
    events = [{"choices": [{"text": "x", "finish_reason": "length"}]}, {"choices": [], "usage": usage}]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        asked = (await reader.readexactly(int(length[1]))).decode() if length else ""
        text = body if head.startswith("POST") else "{}"
        status = "400 Bad Request" if refused and re.search(refused, asked) else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        engine = await opened(server.sockets[0].getsockname()[1])
        stream = await engine.complete(32, 1, 10)
        await engine.close()
    return stream.prompt_tokens, engine.notes


@pytest.mark.parametrize(
    ("counted", "believed"), [(100, 100), (4000, 4000), (50_000, None), (10**9 - 1, None)]
)
async def test_a_prompt_of_more_tokens_than_bytes_is_not_believed(counted: int, believed: int | None) -> None:
    """It became the workload's input tokens, and by them billions of tokens a second."""
    found, notes = await counting(counted)
    assert found == believed
    assert (socket_engine.IMPOSSIBLE_COUNTS in notes) == (believed is None)


async def test_the_same_count_for_texts_of_any_length_is_none() -> None:
    """It became the workload's input tokens, while words were sent."""
    found, notes = await counting(1, refused=r'"prompt": ?\[')
    assert found is None
    assert any("input lengths are words, not tokens" in note for note in notes)


async def test_an_engine_that_refuses_all_is_quoted() -> None:
    with mock_engine(fail="errors") as port:
        engine = await SocketEngine.open(target(port), Random(1))
        with pytest.raises(RequestFailed, match=r"refused every request format.*told to fail"):
            await engine.first_request(5)


@pytest.mark.parametrize("answered", [True, False])
async def test_a_driver_that_takes_its_time_does_not_stop_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    answers, seen = threading.Event(), []

    def sample(_calibrate: bool) -> MachineSample:
        seen.append(answers.wait(20))
        return MachineSample(stamp_ns=7)

    monkeypatch.setattr(socket_engine, "SAMPLE_SECONDS", 60 if answered else 0.05)
    with mock_engine(**QUICK) as port:
        engine = await SocketEngine.open(target(port), Random(1), machine=sample)
        found = asyncio.ensure_future(engine.machine(calibrate=False))
        await asyncio.sleep(0)
        try:
            if answered:
                answers.set()
            assert ((await found).stamp_ns == 7, seen) == (answered, [True] if answered else [])
        finally:
            answers.set()
            await engine.close()


async def test_a_long_page_of_metrics_is_parsed_outside_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed, threads = engine_counters.parse_counters, []

    def noted(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return parsed(*arguments)

    monkeypatch.setattr(engine_counters, "parse_counters", noted)
    with mock_engine(**QUICK) as port:
        engine = await opened(port)
        assert (await engine.reading()).counters.generated_tokens
        await engine.close()
    assert threads
    assert threading.main_thread() not in threads


async def test_a_list_of_models_of_any_depth_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(_text: object) -> NoReturn:
        raise RecursionError

    monkeypatch.setattr("json.loads", deep)
    with mock_engine(**QUICK) as port:
        engine = await SocketEngine.open(target(port), Random(1))
        assert engine.max_model_len == target(port).max_model_len
        await engine.close()


@pytest.mark.parametrize("told", [True, False])
async def test_counters_of_another_engine_behind_the_address_are_not_compared(told: bool) -> None:
    """A load balancer asks one engine after the other: their difference was other clients' traffic."""
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).decode().split()[1]
        other = asked.count("/metrics") % 2
        asked.append(path)
        body = f"vllm:generation_tokens_total {100 + 5000 * other}\n"
        body += f"process_start_time_seconds {1.79e9 + other}\n" if told else ""
        body += f"vllm:num_requests_running {7 + other}\n"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        engine = await SocketEngine.open(target(server.sockets[0].getsockname()[1]), Random(1))
        found = [await engine.reading() for _ in range(4)]
    made = [one.counters.generated_tokens for one in found]
    assert [one.requests_there for one in found] == ([None, 8, None, 8] if told else [None, None, 7, 8])
    assert made == ([100, None, 100, None] if told else [100, 5100, None, None])
    assert engine.notes == ((engine_counters.OTHER_ENGINES if told else engine_counters.FALLING),)


async def test_a_reading_says_how_uncertain_its_time_is() -> None:
    """A front end that is busy answers late, and counts at some time between question and answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await asyncio.sleep(0.1)
        body = "vllm:generation_tokens_total 100\n"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        engine = await SocketEngine.open(target(server.sockets[0].getsockname()[1]), Random(1))
        found = await engine.reading()
    assert found.counters.generated_tokens == 100
    assert found.uncertain_ns >= 50_000_000
