"""Answers that end early, are given up, or are counted late: from events written here."""

from __future__ import annotations

import pytest

from tests.unit.probe.test_streams import DONE, HEAD, completion, in_chunks, read, received, used


@pytest.mark.parametrize(("late", "ahead"), [(12, False), (13, True)])
def test_a_running_count_may_end_a_tenth_of_the_events_and_three_before_them(late: int, ahead: bool) -> None:
    """The end of the stream is an event, too. More is an engine whose texts come later."""
    told = [{"usage": used(min(100 - late, n))} for n in range(1, 101)]
    events = [completion(10 * n, "a", **more) for n, more in enumerate(told, 1)]
    assert (
        read(
            *events[:-1], completion(1000, "a", finish_reason="length", usage=used(100 - late)), (1000, DONE)
        ).shared_out
        == ahead
    )


@pytest.mark.parametrize(
    ("told", "asked", "short"),
    [(16, 16, False), (16, 17, False), (16, 20, True), (None, 20, False), (None, 24, True)],
)
def test_an_answer_with_fewer_tokens_than_were_asked_for_is_short_whatever_it_says(
    told: int | None, asked: int, short: bool
) -> None:
    """Without a total, events may have been merged: fewer than three quarters of the tokens are no chance."""
    usage = {"usage": used(told)} if told else {}
    events = [completion(10 * n, "a") for n in range(1, 16)]
    events.append(completion(160, "a", finish_reason="length", **usage))
    raw = received(*((at, (b"" if at > 10 else HEAD) + in_chunks(data)) for at, data in events))
    raw.max_tokens = asked
    assert raw.result(whole=True).shorter == short
    assert not received((10, HEAD + in_chunks(events[0][1]))).result(whole=False).shorter


@pytest.mark.parametrize("reason", ["abort", "error", "cancelled"])
def test_an_answer_that_the_engine_gave_up_is_a_failure(reason: str) -> None:
    stream = read(completion(10, "a"), completion(20, "a", finish_reason=reason), (20, DONE))
    assert stream.error == f"the engine gave up an answer: {reason}"
    assert not stream.tokens


@pytest.mark.parametrize(("extra", "longer"), [(0, False), (1, True)])
@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_is_no_longer_one_between_its_last_event_and_its_end(
    whole: bool, extra: int, longer: bool
) -> None:
    """Where a loop was read just then, an engine without totals had LongOutput, in one probe of seven."""
    events = [completion(10 * n, "a")[1] for n in range(1, 17 + extra)]
    ends = completion(0, "", finish_reason="length")[1], DONE
    raw = received((10, HEAD), *((20 + at, in_chunks(data)) for at, data in enumerate([*events, *ends])))
    raw.max_tokens = 16
    assert raw.result(whole=whole).longer == longer
