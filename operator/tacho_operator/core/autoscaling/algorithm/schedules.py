"""Minimum and maximum replicas by time of day: cron schedules, each in the time zone that it names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from tacho_operator.core.autoscaling.algorithm.types import Bounds

LONGEST_REPEATED = timedelta(hours=2)
"""Longest time by which clocks are set back."""
MINUTE = timedelta(minutes=1)
DAYS_SEARCHED = 3000
"""Days that a search for the last beginning may examine, in the schedule's months: a century of one."""
RECENT_DAYS = 10
"""Days that are examined first, as most schedules began recently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Replica bounds that apply from each time in ``cron`` on, for ``duration_seconds`` or until another
    schedule begins.
    """

    cron: str
    """Cron expression of five fields: minute, hour, day of the month, month, day of the week."""
    time_zone: str = "Etc/UTC"
    """Name of the time zone in the IANA database."""
    least: int | None = None
    most: int | None = None
    duration_seconds: float | None = None
    """Seconds for which the bounds apply. None: until another schedule begins."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The minimum and maximum replicas at one time, and the schedules that could not be read."""

    bounds: Bounds
    problems: tuple[str, ...] = ()
    """A sentence for each ignored schedule, which cannot be parsed, and for a minimum above the maximum."""


def bounds_at(usual: Bounds, schedules: Sequence[Schedule], now: datetime) -> Scheduled:
    """The bounds of the schedule that began last and has not ended; ``usual`` where no schedule applies.

    ``now`` has a time zone.
    """
    problems = []
    begun: list[tuple[datetime, int]] = []
    for index, schedule in enumerate(schedules):
        try:
            since = last_time(schedule.cron, schedule.time_zone, now.replace(second=0, microsecond=0))
        except (CronSimError, ZoneInfoNotFoundError, ValueError, OSError) as error:
            problems.append(f"spec.autoscaling.schedules[{index}] is invalid: {error}.")
            continue
        if since is not None:
            begun.append((since, index))
    for since, index in sorted(begun, reverse=True):
        schedule = schedules[index]
        over = schedule.duration_seconds
        if over is None or now < since + timedelta(seconds=over):
            bounds = _narrowed(usual, schedule, index)
            if (minimum := schedule.least or 0) > bounds.most:
                problems.append(
                    f"{bounds.source} has minReplicas {minimum}, above maxReplicas {bounds.most}."
                )
            return Scheduled(bounds, tuple(problems))
    return Scheduled(usual, tuple(problems))


class _NeverBegan(CronSimError):
    """The schedule began on none of the days that were searched."""


class _Search(CronSim):
    """Ends a search that takes too long, as for a schedule that never begins. Without it 16 schedules of one
    resource took 0.8 s.
    """

    days_left = DAYS_SEARCHED

    def match_day(self, d: date) -> bool:
        self.days_left -= 1
        if self.days_left < 0:
            raise _NeverBegan
        return super().match_day(d)


@functools.lru_cache(maxsize=4096)
def last_time(cron: str, time_zone: str, now: datetime) -> datetime | None:
    """The last time at or before ``now`` that ``cron`` names, in UTC; None where there was none.

    Raises CronSimError, ZoneInfoNotFoundError, ValueError or OSError for an unreadable cron or time zone.
    Results are cached, as load is sampled several times a minute.
    """
    now = now.astimezone(timezone.utc)
    with contextlib.suppress(_NeverBegan):
        return _search(cron, time_zone, now, RECENT_DAYS)
    found = _last_beginning(cron, time_zone, now.replace(hour=0, minute=0))
    if found is None:
        raise CronSimError(f"it has not begun on any of {DAYS_SEARCHED} days")
    return found


@functools.lru_cache(maxsize=16384)
def _last_beginning(cron: str, time_zone: str, midnight: datetime) -> datetime | None:
    """When a schedule last began that did not begin recently; None: never.

    A search over decades takes milliseconds, and users may have thousands of such schedules. So the result is
    cached for a day.
    """
    with contextlib.suppress(_NeverBegan):
        return _search(cron, time_zone, midnight, DAYS_SEARCHED)
    return None


def _search(cron: str, time_zone: str, now: datetime, days: int) -> datetime | None:
    """The last beginning up to ``now``. Raises _NeverBegan if it is not within the last ``days``.

    When clocks are set back, one hour is repeated. A time that passed in the first of both hours counts as
    begun, although the clock shows an earlier time: the search starts after the repeated hour.
    """
    zone = _zone(time_zone)
    shown = now.astimezone(zone)
    clock = shown.replace(second=0, tzinfo=None, fold=0)
    # By the clock alone: across a change of clocks cronsim steps over half hours, or stays for ever.
    search = _Search(cron, clock + MINUTE + (LONGEST_REPEATED if shown.fold else timedelta()), reverse=True)
    search.days_left = days
    at_fixed_time = not any(part.startswith("*") for part in search.parts[1:3])
    last: datetime | None = None
    try:
        for begun in search:
            search.days_left = days
            moments = [
                moment for moment in _moments(begun, zone, at_fixed_time=at_fixed_time) if moment <= now
            ]
            last = max([*moments, *([last] if last else [])], default=None)
            if last is not None and begun <= clock:
                break
    except _NeverBegan:  # of a repeated hour one more time is looked for, which may be too long ago
        if last is None:
            raise
    return last


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except TypeError:  # it leads into a module of the package of time zones
        raise ZoneInfoNotFoundError(f"No time zone found with key {name}") from None


def _moments(clock: datetime, zone: ZoneInfo, *, at_fixed_time: bool) -> list[datetime]:
    """The times in UTC at which a schedule begins that names the time ``clock`` of ``zone``.

    As with Debian's cron, a fixed time that is repeated counts once, and one that is skipped when clocks are
    set begins then.
    """
    while (first := _in_utc(clock, zone, 0)).astimezone(zone).replace(tzinfo=None, fold=0) != clock:
        if not at_fixed_time:
            return []
        clock += MINUTE
    return [first] if at_fixed_time else [first, _in_utc(clock, zone, 1)]


def _in_utc(clock: datetime, zone: ZoneInfo, fold: int) -> datetime:
    return clock.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)


def _narrowed(usual: Bounds, schedule: Schedule, index: int) -> Bounds:
    least = usual.least if schedule.least is None else schedule.least
    most = usual.most if schedule.most is None else schedule.most
    return Bounds(least=min(least, most), most=most, source=f"spec.autoscaling.schedules[{index}]")
