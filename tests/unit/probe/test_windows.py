"""Throughput of a level, from streams whose times are known."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.windows import Level, evaluate, tokens_between

MS = 1_000_000
TTFT_MS, ITL_MS, OUTPUT_TOKENS = 100, 10, 41
SERVICE_MS = TTFT_MS + (OUTPUT_TOKENS - 1) * ITL_MS


def stream(sent_ms: int, tokens: int, *, whole: bool = True) -> Stream:
    stamps = [(sent_ms + TTFT_MS + index * ITL_MS) * MS for index in range(tokens)]
    return Stream(
        sent_ns=sent_ms * MS,
        tokens=tuple((stamp, 1.0) for stamp in stamps),
        exact=True,
        finish_reason="length" if whole else "",
    )


def closed_loop(concurrency: int, until_ms: int) -> Level:
    """Streams that began together with residual lives, followed to ``until_ms``, counted for four lives."""
    first, later = [], []
    for index in range(concurrency):
        life = 1 + index * OUTPUT_TOKENS // concurrency
        first.append(stream(0, life))
        at = TTFT_MS + (life - 1) * ITL_MS
        while at < until_ms:
            tokens = min(OUTPUT_TOKENS, max(0, (until_ms - at - TTFT_MS) // ITL_MS + 1))
            if tokens:
                later.append(stream(at, tokens, whole=tokens == OUTPUT_TOKENS))
            at += SERVICE_MS
    later.sort(key=lambda one: one.sent_ns)
    return Level(
        concurrency=concurrency,
        start_ns=TTFT_MS * MS,
        end_ns=(TTFT_MS + 4 * SERVICE_MS) * MS,
        output_tokens=OUTPUT_TOKENS,
        streams=(*first, *later),
        residual=concurrency,
    )


@pytest.mark.parametrize("concurrency", [1, 2, 5, 16])
def test_a_steady_loop_gives_its_law(concurrency: int) -> None:
    result = evaluate(closed_loop(concurrency, 3000), Random(1))
    assert result is not None
    point = result.point
    assert point.output_tokens_per_second == pytest.approx(
        concurrency * OUTPUT_TOKENS / SERVICE_MS * 1000, rel=0.02
    )
    assert point.requests_per_second == pytest.approx(concurrency / SERVICE_MS * 1000, rel=0.02)
    assert point.requests == pytest.approx(4 * concurrency, abs=concurrency)
    assert point.ttft_milliseconds_p50 == TTFT_MS
    assert point.tpot_milliseconds_p95 == ITL_MS
    assert point.end_to_end_milliseconds_p50 == SERVICE_MS
    assert point.steady
    assert result.notes == ()


def test_tokens_of_requests_that_never_ended_count() -> None:
    level = Level(
        concurrency=2,
        start_ns=100 * MS,
        end_ns=300 * MS,
        output_tokens=10_000,
        streams=(stream(0, 60, whole=False), stream(0, 60, whole=False)),
        residual=2,
    )
    result = evaluate(level, Random(1))
    assert result is not None
    assert result.point.output_tokens_per_second == pytest.approx(200)
    assert result.point.requests == 0
    assert result.ci_percent is None
    assert "no request began inside the window" in result.notes[0]
    assert result.point.end_to_end_milliseconds_p50 == TTFT_MS + 9_999 * ITL_MS


def test_a_window_takes_its_end_and_not_its_start() -> None:
    one = stream(0, 10)
    assert tokens_between([one], 100 * MS, 190 * MS) == 9
    assert tokens_between([one], 99 * MS, 189 * MS) == 9
    assert tokens_between([one], 0, 99 * MS) == 0


def test_a_level_whose_streams_did_not_all_begin_is_not_steady() -> None:
    result = evaluate(replace(closed_loop(2, 3000), started=False), Random(1))
    assert result is not None
    assert not result.point.steady


def test_a_slowing_engine_is_not_steady() -> None:
    stamps, at = [], 100.0
    for index in range(300):
        stamps.append((int(at * MS), 1.0))
        at += 5 + index * 0.1
    two = (Stream(sent_ns=0, tokens=tuple(stamps), exact=True),) * 2
    level = Level(
        concurrency=2, start_ns=100 * MS, end_ns=int(at) * MS, output_tokens=400, streams=two, residual=2
    )
    result = evaluate(level, Random(1))
    assert result is not None
    assert not result.point.steady


@pytest.mark.parametrize("count", [1, 3, 10])
def test_the_prompts_of_one_stream_are_no_drift(count: int) -> None:
    streams = tuple(stream(index * SERVICE_MS, OUTPUT_TOKENS) for index in range(count))
    end_ns = streams[-1].tokens[-1][0]
    level = Level(
        concurrency=1, start_ns=0, end_ns=end_ns, output_tokens=OUTPUT_TOKENS, streams=streams, residual=0
    )
    result = evaluate(level, Random(1))
    assert result is not None
    assert result.point.steady


def test_one_stream_whose_requests_get_slower_is_not_steady() -> None:
    streams = []
    for index in range(8):
        one = stream(index * 1000, OUTPUT_TOKENS)
        slower = tuple((stamp + index * place * MS, count) for place, (stamp, count) in enumerate(one.tokens))
        streams.append(replace(one, tokens=slower))
    level = Level(
        concurrency=1,
        start_ns=0,
        end_ns=8000 * MS,
        output_tokens=OUTPUT_TOKENS,
        streams=tuple(streams),
        residual=0,
    )
    result = evaluate(level, Random(1))
    assert result is not None
    assert not result.point.steady


@pytest.mark.parametrize("streams", [(), (stream(0, 1),)])
def test_too_little_is_no_point(streams: tuple[Stream, ...]) -> None:
    level = Level(concurrency=1, start_ns=0, end_ns=1000 * MS, output_tokens=9, streams=streams, residual=1)
    assert evaluate(level, Random(1)) is None
