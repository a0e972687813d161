"""Figures of a stream: from recordings of real engines and from small ones written here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.load.streams import MOST_POINTS, StreamResult, thinned
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.load.token_stream import TokenStream

RECORDED = Path(__file__).parents[2] / "fixtures" / "vllm-0.32"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MS = 1_000_000
Event = tuple[int, bytes]
"""(milliseconds, data)."""
DONE = b"[DONE]"


def received(*reads: Event, opens_empty: bool = False) -> TokenStream:
    """What came in reads at these milliseconds."""
    stream = TokenStream(opens_empty=opens_empty)
    for stamp_ms, data in reads:
        with patch("time.monotonic_ns", return_value=stamp_ms * MS):
            stream.data_received(data)
    return stream


def in_chunks(*events: bytes, separator: bytes = b"\n\n") -> bytes:
    pieces = [b"data: " + event + separator for event in events]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def read(*events: Event, whole: bool = True, **more: float) -> StreamResult:
    """Figures of an answer whose events came one by one."""
    reads = [
        (stamp, (HEAD if place == 0 else b"") + in_chunks(data)) for place, (stamp, data) in enumerate(events)
    ]
    return received(*reads).result(whole=whole, **more)


def recorded(name: str) -> StreamResult:
    """The n-th event of a recording at n x 10 ms; the usage and [DONE] come with the last token."""
    data = [event.removeprefix(b"data: ") for event in (RECORDED / name).read_bytes().split(b"\n\n") if event]
    last = max(index for index, event in enumerate(data) if b'"finish_reason"' in event)
    return read(*((10 * (min(index, last) + 1), event) for index, event in enumerate(data)))


def completion(stamp_ms: int, text: str, **more: Any) -> Event:
    finish = more.pop("finish_reason", None)
    return stamp_ms, json.dumps(
        {"choices": [{"index": 0, "text": text, "finish_reason": finish}], **more}
    ).encode()


def used(tokens: int) -> dict[str, Any]:
    return {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}


def test_vllm_with_continuous_usage_is_exact() -> None:
    stream = recorded("completion_stream_continuous.sse")
    assert [count for _, count in stream.tokens] == [1, 1, 1, 1]
    assert stream.ttft_milliseconds == 10
    assert stream.tpot_milliseconds == 10
    assert stream.end_to_end_milliseconds == 40
    assert (stream.prompt_tokens, stream.cached_tokens, stream.finish_reason) == (8, 0, "length")


@pytest.mark.parametrize("time", [10**400, 1e-300, -1.0], ids=["long", "short", "negative"])
@pytest.mark.parametrize("count", [-5, 10**15, 10**400, 1e308], ids=lambda count: str(count)[:9])
def test_a_count_that_no_request_has_is_not_told(count: float, time: float) -> None:
    events = [completion(10 * n, "a") for n in (1, 2, 3)]
    usage = {"choices": [], "usage": {"completion_tokens": count, "prompt_tokens": count}}
    own = {"predicted_per_token_ms": time}
    stream = read(*events, (30, json.dumps({**usage, "timings": own}).encode()), (30, DONE))
    assert (stream.output_tokens, stream.prompt_tokens, stream.tpot_milliseconds) == (3, None, 10)
    assert stream.engine_tpot_milliseconds is None
    assert not stream.error


@pytest.mark.parametrize("running", [False, True], ids=["closing", "running"])
def test_more_tokens_than_were_asked_for_raise_no_figure(running: bool) -> None:
    """An engine counts ten for each of its tokens; four were asked for."""
    told = [{"usage": used(10 * n)} if running else {} for n in (1, 2, 3, 4)]
    events = [completion(10 * n, "a", **more) for n, more in enumerate(told, 1)]
    closing = (40, json.dumps({"choices": [], "usage": used(40)}).encode())
    reads = [(at, (b"" if at > 10 else HEAD) + in_chunks(data)) for at, data in (*events, closing)]
    raw = received(*reads)
    raw.max_tokens = 4
    stream = raw.result(whole=True)
    assert stream.output_tokens == pytest.approx(4)
    assert stream.longer
    assert stream.tpot_milliseconds is not None
    assert stream.tpot_milliseconds >= 10 - 1e-9
    assert raw.tokens_so_far(1.0) <= 4
    assert raw.counted_later[0] <= 3


@pytest.mark.parametrize("per_event", [2, 1], ids=["ahead", "in step"])
def test_a_running_count_that_is_ahead_of_the_events_times_no_token(per_event: int) -> None:
    """16 tokens came in 16 events, and all were counted in the eighth: twice the rate."""
    told = [{"usage": used(min(16, per_event * n))} for n in range(1, 17)]
    events = [completion(10 * n, "a", **more) for n, more in enumerate(told, 1)]
    end = completion(160, "", finish_reason="length", usage=used(16))
    stream = read(*events, end, (160, json.dumps({"choices": [], "usage": used(16)}).encode()), (160, DONE))
    assert stream.output_tokens == pytest.approx(16)
    assert stream.tpot_milliseconds == pytest.approx(10, rel=0.1)
    assert stream.end_to_end_milliseconds == 160
    assert stream.shared_out == (per_event == 2)


@pytest.mark.parametrize("told", [True, False])
def test_an_answer_that_goes_on_is_said_to_and_raises_no_figure(told: bool) -> None:
    """Six events where four tokens were asked for. Their count is no evidence: an engine that sends several
    events for a token may count those."""
    events = [completion(10 * n, "a", **({"usage": used(n)} if told else {})) for n in range(1, 7)]
    raw = received(*((at, (b"" if at > 10 else HEAD) + in_chunks(data)) for at, data in events))
    raw.max_tokens = 4
    stream = raw.result(whole=True)
    assert (stream.longer, stream.output_tokens) == (True, pytest.approx(4))
    raw.max_tokens = 5
    assert not raw.result(whole=True).longer, "one may end a stream"


@pytest.mark.parametrize("told", [True, False])
def test_several_events_of_a_token_that_the_engine_counts_once_are_no_longer_answer(told: bool) -> None:
    events = [completion(10 * n, "a") for n in range(1, 12)]
    events.append(completion(120, "a", **({"usage": used(4)} if told else {})))
    raw = received(*((at, (b"" if at > 10 else HEAD) + in_chunks(data)) for at, data in events))
    raw.max_tokens = 4
    stream = raw.result(whole=True)
    assert (stream.longer, stream.output_tokens) == (not told, pytest.approx(4))


def test_a_total_of_very_many_digits_is_no_total() -> None:
    raw = received((10, HEAD + in_chunks(completion(0, "a", usage=used(10**400))[1])))
    assert raw.tokens_so_far(1.0) == 1
    assert raw.counted_later == (0.0, 0)


def test_vllm_with_closing_usage_shares_the_total_out() -> None:
    stream = recorded("completion_stream_usage.sse")
    assert stream.output_tokens == 4
    assert stream.tpot_milliseconds == 10


def test_vllm_without_usage_counts_chunks() -> None:
    stream = recorded("completion_stream.sse")
    assert (stream.output_tokens, stream.prompt_tokens, stream.finish_reason) == (4, None, "length")


def test_a_chats_role_chunk_is_no_token() -> None:
    for name in ("chat_stream_continuous.sse", "chat_stream.sse"):
        stream = recorded(name)
        assert stream.output_tokens == 4, name
        assert stream.ttft_milliseconds == 20, name


def test_a_stop_is_seen() -> None:
    assert recorded("chat_stop_stream.sse").finish_reason == "stop"


def test_llamacpp_counts_by_its_timings_and_its_closing_event_is_no_token() -> None:
    def timings(n: int) -> dict[str, Any]:
        return {"timings": {"predicted_n": n, "predicted_per_token_ms": 20.0 if n > 1 else 0}}

    events = [
        completion(100, " a", **timings(1)),
        # Two tokens held back until their character was whole.
        completion(140, " \N{GRINNING FACE}", **timings(3)),
        completion(160, " c", **timings(4)),
        completion(160, "", finish_reason="length", usage=used(4), **timings(4)),
        (160, DONE),
    ]
    stream = read(*events)
    assert stream.tokens == ((100 * MS, 1), (140 * MS, 2), (160 * MS, 1))
    assert stream.tpot_milliseconds == 20
    assert stream.engine_tpot_milliseconds == 20


def test_several_tokens_in_the_first_chunk_took_no_time_after_it() -> None:
    events = [
        completion(100, "a b c d", usage=used(4)),
        completion(140, "e f g h", usage=used(8)),
        completion(180, "i j k l", usage=used(12), finish_reason="length"),
    ]
    assert read(*events).tpot_milliseconds == 10


def test_tokens_that_never_became_text_came_with_the_closing_event() -> None:
    stream = read(completion(70, "", finish_reason="length", usage=used(1)))
    assert stream.ttft_milliseconds == 70
    assert stream.tpot_milliseconds is None


@pytest.mark.parametrize("counted", [0, 1])
def test_more_chunks_than_the_engine_counts_tokens(counted: int) -> None:
    events = [completion(10, "a"), completion(20, "b", finish_reason="stop", usage=used(counted))]
    stream = read(*events)
    assert stream.output_tokens == 1
    assert stream.tpot_milliseconds is None


def test_a_cut_stream_counts_chunks_as_its_siblings_did() -> None:
    events = [completion(10, "a"), completion(20, "b c"), completion(30, "d e")]
    stream = read(*events, whole=False, tokens_per_event=2.0)
    assert stream.output_tokens == 5
    assert stream.finish_reason == ""
    assert stream.end_to_end_milliseconds is None


@pytest.mark.parametrize("data", [b"{nope", b"[1]", b'{"error":{"message":"out of memory"}}'])
def test_what_is_no_completion_is_an_error(data: bytes) -> None:
    stream = read((1, data))
    assert stream.error
    assert not stream.tokens


def test_null_fields_are_absent_fields() -> None:
    event = b'{"choices":[{"text":"a","finish_reason":null}],"usage":null,"timings":null}'
    assert read((5, event)).output_tokens == 1


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
    stream = read((1, data))
    assert (stream.tokens, stream.error, stream.engine_tpot_milliseconds) == ((), "", None)


def test_a_token_without_text_is_a_token() -> None:
    """Half a character, or a special id: the first token came when its event came."""
    events = [
        completion(100, ""),
        completion(120, " \N{GRINNING FACE}"),
        completion(140, ""),
        completion(160, "", finish_reason="length"),
        (160, json.dumps({"choices": [], "usage": used(4)}).encode()),
        (160, DONE),
    ]
    stream = read(*events)
    assert (stream.ttft_milliseconds, stream.tpot_milliseconds, stream.output_tokens) == (100, 20, 4)
    assert (stream.events, stream.textless) == (4, 2)
    assert read(*events[:2], whole=False).tokens == ((100 * MS, 1), (120 * MS, 1))


def test_a_whole_answer_without_text_has_the_times_of_its_events() -> None:
    events = [completion(at, "", usage=used(1 + place)) for place, at in enumerate((100, 120, 140))]
    stream = read(*events, (140, DONE))
    assert (stream.ttft_milliseconds, stream.tpot_milliseconds) == (100, 20)
    assert (stream.events, stream.textless) == (3, 3)


def test_tokens_that_were_merged_into_an_event_count_as_many() -> None:
    events = [completion(at, " a", usage=used(n)) for at, n in ((100, 1), (120, 2), (160, 4), (180, 5))]
    stream = read(*events, (180, DONE))
    assert [count for _, count in stream.tokens] == [1, 1, 2, 1]
    assert stream.tpot_milliseconds == 20
    closing = [(at, json.dumps({"choices": [{"text": "a"}]}).encode()) for at in (100, 120, 160, 180)]
    usage = json.dumps({"choices": [], "usage": used(7)}).encode()
    assert [count for _, count in read(*closing, (180, usage), (180, DONE)).tokens] == [1, 2, 2, 2]


def test_an_end_without_a_token_is_none_where_the_engine_counts_fewer() -> None:
    events = [
        completion(10, "a"),
        completion(20, "b"),
        completion(20, "", finish_reason="length", usage=used(2)),
    ]
    assert read(*events, (20, DONE)).tokens == ((10 * MS, 1), (20 * MS, 1))


def wire(tokens: int, *, separator: bytes = b"\n\n", text: str = " word") -> bytes:
    """An answer as vLLM sends it: a chunk for each token, the usage, the end."""
    events = [json.dumps({"choices": [{"text": text}]}).encode() for _ in range(tokens)]
    events += [json.dumps({"choices": [], "usage": {"completion_tokens": tokens}}).encode(), DONE]
    return HEAD + in_chunks(*events, separator=separator) + b"0\r\n\r\n"


@given(
    st.lists(st.integers(0, 5000), max_size=20),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
    st.sampled_from([" word", "data: ", "\ndata: {", '"completion_tokens": 7', '"text":""']),
)
def test_tokens_are_counted_wherever_reads_end(places: list[int], separator: bytes, text: str) -> None:
    raw = wire(30, separator=separator, text=text)
    edges = sorted({0, len(raw), *(place % len(raw) for place in places)})
    stream = received(*((low, raw[low:high]) for low, high in itertools.pairwise(edges))).result(whole=True)
    assert (stream.events, stream.output_tokens, stream.error) == (30, 30, "")


def test_events_that_a_proxy_parts_are_whole() -> None:
    """It writes chunks of its own, whose edges may lie anywhere."""
    body = b"".join(b"data: %b\n\n" % event for event in (
        b'{"choices":[{"text":"a"}]}', b'{"choices":[{"text":"b","finish_reason":"length"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}', DONE,
    ))  # fmt: skip
    for edge in range(1, len(body)):
        parts = (body[:edge], body[edge:])
        raw = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        place = raw.index(parts[1]) if edge > 1 else len(HEAD)
        for cut in range(place - 8, place + 2):
            stream = received((1, raw[:cut]), (1, raw[cut:])).result(whole=True)
            assert not stream.error
        assert (stream.output_tokens, stream.prompt_tokens, stream.finish_reason) == (2, 8, "length")


ROLE = in_chunks(b'{"choices":[{"delta":{"role":"assistant","content":""}}]}')
TOKEN = in_chunks(b'{"choices":[{"delta":{"content":"a"}}]}')


@pytest.mark.parametrize(
    "silent",
    [
        b": ping\n\n",
        ROLE,
        in_chunks(b'{"choices":[],"prompt_filter_results":[]}'),
        in_chunks(b'{"choices":[],"prompt_filter_results":[]}') + ROLE,
    ],
)
async def test_what_holds_no_token_begins_no_answer(silent: bytes) -> None:
    stream = received((10, HEAD), (20, silent))
    with pytest.raises(RequestFailed):
        await stream.wait_started(0.0)
    assert received((10, HEAD), (20, silent), (30, TOKEN)).first_token_ns == 30 * MS
    stream = received((10, HEAD), (20, silent + TOKEN))
    await stream.wait_started(0.0)
    assert stream.first_token_ns == 20 * MS


def test_a_role_that_comes_in_two_reads_is_no_token() -> None:
    for edge in range(1, len(ROLE)):
        stream = received((10, HEAD), (20, ROLE[:edge]), (30, ROLE[edge:]))
        assert stream.first_token_ns is None
        assert (
            received((10, HEAD), (20, ROLE[:edge]), (30, ROLE[edge:]), (40, TOKEN)).first_token_ns == 40 * MS
        )


@pytest.mark.parametrize("size", [10, 3_000, 30_000])
@pytest.mark.parametrize("step", [700, 100_000])
def test_a_last_event_is_read_however_long_it_is(size: int, step: int) -> None:
    usage = b'{"choices":[],"more":"%s","usage":{"prompt_tokens":8,"completion_tokens":31}}' % (b"x" * size)
    end = b'{"choices":[{"text":"b","finish_reason":"length"}]}'
    raw = HEAD + in_chunks(*[b'{"choices":[{"text":"a"}]}'] * 30, end, usage, DONE) + b"0\r\n\r\n"
    reads = [(1 + at, raw[at : at + step]) for at in range(0, len(raw), step)]
    found = received(*reads).result(whole=True)
    assert (found.prompt_tokens, found.finish_reason, found.output_tokens) == (8, "length", 31)


def test_no_read_is_kept_once_the_head_is_known() -> None:
    raw = wire(30)
    stream = received((1, raw[:100]), (2, raw[100:300]), (3, raw[300:]))
    assert [data for _, data in stream.reads] == [raw[:100]]


def test_what_went_wrong_in_a_stream_is_told() -> None:
    error = in_chunks(b'{"choices":[{"text":"a"}]}', b'{"error": {"message": "out of memory"}}')
    assert "out of memory" in received((1, HEAD + error)).result(whole=True).error
    assert received((1, wire(30)[:500])).result(whole=False).error == ""


def test_what_is_known_of_a_stream_under_way() -> None:
    stream = received((10, HEAD))
    assert (stream.first_token_ns, stream.last_token_ns, stream.tokens_so_far(1.5)) == (None, None, 0)
    token = in_chunks(b'{"choices":[{"text":"a"}]}')
    stream = received((10, HEAD), (20, token), (30, token + token))
    assert (stream.first_token_ns, stream.last_token_ns) == (20 * MS, 30 * MS)
    assert stream.tokens_so_far(1.5) == 4
    role = in_chunks(b'{"choices":[{"delta":{"role":"assistant","content":""}}]}')
    assert received((10, HEAD), (20, role), (30, token)).first_token_ns == 30 * MS
    counted = in_chunks(b'{"choices":[{"text":"a"}],"usage":{"completion_tokens":5}}')
    assert received((10, HEAD), (20, token), (30, counted)).tokens_so_far(1.0) == 5
    assert received((10, HEAD), (20, token), (30, counted)).counted_later == (4.0, 1)
    assert received((10, HEAD), (20, token), (30, token)).counted_later == (0.0, 0)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 9)), max_size=300))
def test_a_thinned_request_has_the_same_figures(gaps: list[tuple[int, int]]) -> None:
    stamps = itertools.accumulate(gap for gap, _ in gaps)
    tokens = tuple((stamp, float(count)) for stamp, (_, count) in zip(stamps, gaps, strict=True))
    whole = StreamResult(sent_ns=0, tokens=tokens, finish_reason="length")
    thin = thinned(whole)
    assert len(thin.tokens) <= MOST_POINTS
    for figure in ("output_tokens", "ttft_milliseconds", "tpot_milliseconds", "end_to_end_milliseconds"):
        assert getattr(thin, figure) == getattr(whole, figure)
