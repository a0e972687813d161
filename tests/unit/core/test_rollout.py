"""The rollout as a table: what is, what is desired, what is done next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.problems import Problem
from tacho_operator.core.rollout.decision import PodCount, Rollout, RolloutInput, next_step
from tacho_operator.core.rollout.record import (
    LONGEST_PAUSE_SECONDS,
    SETTLE_SECONDS,
    RollbackRecord,
    Serving,
    read_record,
)
from tools.harness.resources import NOW


def ago(seconds: float) -> str:
    return format_time(NOW - timedelta(seconds=seconds))


LONG_AGO, JUST_NOW = ago(3600), ago(3)
KNOWN = ("a", "b", "c", "d")


def step(
    desired: str, serving: Serving, have: str, *, replicas: int = 1, trouble: Problem | None = None
) -> Rollout:
    """``have``: Deployments as ``name:size:ready``, and ``:available`` where not all ready pods are."""
    found = {name: [int(count) for count in counts] for name, *counts in (i.split(":") for i in have.split())}
    return next_step(
        RolloutInput(
            desired=desired,
            known=KNOWN,
            replicas=replicas,
            pods={
                name: PodCount(
                    ready=ready,
                    available=available[0] if available else ready,
                    requeue_after_seconds=7.0 if available else None,
                )
                for name, (_, ready, *available) in found.items()
            },
            deployments={name: counts[0] for name, counts in found.items()},
            serving=serving,
            trouble=trouble,
            now=NOW,
        )
    )


NOBODY = Serving()
BEGUN = Serving(selected="a", exists=True)
ON_A = Serving(active="a", selected="a", switched_time=LONG_AGO, exists=True)
TOGETHER = Serving(active="a", selected="", admitted="b", switched_time=LONG_AGO, exists=True)
LET_IN = Serving(active="a", selected="", admitted="b", switched_time=JUST_NOW, exists=True)
MIXED = replace(TOGETHER, admitted="")
C_LET_IN = replace(LET_IN, admitted="c")
TAKEN_OVER = Serving(active="b", selected="b", admitted="b", switched_time=LONG_AGO, exists=True)
FELL = Serving(active="a", selected="a", rollback=RollbackRecord(revision="b", time=JUST_NOW), exists=True)
FELL_LONG_AGO = Serving(
    active="a", selected="a", rollback=RollbackRecord(revision="b", time=LONG_AGO), exists=True
)
GONE = Serving(active="gone", selected="gone", exists=True)

# desired, who serves, replicas, Deployments as name:size:ready[:available]
#     -> active, selected, Deployments as name:size, dropped
ROWS = {
    "first starts": ("a", NOBODY, 1, "", "", "a", "a:1", ""),
    "first of three starts alone": ("a", NOBODY, 3, "", "", "a", "a:1", ""),
    "first is ready, the others follow": ("a", BEGUN, 3, "a:1:1:0", "a", "a", "a:3", ""),
    "nothing desired yet": ("", NOBODY, 1, "", "", "", "", ""),
    "a broken first one is replaced at once": ("b", BEGUN, 1, "a:1:0", "", "b", "b:1", "a"),
    "not if it got ready at the last moment": ("b", BEGUN, 1, "a:1:1:0", "a", "a", "a:1 b:1", ""),
    "steady": ("a", ON_A, 2, "a:2:2", "a", "a", "a:2", ""),
    "scaled up": ("a", ON_A, 5, "a:2:2", "a", "a", "a:5", ""),
    "scaled to zero": ("a", ON_A, 0, "a:2:2", "a", "a", "a:0", ""),
    "active lost its pods": ("a", ON_A, 2, "a:2:0", "a", "a", "a:2", ""),
    "the Service and every note are lost": ("b", NOBODY, 1, "a:1:1 b:1:0", "a", "a", "a:1 b:1", ""),
    "candidate starts with one": ("b", ON_A, 3, "a:3:3", "a", "a", "a:3 b:1", ""),
    "candidate not ready": ("b", ON_A, 1, "a:1:1 b:1:0", "a", "a", "a:1 b:1", ""),
    "just ready": ("b", ON_A, 1, "a:1:1 b:1:1:0", "a", "a", "a:1 b:1", ""),
    "just ready, but the active one is down": ("b", ON_A, 1, "a:1:0 b:1:1:0", "a", "", "a:1 b:1", ""),
    "single candidate available: both serve": ("b", ON_A, 1, "a:1:1 b:1:1", "a", "", "b:1 a:1", ""),
    "it settles": ("b", LET_IN, 1, "a:1:1 b:1:1", "a", "", "b:1 a:1", ""),
    "settled: it takes over": ("b", TOGETHER, 1, "a:1:1 b:1:1", "b", "b", "b:1", "a"),
    "settled once, just ready again: alone again": (
        "b",
        TOGETHER,
        1,
        "a:1:1 b:1:1:0",
        "a",
        "a",
        "a:1 b:1",
        "",
    ),
    "it falls while it settles: alone again": ("b", LET_IN, 1, "a:1:1 b:1:0", "a", "a", "a:1 b:1", ""),
    "all of three fall: they make room": ("b", LET_IN, 3, "a:1:1 b:3:0", "a", "a", "a:1 b:1", ""),
    "all of three just ready again: alone": ("b", LET_IN, 3, "a:1:1 b:3:2:0", "a", "a", "a:1 b:1", ""),
    "not let in, but reached": ("b", MIXED, 3, "a:1:1 b:3:2:0", "a", "", "a:1 b:2", ""),
    "reverted while two others serve": ("a", MIXED, 4, "a:4:1 b:3:1 c:2:2", "a", "", "a:2 b:1 c:2", ""),
    "both are down: whoever comes first serves": ("b", LET_IN, 1, "a:1:0 b:1:0", "a", "", "b:1 a:1", ""),
    "it pauses": ("b", FELL, 1, "a:1:1 b:1:1", "a", "a", "a:1 b:1", ""),
    "it pauses, but the active one is down": ("b", FELL, 1, "a:1:0 b:1:1", "a", "", "a:1 b:1", ""),
    "after the pause it is let in again": ("b", FELL_LONG_AGO, 1, "a:1:1 b:1:1", "a", "", "b:1 a:1", ""),
    "another candidate need not pause": ("c", FELL, 1, "a:1:1 c:1:1", "a", "", "c:1 a:1", ""),
    "first of three available: together": ("b", ON_A, 3, "a:3:3 b:1:1", "a", "", "b:1 a:3", ""),
    "the Service is refused: the old one keeps all": ("b", ON_A, 3, "a:3:3 b:3:3", "a", "", "b:3 a:3", ""),
    "the Service has turned: the old one shrinks": ("b", TOGETHER, 3, "a:3:3 b:3:1", "a", "", "b:2 a:2", ""),
    "second of four available": ("b", TOGETHER, 4, "a:2:2 b:4:3:2", "a", "", "b:3 a:2", ""),
    "one of them is lost: it makes room": ("b", TOGETHER, 3, "a:1:1 b:3:1", "a", "", "b:2 a:1", ""),
    "all available, not settled: one stays": ("b", LET_IN, 3, "a:1:1 b:3:3", "a", "", "b:3 a:1", ""),
    "all ready and settled, one just now": ("b", TOGETHER, 3, "a:1:1 b:3:3:2", "a", "", "b:3 a:1", ""),
    "all available and settled": ("b", TOGETHER, 3, "a:1:1 b:3:3", "b", "b", "b:3", "a"),
    "taken over, the old one is still there": ("b", TAKEN_OVER, 1, "a:1:1 b:1:1", "b", "b", "b:1", "a"),
    "fallen before the old one went": ("b", TAKEN_OVER, 1, "a:1:1 b:1:0", "a", "a", "a:1 b:1", ""),
    "reverted while the candidate was pending": ("a", ON_A, 1, "a:1:1 b:1:0", "a", "a", "a:1", "b"),
    "reverted while only it is available": ("a", ON_A, 1, "a:1:0 b:1:1", "a", "", "a:1 b:1", ""),
    "reverted in the middle": ("a", TOGETHER, 3, "a:1:1 b:3:2", "a", "", "a:1 b:2", ""),
    "changed once more while pending": ("c", ON_A, 1, "a:1:1 b:1:0", "a", "a", "a:1", "b"),
    "no plan: the old one goes on": ("", ON_A, 2, "a:2:2 b:1:0", "a", "a", "a:2", "b"),
    "no plan while two serve together": ("", TOGETHER, 4, "a:1:1 b:4:3", "a", "", "a:1 b:3", ""),
    "a third revision while two serve together": ("c", TOGETHER, 4, "a:1:1 b:4:3", "a", "", "a:1 b:3", ""),
    "a third revision takes over from two": (
        "c",
        TOGETHER,
        4,
        "a:4:1 b:3:3 c:1:1",
        "a",
        "",
        "c:1 a:1 b:2",
        "",
    ),
    "a third one falls while two others serve": (
        "c",
        C_LET_IN,
        4,
        "a:1:1 b:3:3 c:4:0",
        "a",
        "",
        "a:1 b:3 c:1",
        "",
    ),
    "a third one falls, the active one is complete": (
        "c",
        C_LET_IN,
        2,
        "a:2:2 b:1:1 c:2:0",
        "a",
        "a",
        "a:2 c:1",
        "b",
    ),
    "a third one falls, another has no pod available": (
        "c",
        C_LET_IN,
        2,
        "a:1:1 b:1:1:0 c:2:0",
        "a",
        "a",
        "a:1 c:1",
        "b",
    ),
    "fallen once it had taken over: a third one that was not reached goes": (
        "b",
        TAKEN_OVER,
        3,
        "a:2:2 b:3:0 c:1:1",
        "a",
        "a",
        "a:2 b:1",
        "c",
    ),
    "taken over, then just ready again: the old one is back": (
        "b",
        TAKEN_OVER,
        1,
        "a:1:1 b:1:1:0",
        "a",
        "a",
        "a:1 b:1",
        "",
    ),
    "the one that has served is back, not who has more pods": (
        "c",
        C_LET_IN,
        1,
        "a:1:1 b:2:2 c:1:0",
        "a",
        "a",
        "a:1 c:1",
        "b",
    ),
    "without the one that has served, who has more pods is back": (
        "c",
        C_LET_IN,
        2,
        "a:1:0 b:2:1 d:2:2 c:1:0",
        "d",
        "d",
        "d:2 c:1",
        "a b",
    ),
    "scaled to zero while two serve together": ("b", TOGETHER, 0, "a:1:1 b:1:0", "b", "b", "b:0", "a"),
    "first is scaled to zero": ("b", NOBODY, 0, "", "b", "b", "b:0", ""),
    "nothing desired any more, nobody serves": ("", BEGUN, 1, "a:1:0", "", "", "", "a"),
    "the Service is lost, the active one is down": (
        "a",
        Serving(active="a"),
        1,
        "a:1:0 b:1:1:0",
        "a",
        "a",
        "a:1",
        "b",
    ),
    "every note is lost: the desired one of two": ("a", NOBODY, 1, "a:1:1 b:1:1", "a", "a", "a:1", "b"),
    "the active one is not noted: the reached one of two": (
        "b",
        BEGUN,
        1,
        "a:1:1 b:1:1",
        "a",
        "",
        "b:1 a:1",
        "",
    ),
    "as many of others as are missing": ("a", MIXED, 4, "a:4:1 b:2:2 c:2:2", "a", "", "a:2 b:2 c:1", ""),
    "unreadable and down, another one is ready": ("b", GONE, 1, "gone:1:0 b:1:1:0", "gone", "", "b:1", ""),
    "change while scaled to zero": ("b", ON_A, 0, "a:0:0", "b", "b", "b:0", "a"),
    "unreadable, and there is no plan": ("", GONE, 2, "gone:2:2", "gone", "gone", "", ""),
    "unreadable, and another one starts": ("b", GONE, 2, "gone:2:2", "gone", "gone", "b:1", ""),
    "unreadable, and another one is let in": ("b", GONE, 1, "gone:1:1 b:1:1", "gone", "", "b:1", ""),
    "unreadable, and another one took over": (
        "b",
        replace(TOGETHER, active="gone"),
        1,
        "gone:1:1 b:1:1",
        "b",
        "b",
        "b:1",
        "gone",
    ),
    "record and Deployment are gone": ("b", GONE, 1, "", "", "b", "b:1", ""),
}


@pytest.mark.parametrize("row", ROWS)
def test_next_step(row: str) -> None:
    desired, serving, replicas, have, active, selected, sizes, dropped = ROWS[row]
    found = step(desired, serving, have, replicas=replicas)
    assert found.replicas == {name: int(size) for name, size in (item.split(":") for item in sizes.split())}
    assert (found.active, found.selected, found.drop) == (active, selected, tuple(dropped.split()))


def test_the_way_of_a_good_candidate_in_words() -> None:
    starts = step("b", ON_A, "a:1:1 b:1:0")
    assert starts.reason == "Revision a serves while b starts."
    young = step("b", ON_A, "a:1:1 b:1:1:0")
    assert young.reason == "Revision a serves; b is admitted when a pod of it has been ready for 10 s."
    assert young.requeue_after_seconds == 7.0
    let_in = step("b", ON_A, "a:1:1 b:1:1")
    assert let_in.reason == "Revision b: complete; a is deleted after 30 s."
    assert let_in.serving.switched_time == format_time(NOW)
    assert let_in.requeue_after_seconds == SETTLE_SECONDS
    settling = step("b", LET_IN, "a:1:1 b:1:1")
    assert settling.serving.switched_time == JUST_NOW
    assert settling.requeue_after_seconds == SETTLE_SECONDS - 3
    over = step("b", TOGETHER, "a:1:1 b:1:1")
    assert over.reason == "Revision b has replaced a."
    assert over.settling
    assert over.serving.admitted == "b", "until it is alone, it may fall"
    alone = step("b", over.serving, "b:1:1")
    assert (alone.reason, alone.requeue_after_seconds) == ("Revision b serves.", None)
    assert not alone.serving.admitted


def test_the_way_of_a_bad_candidate_in_words() -> None:
    why = Problem(reason="EngineCrashed", what="engine in pod b-1: out of luck.")
    fell = step("b", LET_IN, "a:1:1 b:1:0", trouble=why)
    assert fell.rolled_back
    assert fell.reason == (f"Candidate b lost readiness; the active revision serves. Retry after {ago(-60)}.")
    assert fell.serving.rollback is not None
    assert (fell.serving.rollback.reason, fell.serving.rollback.message) == ("EngineCrashed", why.message)
    assert fell.requeue_after_seconds == 60
    later = step("b", fell.serving, "a:1:1 b:1:1")
    assert later.reason == fell.reason
    assert (later.serving, later.rolled_back) == (fell.serving, True), "what is pending stays as it is"
    again = Serving(
        active="a", admitted="b", switched_time=JUST_NOW, rollback=fell.serving.rollback, exists=True
    )
    twice = step("b", again, "a:1:1 b:1:0")
    assert "lost readiness 2 times;" in twice.reason
    assert twice.requeue_after_seconds == 120


def test_words_for_what_serves_without_a_candidate() -> None:
    assert step("a", MIXED, "a:1:0 b:1:1").reason == "Revision a replaces the others pod by pod."
    assert step("a", ON_A, "a:1:1 b:1:0").reason == "Revision a serves."
    assert step("", ON_A, "a:1:1").reason == "Revision a serves."
    down = step("a", ON_A, "a:1:0 b:1:1")
    assert down.reason.startswith("Revision a has no ready pod;")
    many = step("b", ON_A, "a:3:3 b:3:2", replicas=3)
    assert many.reason == ("Revision b: 2 of 3 replicas available; it replaces a pod by pod.")


def test_who_serves_when_a_third_one_has_fallen_in_words() -> None:
    found = step("c", C_LET_IN, "a:1:1 b:3:3 c:4:0", replicas=4)
    assert found.reason.startswith("Candidate c lost readiness;")


def test_an_unreadable_time_of_a_fall_is_no_pause() -> None:
    fell = replace(FELL, rollback=RollbackRecord(revision="b", time="yesterday"))
    assert step("b", fell, "a:1:1 b:1:1").selected == ""
    assert step("b", fell, "a:1:1 b:1:0").reason == "Revision a serves while b starts."


def test_a_candidate_whose_letting_in_has_no_time_settles_from_now() -> None:
    found = step("b", replace(TOGETHER, switched_time="soon"), "a:1:1 b:1:1")
    assert (found.active, found.serving.switched_time) == ("a", format_time(NOW))
    assert found.requeue_after_seconds == SETTLE_SECONDS


def test_the_next_look_is_at_what_comes_first() -> None:
    assert step("b", LET_IN, "a:1:1 b:3:3:2", replicas=3).requeue_after_seconds == 7.0
    assert step("b", FELL, "a:1:1:0 b:1:1").requeue_after_seconds == 7.0
    assert step("a", ON_A, "a:1:1:0").requeue_after_seconds is None, "nothing depends on it"
    assert step("c", FELL, "a:1:1 c:1:0").requeue_after_seconds is None, "another one does not wait"


def test_pauses_double_up_to_an_hour() -> None:
    pauses = [
        RollbackRecord(revision="b", count=count, time=LONG_AGO).pause_seconds
        for count in (1, 2, 3, 7, 10**9)
    ]
    assert pauses == [60, 120, 240, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]


def test_a_fall_is_forgotten_when_spec_asks_for_another_revision_or_it_took_over() -> None:
    assert step("b", FELL, "a:1:1 b:1:0").serving.rollback
    assert step("", FELL, "a:1:1 b:1:0").serving.rollback, "no plan yet"
    assert not step("c", FELL, "a:1:1 b:1:0").serving.rollback
    assert not step("a", FELL, "a:1:1 b:1:0").serving.rollback
    done = Serving(active="b", selected="b", rollback=FELL.rollback, exists=True)
    assert not step("b", done, "b:1:1").serving.rollback


@pytest.mark.parametrize("serving", [ON_A, LET_IN, TAKEN_OVER, FELL])
def test_the_service_brings_back_what_it_was_told(serving: Serving) -> None:
    service = {
        "metadata": {"annotations": serving.annotations()},
        "spec": {"selector": {"tacho.dev/revision": serving.selected} if serving.selected else {}},
    }
    assert read_record(service, "") == serving


@pytest.mark.parametrize("note", ["", "{", "[]", '{"revision": 3}'])
def test_a_note_that_cannot_be_read_is_none(note: str) -> None:
    service = {"metadata": {"annotations": {"tacho.dev/rollback": note}}}
    assert read_record(service, "a") == Serving(active="a", exists=True)


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", ago(-3600)])
def test_a_fall_ahead_of_the_clock_is_waited_for_no_longer_than_its_pause(time: str) -> None:
    rollback = RollbackRecord(revision="b", time=time)
    assert rollback.wait_seconds(NOW) == 0.0, "its time is wrong, and it would be so for an hour"
    near = replace(rollback, time=ago(-30))
    assert near.wait_seconds(NOW) == near.pause_seconds, "clocks differ"
    assert step("b", replace(FELL, rollback=rollback), "a:1:1 b:1:1").active == "a"


def test_a_time_ahead_of_the_clock_is_taken_for_now() -> None:
    ahead = Serving(active="a", admitted="b", switched_time=ago(-3600), exists=True)
    found = step("b", ahead, "a:1:1 b:1:1")
    assert found.requeue_after_seconds == SETTLE_SECONDS
    assert found.serving.switched_time == format_time(NOW)
