"""The figures of requests that were sent one after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_runtime.probe.levels import single_result
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.phases.single_stream import engine_flags
from tests.unit.probe.test_levels import MS, NO_SLO, OUTPUT_TOKENS, SERVICE_MS, TTFT_MS, stream


@pytest.mark.parametrize("count", [1, 3, 10])
def test_one_stream_after_the_other(count: int) -> None:
    streams = [stream(index * SERVICE_MS, OUTPUT_TOKENS) for index in range(count)]
    result = single_result(streams, NO_SLO)
    assert result is not None
    assert result.point.output_tokens_per_second == pytest.approx(OUTPUT_TOKENS / SERVICE_MS * 1000)
    assert result.point.steady
    assert (result.point.ci_percent is None) is (count == 1)
    assert result.has_rate


def test_an_answer_that_ends_with_its_first_token_took_its_time_too() -> None:
    streams = [stream(1000 * index, OUTPUT_TOKENS if index else 1) for index in range(3)]
    result = single_result(streams, NO_SLO)
    assert result is not None
    seconds = (TTFT_MS + 2 * SERVICE_MS) / 1000
    assert result.point.window_seconds == pytest.approx(seconds)
    assert result.point.requests_per_second == pytest.approx(3 / seconds)
    assert result.point.output_tokens_per_second == pytest.approx((1 + 2 * OUTPUT_TOKENS) / seconds)


def test_few_requests_are_known_by_their_gaps_and_their_first_tokens() -> None:
    """Half of the time to the first token, 20 % apart: 12.7 times the standard error of two of it."""
    two = [
        replace(one, sent_ns=one.sent_ns - late * MS)
        for late, one in ((260, stream(1000, OUTPUT_TOKENS)), (340, stream(3000, OUTPUT_TOKENS)))
    ]
    result = single_result(two, NO_SLO)
    assert result is not None
    assert result.point.ci_percent == pytest.approx(12.71 * 40 / 800 * 100, rel=0.01)
    assert result.has_rate, "one stream is told however wide its interval is"
    wide = single_result(two, NO_SLO, loss_percent=5.0)
    assert wide is not None
    assert (wide.point.ci_percent or 0) - (result.point.ci_percent or 0) == pytest.approx(5)


def test_few_requests_that_stalled_are_known_that_much_worse() -> None:
    def paused(one: StreamResult) -> StreamResult:
        late = tuple(
            (stamp + 100 * MS * (place >= 20), count) for place, (stamp, count) in enumerate(one.tokens)
        )
        return replace(one, tokens=late)

    even = [stream(at, OUTPUT_TOKENS) for at in (0, 1000, 2000)]
    plain, stalled = (single_result(each, NO_SLO) for each in (even, [*even[:2], paused(even[2])]))
    assert plain is not None
    assert stalled is not None
    assert plain.point.ci_percent == pytest.approx(0.3)
    assert stalled.point.ci_percent == pytest.approx(0.3 + 100 * 100 / 1300, rel=0.05)


def test_one_stream_whose_requests_get_slower_is_not_steady() -> None:
    streams = [stream(index * 1000, OUTPUT_TOKENS, itl_ms=10 + index) for index in range(8)]
    result = single_result(streams, NO_SLO)
    assert result is not None
    assert result.point.flags == ("NotSteady",)
    assert single_result([], NO_SLO) is None


def _stretched(one: StreamResult, times: float, *, tokens: float = 1.0, halt_ms: int = 0) -> StreamResult:
    """``one`` whose events come so many times as slowly, after the first one with so many tokens each."""
    begins = one.tokens[0][0]
    later = (
        (begins + int(times * (stamp - begins)) + halt_ms * MS, tokens * count)
        for stamp, count in one.tokens[1:]
    )
    return replace(one, tokens=(one.tokens[0], *later))


@pytest.mark.parametrize(
    ("times", "tokens", "halt_ms", "told"),
    [
        (3.0, 1.0, 0, True),
        (2.0, 1.0, 0, False),
        (1.0, 3.0, 0, False),
        (3.0, 3.0, 0, False),
        (1.0, 1.0, 3000, False),
    ],
    ids=["another engine", "a busy machine", "speculation", "two events at once", "one halt"],
)
def test_requests_alone_of_different_speed_are_not_those_of_one_engine(
    times: float, tokens: float, halt_ms: int, told: bool
) -> None:
    """Of two engines behind one address 5 streams had 342 tokens/s within 6 %, where 235 stay in the end."""
    even = [stream(at, OUTPUT_TOKENS) for at in (0, 1000, 2000)]
    flags, clause = engine_flags(
        [*even, _stretched(stream(4000, OUTPUT_TOKENS), times, tokens=tokens, halt_ms=halt_ms)]
    )
    assert ("as of two engines" in clause) is told
    assert "NotSteady" in flags or not told
    assert engine_flags(even) == ((), "")
