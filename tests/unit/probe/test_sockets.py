"""An engine under test over real sockets: what is sent, and what a loop leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import EngineUnderTest, LoadTrace
from tacho_runtime.probe.load.job import BIN_NS
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tacho_runtime.probe.load.timed_client import RequestFailed
from tests.unit.probe.engines import gauge, mock_engine, target

QUICK = {"ttft_base_ms": 10, "ttft_per_token_ms": 0.02, "itl_base_ms": 4, "itl_per_seq_ms": 0.1}
SMALL = Workload(input_tokens=24, output_tokens=20)


async def opened(port: int, **changes: Any) -> SocketEngine:
    engine = await SocketEngine.open(target(port, **changes), Random(1))
    await engine.first_request(10)
    return engine


@contextlib.asynccontextmanager
async def listening_in(port: int, asked: list[dict[str, Any]]) -> AsyncIterator[int]:
    """A port that leads to ``port``; the JSON that goes there is noted in ``asked``."""

    leading: list[asyncio.Task[None] | None] = []

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        leading.append(asyncio.current_task())
        there, here = await asyncio.open_connection("127.0.0.1", port)
        ways = [asyncio.ensure_future(ask(reader, here)), asyncio.ensure_future(answer(there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, here):
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()

    async def ask(reader: asyncio.StreamReader, here: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if body:
            asked.append(json.loads(body))
        here.write(head + body)
        await reader.read()

    async def answer(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65536):
            writer.write(data)

    async with await asyncio.start_server(lead, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*(task for task in leading if task is not None), return_exceptions=True)


def counted_by_engine(trace: LoadTrace) -> float:
    first, last = trace.readings[0].counters, trace.readings[-1].counters
    assert first.generated_tokens is not None
    assert last.generated_tokens is not None
    return last.generated_tokens - first.generated_tokens


def test_it_is_what_the_phases_ask_for() -> None:
    engine: type[EngineUnderTest] = SocketEngine
    assert engine is SocketEngine


async def test_a_request_alone_has_exact_lengths_and_counts() -> None:
    with mock_engine(**QUICK, tokens_per_chunk=4) as port:
        engine = await opened(port)
        for size, length in ((17, 24), (40, 1), (40, 9)):
            stream = await engine.ask(size, length, 10)
            assert (stream.prompt_tokens, stream.cached_tokens) == (size, 0)
            assert (stream.output_tokens, stream.exact, stream.finish_reason) == (length, True, "length")
        assert engine.max_model_len == 4096
        assert (await engine.reading()).counters.generated_tokens == 8 + 24 + 1 + 9


async def test_only_one_stream_alone_has_its_chunks_counted_by_the_engine() -> None:
    asked: list[dict[str, Any]] = []
    with mock_engine(**QUICK) as port:
        async with listening_in(port, asked) as through:
            engine = await opened(through)
            await engine.closed_loop(1, SMALL, spread=0.25, seconds=1.5)
            alone = len(asked)
            await engine.closed_loop(3, SMALL, spread=0.25, seconds=1.5)
            await engine.unstreamed_rate(3, SMALL, seconds=1.5)
    assert all(body["stream_options"].get("continuous_usage_stats") for body in asked[:alone])
    streamed = [body for body in asked[alone:] if body["stream"]]
    assert len(streamed) > 3
    assert all(body["stream_options"] == {"include_usage": True} for body in streamed)
    whole = [body for body in asked if not body["stream"]]
    assert whole
    assert not any("stream_options" in body for body in whole)
    assert len({body["cache_salt"] for body in asked}) == len(asked)
    assert len({tuple(body["prompt"]) for body in asked}) == len(asked)
    later = [body for body in asked[1:alone] if body["max_tokens"] >= 15]
    assert all(len(body["prompt"]) == 24 and 15 <= body["max_tokens"] <= 25 for body in later)


async def test_a_closed_loop_leaves_a_whole_trace() -> None:
    with mock_engine(**QUICK, tokens_per_chunk=3) as port:
        engine = await opened(port)
        trace = await engine.closed_loop(5, SMALL, spread=0.25, seconds=4)
    assert (trace.concurrency, trace.residual, trace.started, trace.broken) == (5, 5, True, False)
    assert trace.failures == ()
    assert trace.bin_nanoseconds == BIN_NS
    assert len(trace.bins) * BIN_NS == trace.end_ns - trace.start_ns
    first, later = trace.streams[:5], trace.streams[5:]
    assert all(stream.output_tokens <= 25 for stream in first)
    whole = [stream for stream in later if stream.finish_reason]
    assert whole
    assert all(15 <= stream.output_tokens <= 25 for stream in whole)
    assert all(stream.prompt_tokens == 24 and not stream.cached_tokens for stream in whole)
    assert [stream.sent_ns for stream in later] == sorted(stream.sent_ns for stream in later)
    ends = [stream.tokens[-1][0] for stream in trace.streams if stream.finish_reason]
    inside = [end for end in ends if trace.start_ns <= end < trace.end_ns]
    assert trace.requests_ended == pytest.approx(len(inside), abs=2)
    assert sum(trace.bins) == pytest.approx(counted_by_engine(trace), rel=0.15)
    assert len(trace.readings) == len(trace.machine) == 2
    assert trace.readings[0].counters.by_step
    assert 1 <= (trace.readings[0].counters.running or 0) <= 5, "one may be between two requests"
    assert abs(trace.readings[0].stamp_ns - trace.start_ns) <= BIN_NS
    assert trace.client.processes == 1


async def test_streams_that_are_not_sampled_count_as_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_runtime.probe.load.loops.SAMPLED_STREAMS", 4)
    with mock_engine(**QUICK) as port:
        engine = await opened(port)
        trace = await engine.closed_loop(16, SMALL, spread=0.25, seconds=2)
        made = (await engine.reading()).counters.generated_tokens
    assert trace.residual == 4
    assert trace.failures == ()
    assert sum(trace.bins) == pytest.approx(counted_by_engine(trace), rel=0.15)
    assert trace.received_tokens == pytest.approx((made or 0) - 8, rel=0.05)
    assert trace.requests_ended > 2 * len([stream for stream in trace.streams if stream.finish_reason])


async def test_an_open_loop_sends_when_it_was_meant_to() -> None:
    with mock_engine(**QUICK, max_num_seqs=2) as port:
        engine = await opened(port)
        trace = await engine.open_loop(40, SMALL, spread=0.25, seconds=2)
    assert trace.residual == 0
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


async def test_answers_in_one_piece_have_a_rate() -> None:
    with mock_engine(**QUICK) as port:
        engine = await opened(port)
        rate = await engine.unstreamed_rate(4, SMALL, seconds=2)
    expected = 4 * 20 / (0.0105 + 19 * 0.0044)
    assert rate == pytest.approx(expected, rel=0.25)


async def test_a_loop_that_is_cancelled_leaves_nothing_running() -> None:
    with mock_engine(**QUICK | {"itl_base_ms": 50}) as port:
        engine = await opened(port)
        loop = asyncio.ensure_future(engine.closed_loop(4, SMALL, spread=0.25, seconds=60))
        while gauge(port, "vllm:num_requests_running") < 4:
            await asyncio.sleep(0.02)
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop
        while gauge(port, "vllm:num_requests_running") > 0:
            await asyncio.sleep(0.02)
        assert len(asyncio.all_tasks()) == 1


async def test_failures_end_a_loop() -> None:
    with mock_engine(**QUICK, fail="errors-after:8") as port:
        engine = await opened(port)
        trace = await engine.closed_loop(2, SMALL, spread=0.25, seconds=60)
    assert trace.broken
    assert not trace.started
    assert len(trace.failures) >= 3
    assert "told to fail" in trace.failures[0]


async def test_an_engine_that_dies_ends_a_loop() -> None:
    with mock_engine(**QUICK, fail="crash-after:8") as port:
        engine = await opened(port)
        trace = await engine.closed_loop(2, SMALL, spread=0.25, seconds=60)
        with pytest.raises(RequestFailed):
            await engine.ask(8, 4, 5)
    assert trace.broken


async def test_text_is_the_way_out() -> None:
    with mock_engine(**QUICK, no_token_prompts=True) as port:
        engine = await opened(port)
        stream = await engine.ask(50, 4, 10)
    assert stream.prompt_tokens == 50
    assert engine.notes == ()


async def test_an_engine_that_refuses_all_is_quoted() -> None:
    with mock_engine(fail="errors") as port:
        engine = await SocketEngine.open(target(port), Random(1))
        with pytest.raises(RequestFailed, match=r"refused every request format.*told to fail"):
            await engine.first_request(5)
