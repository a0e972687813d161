"""Bounds by the clock of a place."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from tacho_operator.core.autoscaling.algorithm import schedules
from tacho_operator.core.autoscaling.algorithm.schedules import Schedule, bounds_at, last_time
from tacho_operator.core.autoscaling.algorithm.types import Bounds

USUAL = Bounds(least=1, most=4)
DAY = Schedule(cron="0 8 * * MON-FRI", time_zone="Europe/Berlin", least=3, most=9)
NIGHT = Schedule(cron="0 20 * * *", time_zone="Europe/Berlin", least=1, most=2)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-06-01T05:59:59", (1, 2)),
        ("2026-06-01T06:00:00", (3, 9)),
        ("2026-06-01T18:00:00", (1, 2)),
        ("2026-12-01T06:30:00", (1, 2)),
        ("2026-12-01T07:00:00", (3, 9)),
        ("2026-06-07T12:00:00", (1, 2)),
    ],
    ids=["before", "begins", "the other begins", "in winter an hour later", "winter", "Sunday"],
)
def test_the_schedule_that_began_last_counts(now: str, expected: tuple[int, int]) -> None:
    found = bounds_at(USUAL, (DAY, NIGHT), at(now)).bounds
    assert (found.least, found.most) == expected


def test_one_that_is_over_gives_way_to_what_was_before() -> None:
    noon = Schedule(cron="0 12 * * *", least=4, duration_seconds=3600)
    assert bounds_at(USUAL, (noon,), at("2026-06-01T12:59:59")).bounds.least == 4
    assert bounds_at(USUAL, (noon,), at("2026-06-01T13:00:00")).bounds == USUAL
    both = bounds_at(USUAL, (NIGHT, noon), at("2026-06-01T13:00:00")).bounds
    assert (both.least, both.most, both.source) == (1, 2, "spec.autoscaling.schedules[0]")


def test_what_is_not_said_is_as_usual_and_the_most_wins() -> None:
    found = bounds_at(USUAL, (Schedule(cron="* * * * *", least=7),), at("2026-06-01T12:00:00"))
    assert (found.bounds.least, found.bounds.most) == (4, 4)
    assert found.problems == ("spec.autoscaling.schedules[0] has minReplicas 7, above maxReplicas 4.",)
    night = bounds_at(Bounds(least=3, most=4), (NIGHT,), at("2026-06-01T22:00:00"))
    assert night == bounds_at(USUAL, (NIGHT,), at("2026-06-01T22:00:00"))
    assert not night.problems


@pytest.mark.parametrize(
    "broken",
    [
        Schedule(cron="61 * * * *", least=9),
        Schedule(cron="every day", least=9),
        Schedule(cron="0 8 * * *", time_zone="Europe/Nowhere", least=9),
        Schedule(cron="0 8 * * *", time_zone="../etc", least=9),
        Schedule(cron="0 8 * * *", time_zone="Europe", least=9),
        Schedule(cron="0 8 * * *", time_zone="__init__/x", least=9),
    ],
)
def test_what_cannot_be_read_is_told_and_counts_for_nothing(broken: Schedule) -> None:
    found = bounds_at(USUAL, (broken,), at("2026-06-01T12:00:00"))
    assert found.bounds == USUAL
    assert found.problems[0].startswith("spec.autoscaling.schedules[0] is invalid: ")


def test_a_day_that_never_comes() -> None:
    assert (
        bounds_at(USUAL, (Schedule(cron="0 0 30 2 *", least=2),), at("2026-06-01T12:00:00")).bounds == USUAL
    )


AUTUMN, SPRING = "2026-10-24T22:30:00", "2026-03-28T22:30:00"
"""Half an hour after midnight of a day on which Berlin's clocks are set."""


@pytest.mark.parametrize("begin", [AUTUMN, SPRING])
@pytest.mark.parametrize(
    "cron",
    [
        *("45 2 * * *", "30 2 * * *", "*/20 * * * *", "0 * * * *", "0 2,3 * * *"),
        *("30 2 * * SUN", "30 2 25 * *", "30 2 25,29 3,10 *"),  # the time before is not recent
    ],
)
def test_when_clocks_are_set_what_has_begun_stays_begun(cron: str, begin: str) -> None:
    schedule = Schedule(cron=cron, time_zone="Europe/Berlin")
    moments = [at(begin) + timedelta(minutes=5 * step) for step in range(60)]
    found = [last_time(schedule.cron, schedule.time_zone, now) for now in moments]
    assert all(since is not None and since <= now for since, now in zip(found, moments, strict=True))
    assert found == sorted(filter(None, found))


@pytest.mark.parametrize("begin", ["2026-10-24T20:00:00", "2026-03-28T21:00:00"])
def test_a_duration_is_of_time_and_not_of_the_clock(begin: str) -> None:
    night = Schedule(cron="0 22 * * *", time_zone="Europe/Berlin", least=3, duration_seconds=8 * 3600)
    over = at(begin) + timedelta(hours=8)
    assert bounds_at(USUAL, (night,), over - timedelta(seconds=1)).bounds.least == 3
    assert bounds_at(USUAL, (night,), over).bounds == USUAL


@pytest.mark.parametrize("cron", ["0 0 * 2 TUE#5", "0 0 30 2 MON#5", "0 0 29 2 *"])
def test_a_search_of_decades_is_made_once_a_day(cron: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of such schedules, each searched anew every minute, took all of the operator's time."""
    looks: list[date] = []

    def counted(self: schedules._Search, day: date) -> bool:
        looks.append(day)
        return match(self, day)

    match = schedules._Search.match_day
    monkeypatch.setattr(schedules._Search, "match_day", counted)
    schedules._last_beginning.cache_clear()
    first = last_time(cron, "Etc/UTC", at("2026-11-23T00:00:00"))
    searched = len(looks)
    assert searched > 60
    looks.clear()
    minutes = [last_time(cron, "Etc/UTC", at(f"2026-11-23T12:{minute}:00")) for minute in range(10, 60)]
    assert set(minutes) == {first}
    assert len(looks) <= 50 * (schedules.RECENT_DAYS + 1)


@pytest.mark.parametrize("place", ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York"])
@pytest.mark.parametrize("cron", ["* * * * *", "*/7 1-3 * * *", "30 2 * * *", "0 0 29 2 *", "0 1 25 10 SUN"])
def test_the_short_search_finds_what_the_long_one_does(cron: str, place: str) -> None:
    changes = ("2026-10-25T00:00:00", "2026-11-01T04:00:00", "2026-04-04T13:00:00", "2026-03-29T00:00:00")
    for begin in map(at, changes):
        for minutes in range(0, 300, 13):
            now = begin + timedelta(minutes=minutes)
            whole = schedules._search(cron, place, now, schedules.DAYS_SEARCHED)
            assert last_time(cron, place, now) == whole, now


def test_a_search_ends_where_clocks_were_set_back_over_midnight() -> None:
    found = bounds_at(
        USUAL,
        (Schedule(cron="* 23 * * *", time_zone="America/St_Johns", least=2),),
        at("2010-11-07T02:30:00"),
    )
    assert found.bounds.most == 4


MINUTE = timedelta(minutes=1)
ODD_ZONES = {
    "Australia/Lord_Howe": ("2026-04-04T14:00:00", "2026-10-03T15:00:00"),  # by half an hour
    "Pacific/Chatham": ("2026-04-04T14:00:00", "2026-09-26T14:00:00"),  # 12:45 ahead of UTC
    "Antarctica/Troll": ("2026-03-29T01:00:00", "2026-10-25T01:00:00"),  # by two hours
    "America/Santiago": ("2026-04-05T03:00:00", "2026-09-06T04:00:00"),  # at midnight
    "Asia/Kathmandu": ("2026-06-01T18:15:00",),  # never, 5:45 ahead of UTC
}


def fires(cron: str, place: str, begin: datetime, minutes: int) -> list[datetime | None]:
    """When ``cron`` last began, minute by minute, by watching the clocks of ``place``."""
    pattern, zone = CronSim(cron, datetime(2026, 1, 1)), ZoneInfo(place)
    fixed = not any(part.startswith("*") for part in pattern.parts[1:3])

    def names(clock: datetime) -> bool:
        hit = clock.minute in pattern.minutes and clock.hour in pattern.hours
        return hit and clock.month in pattern.months and pattern.match_day(clock.date())

    found: list[datetime | None] = []
    latest = (begin - MINUTE).astimezone(zone).replace(tzinfo=None, fold=0)
    for step in range(minutes):
        now = begin + step * MINUTE
        clock = now.astimezone(zone).replace(tzinfo=None, fold=0)
        passed = range(1, 1 + int((clock - latest) / MINUTE))
        began = any(names(latest + later * MINUTE) for later in passed) if fixed else names(clock)
        found.append(now if began else found[-1] if found else None)
        latest = max(latest, clock)
    return found


@pytest.mark.parametrize("place", ODD_ZONES)
@pytest.mark.parametrize(
    "cron", ["* * * * *", "45 * * * *", "*/30 1 * * *", "30 2 * * *", "15 0-3 * * *", "* 23 * * *"]
)
def test_schedules_begin_when_the_clocks_of_an_odd_zone_say_so(cron: str, place: str) -> None:
    """Across a change by half an hour, cronsim stepped over schedules of each hour or minute."""
    before, watched = 26 * 60, 36 * 60
    for change in map(at, ODD_ZONES[place]):
        begin = change - before * MINUTE
        expected = fires(cron, place, begin, watched)
        for step in range(before - 60, watched, 3):
            assert last_time(cron, place, begin + step * MINUTE) == expected[step], begin + step * MINUTE
