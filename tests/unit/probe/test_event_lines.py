"""Events of several lines, and events that hold no token: both are standard, and clients read them."""

from __future__ import annotations

import itertools
import json

import pytest

from tacho_runtime.probe.load.events import events_in
from tacho_runtime.probe.load.streams import StreamResult
from tests.unit.probe.scripted_engine import STREAM, Answer, always, asked
from tests.unit.probe.test_streams import DONE, HEAD, MS, Event, in_chunks, received

PING = b'{"type":"ping"}'


def pretty(document: object, *, line_end: bytes = b"\n") -> bytes:
    """An event as of a server that prints its JSON over several lines."""
    lines = json.dumps(document, indent=1).encode().splitlines()
    piece = b"".join(b"data: " + line + line_end for line in lines) + line_end
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def delta(**content: str) -> object:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": None}]}


def answer(*, line_end: bytes, total: bool) -> list[Event]:
    """A role at 10 ms, four tokens from 20 ms on, the end."""
    events = [
        (10, HEAD + pretty(delta(role="assistant", content=""), line_end=line_end)),
        *((10 * place, pretty(delta(content="a"), line_end=line_end)) for place in range(2, 6)),
        (50, pretty({"choices": [{"delta": {}, "finish_reason": "length"}]}, line_end=line_end)),
    ]
    if total:
        usage = {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 4}}
        events.append((50, pretty(usage, line_end=line_end)))
    return [*events, (50, in_chunks(DONE) + b"0\r\n\r\n")]


def figures(events: list[Event], **options: int) -> StreamResult:
    stream = received(*events)
    stream.max_tokens = options.get("max_tokens")
    return stream.result(whole=True)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_event_of_several_lines_is_one(line_end: bytes) -> None:
    found = figures(answer(line_end=line_end, total=True), max_tokens=4)
    assert (found.error, found.finish_reason, found.prompt_tokens) == ("", "length", 8)
    assert found.output_tokens == pytest.approx(4)
    assert (found.tokens[0][0], found.tokens[-1][0]) == (20 * MS, 50 * MS)


def test_without_a_count_its_lines_are_no_tokens() -> None:
    events = [
        (10, HEAD + pretty(delta(content="a"))),
        *((10 * place, pretty(delta(content="a"))) for place in range(2, 101)),
    ]
    found = received(*events).result(whole=False)
    assert found.output_tokens == pytest.approx(100, rel=0.02)


def test_lines_of_which_the_first_ones_are_no_longer_there_are_no_error() -> None:
    """Of a long answer its end is kept, which may begin in the middle of an event."""
    for length in range(3000, 3400, 7):
        texts = [pretty(delta(content="a" * 40)) for _ in range(length // 150)]
        raw = b"".join(texts) + pretty(delta(content="a" * (length % 150))) + in_chunks(DONE) + b"0\r\n\r\n"
        halves = (HEAD, *(raw[at : at + 1500] for at in range(0, len(raw), 1500)))
        assert received(*enumerate(halves)).result(whole=True).error == ""


def test_lines_that_are_objects_themselves_are_events() -> None:
    """Some servers leave out the blank line."""
    pieces = [b'data: {"choices":[{"text":"a"}]}\n'] * 3 + [b"data: [DONE]\n\n"]
    body = b"".join(pieces)
    raw = HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    found = received((10, raw)).result(whole=True)
    assert (found.error, found.events, found.finish_reason) == ("", 3, "length")


LINE = b'{"choices":[{"text":"a","finish_reason":null}]}'
USED = b'{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":4}}'
FORMS = {
    "no space": b"data:%b\n\n",
    "CRLF": b"data: %b\r\n\r\n",
    "a comment before": b": ping\n\ndata: %b\n\n",
    "a comment in the event": b": ping\ndata: %b\n\n",
    "other fields before": b"event: message\r\nid: 7\r\ndata: %b\r\n\r\n",
    "other fields after": b"data: %b\nid: 7\nretry: 100\n\n",
    "a space after": b"data: %b \n\n",
}
AMID = (b"", b": ping\n", b"id: 7\n", b":\nevent\n", b"retry: 100\n")


def in_form(form: bytes, last: bytes, *, chunked: bool) -> StreamResult:
    """Four tokens, the usage, and the last event."""
    pieces = [*(form % line for line in (*[LINE] * 4, USED)), last]
    head = HEAD if chunked else HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")
    sent = [b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece for piece in pieces]
    return figures([(10 * at, (head if at == 1 else b"") + piece) for at, piece in enumerate(sent, 1)])


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_events_in_every_form_that_servers_and_proxies_send_are_the_same(form: bytes, chunked: bool) -> None:
    for last in (form % DONE, b"data: [DONE]", b"data:[DONE]\n"):  # also without a blank line at the end
        found = in_form(form, last, chunked=chunked)
        assert (found.error, found.events, found.finish_reason) == ("", 4, "length")
        assert (found.output_tokens, found.prompt_tokens) == (4, 8)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("amid", AMID)
def test_a_line_that_is_no_data_does_not_divide_an_event(amid: bytes, chunked: bool) -> None:
    """A proxy keeps its connection by comments, wherever a line has ended."""
    event = b"data: {\n" + amid + b"data: " + LINE[1:] + b"\n\n"
    sent = b"%x\r\n%b\r\n" % (len(event), event) if chunked else event
    (found,) = events_in(HEAD + sent)
    assert found == (2, json.loads(LINE))


@pytest.mark.parametrize(
    "ping", [PING, b'{"choices": []}', b'{"choices":[ ], "usage": null}', b'{"choices":null}']
)
@pytest.mark.parametrize("pings", [1, 3])
def test_pings_between_tokens_that_nobody_counts_are_no_tokens(pings: int, ping: bytes) -> None:
    """Of an answer that ended early, every rate was shown as twice what it is."""
    step = in_chunks(b'{"choices":[{"text":"a"}]}', *([ping] * pings))
    events = [(10 * place, (HEAD if place == 1 else b"") + step) for place in range(1, 51)]
    end = in_chunks(b'{"choices":[{"text":"","finish_reason":"stop"}]}', DONE) + b"0\r\n\r\n"
    found = figures([*events, (500, end)], max_tokens=100)
    assert found.output_tokens == pytest.approx(50, rel=0.05)
    assert found.shorter
    under_way = received(*events)
    assert under_way.tokens_so_far(1.0) == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize("ping", [PING, b'{"choices": []}'])
def test_a_key_that_comes_in_two_reads_is_one(ping: bytes) -> None:
    raw = HEAD + in_chunks(*([b'{"choices":[{"text":"a"}]}', ping] * 40))
    for step in (1, 7, 50):
        cuts = [*range(0, len(raw), step), len(raw)]
        stream = received(*((low, raw[low:high]) for low, high in itertools.pairwise(cuts)))
        assert stream.tokens_so_far(1.0) == pytest.approx(40, abs=1)


MULTILINE = b'data: {"choices": [\ndata: {"text": "a", "finish_reason": null}\ndata: ]}\n\n'


@pytest.mark.parametrize(
    "answered",
    [
        STREAM + b"data: a\n\ndata:  word\n\n",
        STREAM + b'data: {"token": {"text": "a"}}\n\ndata: [DONE]\n\n',
        STREAM + b'event: content_block_delta\ndata: {"delta": {"text": "a"}}\n\n',
    ],
)
async def test_a_custom_engine_may_stream_events_of_another_kind(answered: Answer) -> None:
    """It crashed at each start, though its clients got what they asked for."""
    assert (await asked(always(answered))).state == "Failed"


async def test_an_engine_with_events_of_several_lines_is_understood() -> None:
    end = b'data: {"choices": [{"text": "", "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
    assert "JSON" not in (await asked(always(STREAM + 8 * MULTILINE + end))).message
