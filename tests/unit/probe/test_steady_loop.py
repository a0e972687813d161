"""A loop over real sockets that goes on from level to level: what it sends, counts and leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import (
    ClientHealth,
    Cohort,
    LevelTerms,
    LoadTrace,
    RequestProgress,
    SteadyLoop,
)
from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.load import streams
from tacho_runtime.probe.load.job import BIN_NS, StreamSlot
from tacho_runtime.probe.load.load_worker import LoadWorker
from tacho_runtime.probe.load.socket_engine import SocketEngine
from tests.unit.probe.engines import ask, gauge, mock_engine, target

QUICK = {"ttft_base_ms": 10, "ttft_per_token_ms": 0.02, "itl_base_ms": 4, "itl_per_seq_ms": 0.1}
SMALL = Workload(input_tokens=24, output_tokens=20)


def terms(streams: int, *, cohort: int = 12, gap: float = 0.0, **changes: float) -> LevelTerms:
    seconds = {"ramp_seconds": 60.0, "window_seconds": 60.0, "follow_seconds": 60.0}
    return LevelTerms(streams=streams, cohort=cohort, gap_seconds=gap, **(seconds | changes))


def never(_: Cohort) -> bool:
    return False


@contextlib.asynccontextmanager
async def looping(port: int) -> AsyncIterator[SteadyLoop]:
    engine = await SocketEngine.open(target(port), Random(1))
    await engine.first_request(10)
    loop = await engine.steady_loop(SMALL, spread=0.25)
    try:
        yield loop
    finally:
        await loop.close()
        await engine.close()


async def nothing_runs(port: int) -> None:
    while gauge(port, "vllm:num_requests_running") > 0:
        await asyncio.sleep(0.02)


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


def made(trace: LoadTrace) -> float:
    """Tokens of the window by the engine's counter."""
    first, last = (trace.readings[end].counters.generated_tokens for end in (0, -1))
    assert first is not None
    assert last is not None
    return last - first


def worker_of(loop: Any) -> LoadWorker:
    """A worker of its own for the job of ``loop``."""
    return LoadWorker(loop._group._requests, loop._group.job)


async def test_a_window_goes_on_with_all_that_it_has() -> None:
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            first = await loop.level(terms(4, window_seconds=0.5, cohort=1000), lambda one: one.seconds > 0.5)
            onward = replace(terms(4, cohort=1000), opened_ns=first.start_ns, window_seconds=1.5)
            seen: list[Cohort] = []
            both = await loop.level(onward, lambda one: seen.append(one) or one.seconds > 1.5)
            after = await loop.level(terms(4, window_seconds=0.5, cohort=1000), lambda one: one.seconds > 0.5)
    assert (both.start_ns, both.started) == (first.start_ns, True)
    assert both.end_ns - first.end_ns > 0.7e9  # the first ends at its second or third look
    assert both.bins[: len(first.bins) - 10] == first.bins[:-10]
    assert len(both.started_bins) == len(both.bins)
    assert {one.sent_ns for one in first.cohort} <= {one.sent_ns for one in both.cohort}
    assert {one.sent_ns for one in first.cohort} <= {one.sent_ns for one in seen[0].requests}
    assert made(both) == pytest.approx(sum(both.bins), rel=0.05)
    assert after.start_ns > both.end_ns - 1e7


async def test_a_level_follows_the_requests_of_its_window_to_their_end() -> None:
    with mock_engine(**QUICK, tokens_per_chunk=3) as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(5), never)
    assert (trace.concurrency, trace.started, trace.broken, trace.failures) == (5, True, False, ())
    assert sum(trace.first) == 5
    assert len(trace.bins) * BIN_NS == trace.end_ns - trace.start_ns
    assert len(trace.cohort) == 12
    assert all(stream.finish_reason == "length" for stream in trace.cohort)
    assert all(
        15 <= round(stream.output_tokens) <= 25 and stream.prompt_tokens == 24 for stream in trace.cohort
    )
    assert set(trace.cohort) <= set(trace.under_load)
    assert [stream.sent_ns for stream in trace.streams] == sorted(stream.sent_ns for stream in trace.streams)
    assert sum(trace.bins) == pytest.approx(made(trace), rel=0.15)
    assert abs(trace.readings[0].stamp_ns - trace.start_ns) <= BIN_NS
    assert trace.client.processes == 1


async def test_streams_go_on_from_level_to_level() -> None:
    """Nothing is hung up: the engine ends no request early, and the first requests are those added."""
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            levels = [await loop.level(terms(streams), never) for streams in (3, 8, 2)]
            aborted = gauge(port, 'vllm:request_success_total{engine="0",finished_reason="abort"')
        await nothing_runs(port)
    assert [level.concurrency for level in levels] == [3, 8, 2]
    assert all(level.started for level in levels)
    assert sum(levels[2].first) == 0, "all of its streams were there before"
    running = levels[2].readings[0].counters.running
    assert running is not None
    assert running <= 2
    assert aborted == 0


async def test_streams_that_are_still_leaving_do_not_count_as_present() -> None:
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            await loop.level(terms(8), never)
            await loop.level(terms(2, ramp_seconds=0.001), lambda _: True)
            last = await loop.level(terms(2), never)
    assert last.started
    assert len(last.cohort) >= 12


async def test_a_window_opens_once_what_waited_is_served() -> None:
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            await loop.level(terms(4), never)
            asked_ns = time.monotonic_ns()
            settled = await loop.level(terms(2, settle_seconds=0.6), lambda _: True)
            late = await loop.level(terms(1, ramp_seconds=0.01, settle_seconds=60.0), lambda _: True)
    assert settled.start_ns - asked_ns >= 0.6e9
    assert late.start_ns - settled.end_ns < 5e9, "within the ramp"


async def test_what_an_event_holds_is_of_this_level() -> None:
    """At a level with more streams a front end merges tokens into events, which it did not before."""
    with mock_engine(**QUICK, tokens_per_chunk=2) as port:
        engine = await SocketEngine.open(target(port), Random(1))
        await engine.first_request(10)
        loop = await engine.steady_loop(SMALL, spread=0.25)
        worker = worker_of(loop)
        worker._later_tokens, worker._later_events = 3e4, 3e4
        await worker.turn([StreamSlot(time.monotonic_ns(), 400, counted=True)], 0)
        assert worker._tokens_per_event() == 1.0, "until something is known"
        while not worker._counted or not any(one.raw and one.raw.counted_later[1] for one in worker._counted):
            await asyncio.sleep(0.01)
        assert worker._tokens_per_event() > 1.5
        await worker.hang_up()
        await loop.close()
        await engine.close()


async def test_answers_without_a_total_tell_nothing_of_what_an_event_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ends of short ones made it 0.8, by which the long ones were counted, and confirmed it."""
    monkeypatch.setattr(streams, "_read_usage", lambda *_: None)
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            worker = worker_of(loop)
            await worker.turn([StreamSlot(time.monotonic_ns(), 2) for _ in range(4)], 0)
            while len(worker._ended) < 8:
                await asyncio.sleep(0.05)
            await worker.hang_up()
    assert worker._later_events == 0


async def test_streams_that_are_counted_leave_last() -> None:
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            worker = worker_of(loop)
            now_ns = time.monotonic_ns()
            await worker.turn([StreamSlot(now_ns, 400, counted=one % 4 == 0) for one in range(12)], 0)
            await worker.turn([], 9)
            staying = [one for one in worker._going().values() if not one.leaving]
            await worker.hang_up()
    assert [one.slot.counted for one in staying] == [True] * 3


async def test_a_request_that_has_ended_is_told_once() -> None:
    """To tell all of a long level's at each look took longer than the time between two tokens."""
    told: list[RequestProgress] = []
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            worker = worker_of(loop)
            await worker.turn([StreamSlot(time.monotonic_ns(), 2) for _ in range(4)], 0)
            while len(told) < 12:
                await asyncio.sleep(0.1)
                told += (await worker.progress(0)).ended
            await worker.hang_up()
    assert all(one.ended for one in told)
    assert len({one.sent_ns for one in told}) == len(told)


async def test_streams_are_added_no_closer_than_the_gap() -> None:
    """As where a prompt blocks all others: together they would wait for each other."""
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            began_ns = time.monotonic_ns()
            trace = await loop.level(terms(6, gap=0.1, cohort=1), never)
    first = [stream.sent_ns for stream, first in zip(trace.streams, trace.first, strict=True) if first]
    assert all(sent - began_ns >= place * 0.1e9 for place, sent in enumerate(sorted(first)))
    assert trace.start_ns + BIN_NS >= max(first)


async def test_a_level_ends_early_where_enough_is_known() -> None:
    seen: list[Cohort] = []

    def enough(cohort: Cohort) -> bool:
        seen.append(cohort)
        return sum(one.ended for one in cohort.requests) >= 3

    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(4, cohort=10_000), enough)
    last = seen[-1]
    assert [cohort.seconds for cohort in seen] == sorted(cohort.seconds for cohort in seen)
    sent_ns = [one.sent_ns for one in last.requests]
    assert sent_ns == sorted(sent_ns)
    assert min(sent_ns) >= trace.start_ns
    assert len(set(sent_ns)) == len(sent_ns), "those that ended before are still there, once"
    by_sent = {stream.sent_ns: stream for stream in trace.cohort}
    for one in last.requests:
        if one.ended:
            assert by_sent[one.sent_ns].tokens[0][0] == one.first_token_ns
            assert by_sent[one.sent_ns].output_tokens == one.tokens


async def test_a_level_waits_no_longer_than_it_may() -> None:
    """Its requests take many minutes each."""
    with mock_engine(**QUICK) as port:
        async with looping(port) as loop:
            ask(port, "/_law", {"itl_base_ms": 60_000.0})
            trace = await loop.level(terms(2, window_seconds=0.3, follow_seconds=0.0), never)
    assert trace.started
    assert not any(stream.finish_reason for stream in trace.cohort)


async def test_a_loop_that_is_not_full_in_time_is_not_steady() -> None:
    with mock_engine(**QUICK, max_num_seqs=2) as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(40, ramp_seconds=0.1, cohort=3), never)
    assert not trace.started


async def test_only_some_streams_ask_for_the_tokens_of_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_runtime.probe.load.loops.COUNTED_STREAMS", 2)
    asked: list[dict[str, Any]] = []
    with mock_engine(**QUICK) as port:
        async with listening_in(port, asked) as through, looping(through) as loop:
            before = len(asked)
            await loop.level(terms(4, cohort=30), never)
    counted = [bool(body["stream_options"].get("continuous_usage_stats")) for body in asked[before:]]
    assert 0 < sum(counted) < len(counted)
    assert len({body["cache_salt"] for body in asked}) == len(asked)
    assert len({tuple(body["prompt"]) for body in asked}) == len(asked)


@pytest.mark.parametrize("law", [{"tokens_per_step": 1.42}, {"tokens_per_chunk": 3}, {"textless_every": 7}])
async def test_tokens_are_counted_however_they_come(law: dict[str, float]) -> None:
    """Several in an event, or none that has a text."""
    with mock_engine(**QUICK, **law) as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(20, cohort=40), never)
    assert all(15 <= round(stream.output_tokens) <= 25 for stream in trace.cohort)
    assert sum(trace.bins) == pytest.approx(made(trace), rel=0.15)
    if "textless_every" in law:
        assert sum(stream.textless for stream in trace.cohort) > 0


async def test_a_front_end_that_is_slow_is_told_from_the_engine() -> None:
    """It sends 250 tokens a second, of 2000 that the engine makes."""
    with mock_engine(**QUICK, frontend_us=4000) as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(20, cohort=40), never)
    result = evaluate(replace(trace, client=ClientHealth()), SMALL, ServiceLevel())
    assert result is not None
    assert "FrontendBound" in result.point.flags
    assert any("--api-server-count" in note for note in result.notes)
    assert result.point.engine_ttft_milliseconds is not None
    assert result.point.engine_ttft_milliseconds < result.point.ttft_milliseconds_p50


async def test_a_request_that_fails_ends_no_level_and_is_told() -> None:
    with mock_engine(**QUICK, fail="drop-at:12") as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(3, cohort=20), never)
            again = await loop.level(terms(3), never)
    assert (len(trace.failures), trace.broken, trace.started) == (1, False, False)
    assert "the connection ended within the answer" in trace.failures[0]
    result = evaluate(trace, SMALL, ServiceLevel())
    assert result is not None
    assert "NotSteady" in result.point.flags
    assert (again.failures, again.started) == ((), True)


@pytest.mark.parametrize(("fail", "said"), [("errors-after:30", "told to fail"), ("crash-after:30", "")])
async def test_a_server_that_dies_ends_its_level(fail: str, said: str) -> None:
    with mock_engine(**QUICK, fail=fail) as port:
        async with looping(port) as loop:
            trace = await loop.level(terms(4, cohort=10_000), never)
            again = await loop.level(terms(4, cohort=10_000), never)
    assert trace.broken
    assert len(trace.failures) >= 3
    assert said in trace.failures[0]
    assert again.broken


async def test_a_level_that_is_cancelled_leaves_nothing_running() -> None:
    with mock_engine(**QUICK | {"itl_base_ms": 50}) as port:
        async with looping(port) as loop:
            level = asyncio.ensure_future(loop.level(terms(4, cohort=10_000), never))
            while gauge(port, "vllm:num_requests_running") < 4:
                await asyncio.sleep(0.02)
            level.cancel()
            with pytest.raises(asyncio.CancelledError):
                await level
        await nothing_runs(port)
        assert len(asyncio.all_tasks()) == 1
