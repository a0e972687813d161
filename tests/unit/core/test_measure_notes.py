"""Notes of what attempts to measure came to, and the pauses after them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from tacho_operator.api.conditions import Reason
from tacho_operator.core.measurement.attempts import (
    LONGEST_RETRY_SECONDS,
    PROVISIONAL_RETRY_SECONDS,
    RETRY_SECONDS,
    AttemptNote,
    backoff_seconds,
    next_note,
    read_note,
    wait_seconds,
    write_note,
)
from tests.unit.core.remeasuring import (
    note,
    step,
)
from tools.harness.resources import NOW, at

REASONS = st.sampled_from(
    (
        Reason.CANNOT_JUDGE,
        Reason.REPORT_UNREACHABLE,
        Reason.MEASUREMENT_PROVISIONAL,
        Reason.MEASUREMENT_FAILED,
    )
)


@given(REASONS, st.integers(-5, 10**6))
def test_pauses_grow_and_end_somewhere(reason: Reason, tries: int) -> None:
    first = PROVISIONAL_RETRY_SECONDS if reason == Reason.MEASUREMENT_PROVISIONAL else RETRY_SECONDS
    assert first <= backoff_seconds(reason, tries) <= LONGEST_RETRY_SECONDS
    assert backoff_seconds(reason, tries) <= backoff_seconds(reason, tries + 1)


@given(REASONS, st.text(max_size=20), st.integers(1, 99), st.integers(0, 9), st.floats(-1e7, 1e7))
def test_no_note_waits_for_longer_than_its_pause(
    reason: Reason, message: str, tries: int, crashes: int, passed: float
) -> None:
    found = AttemptNote(
        revision="r",
        measure_key="k",
        reason=reason,
        message=message,
        time=at(0),
        tries=tries,
        crashes=crashes,
    )
    assert read_note(write_note(found, "r", "k"), "r", "k") == found
    assert read_note(write_note(found, "r", "k"), "r", "k", "asked") is None
    wait = wait_seconds(found, NOW + timedelta(seconds=passed))
    assert (wait is None) == (reason == Reason.MEASUREMENT_FAILED)
    pause = backoff_seconds(reason, tries)
    assert wait is None or 0 <= wait <= pause
    assert not wait or passed >= -pause, "a time that is far ahead is wrong"


@given(st.lists(st.tuples(REASONS, st.booleans()), max_size=8))
def test_only_crashes_end_the_trying(attempts: list[tuple[Reason, bool]]) -> None:
    found: AttemptNote | None = None
    for reason, crashed in attempts:
        if found is None or wait_seconds(found, NOW) is not None:
            given_up = Reason.MEASUREMENT_FAILED if crashed else Reason.CANNOT_JUDGE
            found = next_note(found, given_up if crashed else reason, "why", NOW, crashed=crashed)
    if found is not None:
        assert found.tries <= len(attempts)
        failed = found.reason == Reason.MEASUREMENT_FAILED
        assert (
            not failed
            or found.crashes >= 2
            or any(r == Reason.MEASUREMENT_FAILED for r, c in attempts if not c)
        )


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '"x"', note("NoSuchReason", 1), note("CannotJudge", 1, tries="many"), "[" * 10**5],
)
def test_a_note_that_cannot_be_read_is_none(text: str) -> None:
    found = step(note=text)
    assert found.apply
    assert (found.outcome, found.note) == (None, "")
