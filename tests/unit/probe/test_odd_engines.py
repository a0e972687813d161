"""Engines that refuse, hang up, say little or give less than was asked for: no figure of theirs is wrong and
clean."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tacho_contract.measurement import Measurement
from tacho_runtime.probe.load import requests
from tacho_runtime.probe.sequence import run_probe
from tests.unit.probe.engines import ask, live, mock_engine, target

OUTPUT_TOKENS, STREAMS = 32, 4
LAW = {"ttft_base_ms": 20.0, "ttft_per_token_ms": 0.0, "itl_base_ms": 8.0, "itl_per_seq_ms": 0.5}
SILENT = {"no_continuous_usage": True, "counters": "none"}
"""Tokens are counted by nobody but in the last event of an answer."""


async def probed(*, budget: int = 8, **engine: object) -> Measurement:
    with mock_engine(**LAW, **engine) as port:
        return await run_probe(
            target(port, concurrency=STREAMS, slots=STREAMS),
            live(inputs=32, outputs=OUTPUT_TOKENS, budget=budget),
            plan_key="plan",
            rng=Random(1),
        )


def most(streams: int) -> float:
    """Tokens per second by the law; a busy machine has fewer, and none has more."""
    gap = LAW["itl_base_ms"] + streams * LAW["itl_per_seq_ms"]
    return 1000 * streams * OUTPUT_TOKENS / (LAW["ttft_base_ms"] + (OUTPUT_TOKENS - 1) * gap)


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ("drop-every:5", "the connection ended within the answer"),
        ("drop-every:30", "the connection ended within the answer"),
        ("busy-every:5", "429"),
        ("busy-every:30", "429"),
    ],
)
async def test_answers_that_fail_now_and_then_are_told_and_nothing_of_them_is_clean(
    fail: str, said: str
) -> None:
    measured = await probed(fail=fail)
    assert said in measured.message
    assert measured.state != "Complete" or "NotSteady" in measured.flags
    for point in measured.curve:
        assert point.output_tokens_per_second < 1.1 * most(point.concurrency), point


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ("busy-at:1", "429"),
        ("away-at:2", "503"),
        ("busy-at:6", "429"),
        ("fault-at:6", "500"),
        ("drop-at:6", "the connection ended within the answer"),
    ],
)
async def test_one_request_that_fails_is_sent_again_and_ends_nothing(fail: str, said: str) -> None:
    """The first, one of the warm-up, and one of the single stream's or its prompts'."""
    measured = await probed(fail=fail, budget=10)  # a longer one scores a text first
    assert measured.single_stream is not None
    assert max(point.concurrency for point in measured.curve) == STREAMS
    assert "1 request was retried after a failure" in measured.message
    assert said in measured.message
    assert "OtherTraffic" not in measured.flags


@pytest.mark.parametrize(("fail", "said"), [("busy-every:1", "429"), ("away-every:1", "503")])
async def test_an_engine_that_always_fails_is_given_up_with_its_reason(fail: str, said: str) -> None:
    measured = await probed(fail=fail)
    assert measured.state == "Failed"
    assert said in measured.message
    assert "(4 times in a row)" in measured.message
    assert measured.probe_seconds < 15


async def test_an_engine_that_begins_to_fail_is_given_up_and_what_came_before_is_kept() -> None:
    measured = await probed(fail="errors-after:11")
    assert measured.state == "Partial"
    assert measured.single_stream is not None
    assert "HTTP 500" in measured.message
    assert "(4 times in a row)" in measured.message


@pytest.mark.parametrize(
    "engine",
    [
        {"empty_chunks": 1},
        {"empty_chunks": 1, **SILENT},
        {"tokens_per_chunk": 4, **SILENT},
        SILENT,
    ],
)
async def test_events_are_not_taken_for_tokens(engine: dict[str, object]) -> None:
    measured = await probed(**engine)
    assert measured.single_stream is not None
    limit = 1.1 * 1000 / (LAW["itl_base_ms"] + LAW["itl_per_seq_ms"])
    assert measured.single_stream.decode_tokens_per_second < limit
    assert max(point.concurrency for point in measured.curve) == STREAMS
    for point in measured.curve:
        assert point.output_tokens_per_second < 1.1 * most(point.concurrency), point
        assert point.output_tokens_per_second / point.requests_per_second == pytest.approx(OUTPUT_TOKENS)


async def test_tokens_that_are_hidden_before_the_first_event_raise_no_clean_rate() -> None:
    """Of 32 tokens 12 counted for the 20 later ones: a rate 1.6 times too high, without a flag."""
    measured = await probed(hidden_tokens=12, **SILENT)
    assert measured.single_stream is not None
    assert "NotSteady" in measured.flags
    assert "later than in an answer of one token, as where reasoning is hidden" in measured.message
    speed = measured.single_stream.prefill_tokens_per_second
    assert speed is None or speed > 1000, "the prompts' times are those of answers of one token"


@pytest.mark.parametrize("silent", [{}, SILENT], ids=["counted", "silent"])
async def test_an_event_at_the_request_is_no_first_token(silent: dict[str, object]) -> None:
    measured = await probed(opening_event=True, **silent)
    assert "before its first token" in measured.message
    assert measured.single_stream is not None
    assert measured.cold_first_request_milliseconds is not None
    assert measured.cold_first_request_milliseconds >= LAW["ttft_base_ms"]
    assert measured.single_stream.ttft_milliseconds_p50 >= LAW["ttft_base_ms"]
    for point in measured.curve:
        assert point.ttft_milliseconds_p50 >= LAW["ttft_base_ms"], point
        assert point.output_tokens_per_second < 1.1 * most(point.concurrency), point
        assert point.output_tokens_per_second / point.requests_per_second == pytest.approx(OUTPUT_TOKENS)


@pytest.mark.parametrize("silent", [{}, SILENT], ids=["counted", "silent"])
async def test_requests_are_those_of_the_length_that_came(silent: dict[str, object]) -> None:
    """Half of what was asked for, which the engine calls all of it."""
    measured = await probed(short_share=0.5, **silent)
    assert "ShortOutput" in measured.flags
    for point in measured.curve:
        tokens = point.output_tokens_per_second / point.requests_per_second
        assert tokens == pytest.approx(OUTPUT_TOKENS / 2, rel=0.25), point


@pytest.mark.parametrize(
    ("fail", "flags", "said"),
    [
        ("cut-above:2", {"ShortOutput"}, ""),
        ("abort-above:2", set(), "the engine gave up an answer: abort"),
        ("empty-above:2", set(), "an answer without a token"),
        ("stop-above:2", {"ShortOutput"}, ""),
        ("close-above:2", set(), "the connection ended within the answer"),
    ],
)
async def test_answers_that_a_full_engine_cuts_are_no_clean_capacity(
    fail: str, flags: set[str], said: str
) -> None:
    """They made the requests a second eight times as many, without a flag, or ended the probe."""
    measured = await probed(fail=fail)
    assert measured.single_stream is not None
    assert flags <= {*measured.flags}
    assert said in measured.message
    assert "IndexError" not in measured.message
    if not flags and measured.capacity and "NotSteady" not in measured.flags:
        assert (measured.capacity.concurrency or 0) <= 2, "as many as it carries"


@pytest.mark.parametrize("letters", [False, True])
async def test_an_engine_that_counts_letters_for_tokens_is_told(
    letters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of a quarter of the length made a capacity too high, without a flag."""
    if letters:
        monkeypatch.setattr(requests, "WORDS", tuple(" ".join(word) for word in requests.WORDS))
    measured = await probed(no_token_prompts=True, budget=5)
    assert ("OtherInput" in measured.flags) == letters
    assert ("tokens in a common word" in measured.message) == letters


async def test_other_clients_are_told_where_the_start_of_the_engine_moves() -> None:
    """Each reading was taken for another engine's: beside 16 streams 219 tokens/s of 384 had no flag."""
    measured = await probed(moving_start=True, foreign_streams=16, foreign_seconds=99.0, budget=5)
    assert "OtherTraffic" in measured.flags
    assert "while one stream was measured the engine had 16 requests of other clients" in measured.message
    assert all("OtherTraffic" in point.flags for point in measured.curve), measured.curve


@pytest.mark.parametrize("others", [0, 2])
async def test_other_clients_of_an_engine_without_metrics_are_known_by_their_connections(others: int) -> None:
    """Beside other clients one stream's rate was 28 % too low, without a flag."""
    body = {"model": "mock", "prompt": "hello", "max_tokens": 4000, "ignore_eos": True}
    with mock_engine(**LAW, counters="none", max_model_len=8192) as port:
        threads = [asyncio.to_thread(ask, port, "/v1/completions", body) for _ in range(others)]
        chatter = [asyncio.ensure_future(thread) for thread in threads]
        await asyncio.sleep(0.2)
        measured = await run_probe(
            target(port, concurrency=STREAMS, slots=STREAMS),
            live(inputs=32, outputs=OUTPUT_TOKENS, budget=5),
            plan_key="plan",
            rng=Random(1),
        )
        ask(port, "/_law", {"itl_base_ms": 0.0, "itl_per_seq_ms": 0.0})
        await asyncio.gather(*chatter)
    assert ("OtherTraffic" in measured.flags) is bool(others), measured
    assert all(("OtherTraffic" in point.flags) is bool(others) for point in measured.curve), measured.curve
    said = f"while one stream was measured the engine had {others} requests of other clients"
    assert (said in measured.message) is bool(others)


@pytest.mark.parametrize("lies", [True, False])
async def test_answers_that_claim_twice_the_tokens_that_they_have_are_told(lies: bool) -> None:
    """Half of what was asked for came, and counted as all of it: 235 tokens/s of 118, without a flag."""
    half = {"usage_times": 2.0, "short_share": 0.5} if lies else {}
    measured = await probed(budget=5, **half)
    said = "answers claim 32 tokens each and by the engine's metrics have 16: all rates may be 2.0 times too"
    assert (said in measured.message) == lies
    assert "NotSteady" in measured.flags or not lies
