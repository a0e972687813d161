"""Streams that are counted and not read."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.load.job import BIN_NS
from tacho_runtime.probe.load.tally import CountedConnection, TokenCounts

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def wire(tokens: int, *, separator: bytes = b"\n\n", text: str = " word") -> bytes:
    """An answer as vLLM sends it: a chunk for each token, the usage, the end."""
    events = [json.dumps({"choices": [{"text": text}]}).encode() for _ in range(tokens)]
    events += [json.dumps({"choices": [], "usage": {"completion_tokens": tokens}}).encode(), b"[DONE]"]
    pieces = [b"data: " + event + separator for event in events]
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@given(
    st.lists(st.integers(0, 5000), max_size=20),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
    st.sampled_from([" word", "data: ", "\ndata: {"]),
)
def test_events_are_counted_wherever_reads_end(places: list[int], separator: bytes, text: str) -> None:
    raw = wire(30, separator=separator, text=text)
    edges = sorted({0, len(raw), *(place % len(raw) for place in places)})
    stream = CountedConnection()
    for low, high in itertools.pairwise(edges):
        stream.data_received(raw[low:high])
    assert sum(events for _, events in stream.marks) == 32
    assert stream.total_tokens() == 30
    assert stream.complaint() == ""


def test_no_read_is_kept_once_the_head_is_known() -> None:
    stream = CountedConnection()
    raw = wire(30)
    for piece in (raw[:100], raw[100:300], raw[300:]):
        stream.data_received(piece)
    assert [data for _, data in stream.reads] == [raw[:100]]


def test_what_went_wrong_in_a_stream_is_told() -> None:
    stream = CountedConnection()
    stream.data_received(
        HEAD + b'40\r\ndata: {"choices":[{"text":"a"}]}\n\ndata: {"error": {"message": "out of memory"}}'
    )
    assert "out of memory" in stream.complaint()
    cut = CountedConnection()
    cut.data_received(wire(30)[:500])
    assert cut.complaint() == ""


def marks(*stamps: int, events: int = 1) -> list[tuple[int, int]]:
    return [(stamp * BIN_NS, events) for stamp in stamps]


def test_a_whole_streams_total_is_shared_out_after_its_first_token() -> None:
    tally = TokenCounts(origin_ns=0)
    tally.add_whole([*marks(1, 2, 3), (3 * BIN_NS, 2)], total=7)
    assert tally.totals()[0] == pytest.approx((0, 1, 3, 3))


def test_closing_events_that_came_with_the_last_token_are_none() -> None:
    tally = TokenCounts(origin_ns=0)
    tally.add_whole([*marks(1, 2), (3 * BIN_NS, 3)], total=3)
    assert tally.totals()[0] == pytest.approx((0, 1, 1, 1))


def test_a_cut_stream_is_counted_as_the_whole_ones_were() -> None:
    tally = TokenCounts(origin_ns=0, tokens_per_chunk=9.0)
    tally.add_cut(marks(0, 1))
    tally.add_whole([*marks(5, 6, 7), (7 * BIN_NS, 2)], total=9)
    assert tally.totals()[0][:2] == pytest.approx((4, 4))
    alone = TokenCounts(origin_ns=0, tokens_per_chunk=9.0)
    alone.add_cut(marks(0))
    assert alone.totals()[0] == (9.0,)


def test_without_the_engines_total_chunks_are_tokens() -> None:
    tally = TokenCounts(origin_ns=0, closing_events=1)
    tally.add_whole(marks(0, 1, 2, 2), total=None)
    assert tally.totals()[0] == pytest.approx((1, 1, 1))


def test_an_answer_in_one_piece_came_when_it_came() -> None:
    tally = TokenCounts(origin_ns=0)
    tally.add_whole([(BIN_NS, 0)], total=40)
    tally.end(BIN_NS)
    assert tally.totals() == ((0, 40), (), (0, 1))


def test_a_stream_begins_with_its_first_event_whole_or_cut() -> None:
    tally = TokenCounts(origin_ns=0)
    tally.add_whole([(0, 0), *marks(2, 3), (3 * BIN_NS, 2)], total=3)
    tally.add_cut([(BIN_NS, 0), *marks(2)])
    tally.begin(4 * BIN_NS)
    assert tally.totals()[1] == (0, 0, 2, 0, 1)
