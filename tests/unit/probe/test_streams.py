"""Figures of a stream: from recordings of real engines and from small ones written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tacho_runtime.probe.load.streams import reduce_stream
from tacho_runtime.probe.load.wire import StreamEvent, event_spans

RECORDED = Path(__file__).parents[2] / "fixtures" / "vllm-0.32"
MS = 1_000_000


def recorded(name: str) -> list[StreamEvent]:
    """The n-th event of a recording at n x 10 ms; the usage and [DONE] come with the last token."""
    data = [event for _, event in event_spans((RECORDED / name).read_bytes())]
    last_token = max(index for index, event in enumerate(data) if b'"finish_reason"' in event)
    return [StreamEvent((min(index, last_token) + 1) * 10 * MS, event) for index, event in enumerate(data)]


def completion(stamp_ms: int, text: str, **more: Any) -> StreamEvent:
    finish = more.pop("finish_reason", None)
    document = {"choices": [{"index": 0, "text": text, "finish_reason": finish}], **more}
    return StreamEvent(stamp_ms * MS, json.dumps(document).encode())


def used(tokens: int) -> dict[str, Any]:
    return {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}


def test_vllm_with_continuous_usage_is_exact() -> None:
    stream = reduce_stream(0, recorded("completion_stream_continuous.sse"))
    assert stream.exact
    assert [count for _, count in stream.tokens] == [1, 1, 1, 1]
    assert stream.ttft_milliseconds == 10
    assert stream.tpot_milliseconds == 10
    assert stream.end_to_end_milliseconds == 40
    assert (stream.prompt_tokens, stream.cached_tokens, stream.finish_reason) == (8, 0, "length")


def test_vllm_with_closing_usage_shares_the_total_out() -> None:
    stream = reduce_stream(0, recorded("completion_stream_usage.sse"))
    assert not stream.exact
    assert stream.output_tokens == 4
    assert stream.tpot_milliseconds == 10


def test_vllm_without_usage_counts_chunks() -> None:
    stream = reduce_stream(0, recorded("completion_stream.sse"))
    assert (stream.output_tokens, stream.prompt_tokens, stream.finish_reason) == (4, None, "length")


def test_a_chats_role_chunk_is_no_token() -> None:
    for name in ("chat_stream_continuous.sse", "chat_stream.sse"):
        stream = reduce_stream(0, recorded(name))
        assert stream.output_tokens == 4, name
        assert stream.ttft_milliseconds == 20, name


def test_a_stop_is_seen() -> None:
    assert reduce_stream(0, recorded("chat_stop_stream.sse")).finish_reason == "stop"


def test_llamacpp_counts_by_its_timings_and_its_closing_event_is_no_token() -> None:
    def timings(n: int) -> dict[str, Any]:
        return {"timings": {"predicted_n": n, "predicted_per_token_ms": 20.0 if n > 1 else 0}}

    events = [
        completion(100, " a", **timings(1)),
        # Two tokens held back until their character was whole.
        completion(140, " \N{GRINNING FACE}", **timings(3)),
        completion(160, " c", **timings(4)),
        completion(160, "", finish_reason="length", usage=used(4), **timings(4)),
        StreamEvent(160 * MS, b"[DONE]"),
    ]
    stream = reduce_stream(0, events)
    assert stream.exact
    assert stream.tokens == ((100 * MS, 1), (140 * MS, 2), (160 * MS, 1))
    assert stream.tpot_milliseconds == 20
    assert stream.engine_tpot_milliseconds == 20


def test_several_tokens_in_the_first_chunk_took_no_time_after_it() -> None:
    events = [
        completion(100, "a b c d", usage=used(4)),
        completion(140, "e f g h", usage=used(8)),
        completion(180, "i j k l", usage=used(12), finish_reason="length"),
    ]
    assert reduce_stream(0, events).tpot_milliseconds == 10


def test_tokens_that_never_became_text_came_with_the_closing_event() -> None:
    stream = reduce_stream(0, [completion(70, "", finish_reason="length", usage=used(1))])
    assert stream.ttft_milliseconds == 70
    assert stream.tpot_milliseconds is None


@pytest.mark.parametrize("counted", [0, 1])
def test_more_chunks_than_the_engine_counts_tokens(counted: int) -> None:
    events = [completion(10, "a"), completion(20, "b", finish_reason="stop", usage=used(counted))]
    stream = reduce_stream(0, events)
    assert stream.output_tokens == 1
    assert stream.tpot_milliseconds is None


def test_a_cut_stream_counts_chunks_as_its_siblings_did() -> None:
    events = [completion(10, "a"), completion(20, "b c"), completion(30, "d e")]
    stream = reduce_stream(0, events, tokens_per_chunk=2.0)
    assert stream.output_tokens == 5
    assert stream.finish_reason == ""
    assert stream.end_to_end_milliseconds is None


@pytest.mark.parametrize("data", [b"{nope", b"[1]", b'{"error":{"message":"out of memory"}}'])
def test_what_is_no_completion_is_an_error(data: bytes) -> None:
    stream = reduce_stream(0, [StreamEvent(1, data)])
    assert stream.error
    assert not stream.tokens


def test_null_fields_are_absent_fields() -> None:
    event = StreamEvent(
        5 * MS, b'{"choices":[{"text":"a","finish_reason":null}],"usage":null,"timings":null}'
    )
    assert reduce_stream(0, [event]).output_tokens == 1


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":{"a":1}}',
        b'{"choices":[],"usage":"x"}',
        b'{"choices":[],"usage":{"prompt_tokens_details":[1]}}',
        b'{"choices":[],"timings":[1]}',
        b'{"choices":[],"timings":{"predicted_per_token_ms":Infinity}}',
    ],
)
def test_fields_of_another_kind_are_absent_fields(data: bytes) -> None:
    read = reduce_stream(0, [StreamEvent(1, data)])
    assert (read.tokens, read.error, read.engine_tpot_milliseconds) == ((), "", None)
