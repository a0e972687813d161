"""When a refused child is sent again, and one that others change after each write."""

from __future__ import annotations

from tacho_operator.core.types import ChildRefusal
from tacho_operator.shell.child_backoff import (
    LONGEST_REFUSED_SECONDS,
    REFUSED_SECONDS,
    WRITE_SECONDS,
    WRITES,
    Backoff,
)

PLACE = ("ml", "smol", "Service", "smol")
INVALID = ChildRefusal(kind="Service", name="smol", message="no", invalid=True)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_stays_invalid_is_sent_after_pauses_that_double() -> None:
    clock = Clock()
    backoff, pauses = Backoff(clock), []
    for _ in range(6):
        backoff.note(PLACE, 1, INVALID)
        pauses.append(backoff.left_seconds(PLACE))
        assert backoff.present(PLACE, 1) == INVALID
        clock.now += pauses[-1]
        assert backoff.present(PLACE, 1) is None
    assert pauses == [REFUSED_SECONDS, 60.0, 120.0, 240.0, LONGEST_REFUSED_SECONDS, LONGEST_REFUSED_SECONDS]


def test_another_spec_is_sent_at_once_and_a_write_ends_the_row() -> None:
    backoff = Backoff(Clock())
    backoff.note(PLACE, 1, INVALID)
    assert backoff.present(PLACE, 2) is None
    backoff.note_write(PLACE)
    assert backoff.present(PLACE, 1) is None


def test_a_rollout_writes_freely_and_a_fight_slowly() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for _ in range(WRITES):
        assert backoff.rest_seconds(PLACE) == 0
        backoff.note_write(PLACE)
    assert backoff.rest_seconds(PLACE) == WRITE_SECONDS
    assert backoff.rest_seconds(("ml", "smol", "Service", "other")) == 0
    clock.now += WRITE_SECONDS
    assert backoff.rest_seconds(PLACE) == 0
    backoff.note_write(PLACE)
    assert backoff.rest_seconds(PLACE) == WRITE_SECONDS


def test_nothing_is_kept_of_a_deleted_resource_s_children() -> None:
    backoff, other = Backoff(Clock()), ("ml", "other", "Service", "other")
    for place in (PLACE, other):
        backoff.note(place, 1, INVALID)
    backoff.forget(("ml", "smol"))
    assert backoff.present(PLACE, 1) is None
    assert backoff.present(other, 1) == INVALID
