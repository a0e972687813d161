"""The judge of trajectories: right ones pass, and each kind of wrong one is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.autoscaling.bounds import Allowed, Moment, Sent, need_of, starts, violations, write
from tacho_simulate.trace import read_trace

ALLOWED = Allowed(rise_seconds=12, fall_seconds=30, at_once=3)


def need(time_s: float) -> int:
    """One, from 20 s on four, from 60 s on one again."""
    return 4 if 20 <= time_s < 60 else 1


def trajectory(size: Callable[[int], int], wanted: Callable[[int], int] | None = None) -> list[Moment]:
    """A look each second for two minutes."""
    return [
        Moment(time_s=float(at), replicas=(wanted or size)(at), ready=size(at), arrivals=1)
        for at in range(120)
    ]


def told(size: Callable[[int], int], blind: tuple[tuple[float, float], ...] = ()) -> list[str]:
    return violations(trajectory(size), need, ALLOWED, blind)


def test_replicas_that_follow_in_time_are_right() -> None:
    assert told(lambda at: 4 if 32 <= at < 90 else 1) == []
    assert told(lambda at: 5 if 20 <= at < 90 else 2) == [], "one to spare"


def test_replicas_that_come_too_late_are_too_few() -> None:
    (first, *_, last) = told(lambda at: 4 if 35 <= at < 90 else 1)
    assert first == "32.0 s: 1 ready, and 4 were needed for 12.0 s"
    assert last.startswith("34.0 s")


def test_what_is_wanted_and_not_ready_carries_nothing() -> None:
    moments = trajectory(lambda at: 1, wanted=lambda at: 4 if 20 <= at < 80 else 1)
    assert len(violations(moments, need, ALLOWED)) == 28
    (only,) = set(line.partition(": ")[2] for line in violations(moments, need, ALLOWED))
    assert only == "1 ready, and 4 were needed for 12.0 s"


def test_replicas_that_go_and_come_again_are_too_few_meanwhile() -> None:
    assert told(lambda at: 4 if 20 <= at < 45 or 48 <= at < 90 else 1) == [
        f"{at}.0 s: 1 ready, and 4 were needed for 12.0 s" for at in (45, 46, 47)
    ]


def test_replicas_that_stay_are_too_many() -> None:
    (first, *_) = told(lambda at: 4 if at >= 30 else 1)
    assert first == "90.0 s: 4 replicas, 3 or more beyond the need for 30.0 s"


def test_two_more_than_needed_are_too_many_in_time_and_one_is_not() -> None:
    def peak(most: int, seconds: int) -> list[str]:
        return told(lambda at: most if 25 <= at < 25 + seconds else (4 if 20 <= at < 80 else 1))

    assert peak(5, 35) == []
    assert peak(6, 30) == []
    assert peak(6, 31) == ["55.0 s: 6 replicas, 2 or more beyond the need for 30.0 s"]


def test_what_waits_is_needed_for_and_makes_up_for_nothing_that_is_missing() -> None:
    def waiting(moments: list[Moment]) -> list[Moment]:
        return [dataclasses.replace(item, in_flight=9 if item.time_s >= 60 else 0) for item in moments]

    stays = trajectory(lambda at: 4 if at >= 30 else 1)
    assert violations(waiting(stays), need, ALLOWED) == [], "three for nine at once, and one to spare"
    assert violations(waiting(trajectory(lambda at: 1)), need, ALLOWED) == told(lambda at: 1)


def test_who_could_not_see_has_the_whole_time_again() -> None:
    def late(at: int) -> int:
        return 4 if 20 <= at < 110 else 1

    assert told(late)[0].startswith("90.0 s")
    assert told(late, ((62.0, 79.5),)) == []
    assert told(late, ((62.0, 78.5),)) == ["109.0 s: 4 replicas, 3 or more beyond the need for 30.0 s"]


@pytest.mark.parametrize(
    "moments", [[], trajectory(lambda at: 1)[::10], list(reversed(trajectory(lambda at: 1)))]
)
def test_looks_that_say_nothing_are_no_proof(moments: list[Moment]) -> None:
    with pytest.raises(ValueError, match="looks are missing"):
        violations(moments, need, ALLOWED)


@pytest.mark.parametrize(("rate", "replicas"), [(0, 1), (1.6, 1), (1.61, 2), (4.8, 3), (4.9, 4)])
def test_the_need_is_whole_replicas_of_the_law(rate: float, replicas: int) -> None:
    assert need_of(rate, 2.0, full=0.8) == replicas


def test_a_trajectory_can_be_read_and_its_requests_replayed(tmp_path: Path) -> None:
    requests = [
        Sent(time_s=2.5, input_tokens=9, output_tokens=16, ttft_s=None),
        Sent(time_s=0.5, input_tokens=8, output_tokens=16, ttft_s=0.03),
    ]
    write(tmp_path / "found", trajectory(lambda at: 1)[:2], requests, {"period_s": 2})
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["period_s"] == 2
    assert document["moments"][1] == {"time_s": 1.0, "replicas": 1, "ready": 1, "arrivals": 1, "in_flight": 0}
    assert [item["ttft_s"] for item in document["requests"]] == [0.03, None]
    trace = read_trace(tmp_path / "found.csv")
    assert trace.time_seconds == (0.0, 2.0)
    assert trace.input_tokens == (8, 9)


def test_starts_are_paired_in_the_order_of_asking() -> None:
    looks = ((0, 1, 1), (10, 3, 1), (20, 4, 1), (45, 4, 2), (50, 3, 3), (70, 3, 3))
    moments = [
        Moment(time_s=float(at), replicas=asked, ready=ready, arrivals=1) for at, asked, ready in looks
    ]
    assert starts(moments) == (35, 40)
