"""An error event of any length within a stream is an error, and no token."""

from __future__ import annotations

import json

import pytest

from tests.unit.probe.test_streams import DONE, HEAD, Event, completion, in_chunks, received

READ_BYTES = 8192


def reads(begins_ms: int, data: bytes) -> list[Event]:
    return [(begins_ms, data[at : at + READ_BYTES]) for at in range(0, len(data), READ_BYTES)]


@pytest.mark.parametrize("size", [1_000, 65_000, 66_000, 300_000, 3_000_000])
@pytest.mark.parametrize("form", ['{"error": {"message": "%s"}}', '{"object": "error", "error": "%s"}'])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("done", [True, False])
def test_an_error_of_any_length_is_no_token(size: int, form: str, before: int, done: bool) -> None:
    tokens = [(10 * at, in_chunks(completion(0, "a")[1])) for at in range(1, 1 + before)]
    error = reads(50, in_chunks((form % ("x" * size)).encode()))
    end = in_chunks(DONE) if done else b""
    stream = received((1, HEAD), *tokens, *error, (60, end + b"0\r\n\r\n"))
    found = stream.result(whole=True)
    assert "the engine answered in its stream" in found.error
    assert found.tokens == ()
    assert len(stream._tail) <= 64 * 1024 + READ_BYTES


@pytest.mark.parametrize("size", [1_000, 300_000])
def test_a_long_event_with_choices_is_none(size: int) -> None:
    text = {"choices": [{"text": "a", "finish_reason": "length"}], "error": None, "prompt": "x" * size}
    stream = received(
        (1, HEAD), *reads(20, in_chunks(json.dumps(text).encode())), (60, in_chunks(DONE) + b"0\r\n\r\n")
    )
    found = stream.result(whole=True)
    assert found.error == ""
    assert found.output_tokens == 1
