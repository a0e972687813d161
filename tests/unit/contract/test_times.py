"""RFC 3339, written and read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from tacho_contract.units import format_time, parse_time

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 2), datetime(8999, 12, 30), timezones=ZONES)


def test_a_time_is_written_in_utc_and_needs_a_zone() -> None:
    moment = datetime(2026, 11, 20, 14, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-11-20T12:00:00Z"
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 11, 20))


@given(MOMENTS)
def test_what_was_written_is_read_to_the_second(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


@given(MOMENTS)
def test_every_zone_and_fraction_is_read(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment


@pytest.mark.parametrize("fraction", ["", ".5", ".500000", ".500000999"])
def test_a_fraction_of_any_length_is_read_to_the_microsecond(fraction: str) -> None:
    half = 500_000 if fraction else 0
    assert parse_time(f"2026-11-20T12:00:00{fraction}Z") == datetime(2026, 11, 20, 12, 0, 0, half, UTC)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "yesterday",
        "2026-11-20",
        "2026-13-40T00:00:00Z",
        "2026-11-20T12:00:00",
        "2026-11-20T12:00:00.Z",
        "2026-11-20T12:00:00+99:00",
        "2026-11-20T12:00:00Z\n",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_a_time_that_is_none_is_none(text: str | None) -> None:
    assert parse_time(text) is None
