"""What ends for all at once: whose news it is, and how long each waits."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.failure import FailureClass, failure_kind
from tacho_operator.core.revisions.hub_backoff import (
    NOTICE_INTERVAL,
    OTHERS_LIMIT_SECONDS,
    SHARED_REASONS,
    ended_wait,
    hub_endpoint,
    notice_due,
    retry_delay_seconds,
)
from tacho_operator.core.types import HubWaiters

FAILED = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HUB = FailureClass.HUB_UNREACHABLE.value


def test_only_what_is_tried_again_by_itself_can_be_awaited() -> None:
    """One that a person has to mend would wake all others for nothing."""
    assert SHARED_REASONS
    assert all(failure_kind(reason).tries_again for reason in SHARED_REASONS)


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [(HUB, "Loading", HUB), (HUB, "", HUB), (HUB, HUB, ""), ("Loading", HUB, ""), ("Loading", "", "")],
)
def test_what_ceased(before: str, now: str, found: str) -> None:
    assert ended_wait(before, now) == found


def test_the_first_of_a_minute_speaks_for_all() -> None:
    assert notice_due(None, FAILED)
    assert not notice_due(FAILED, FAILED + NOTICE_INTERVAL - timedelta(seconds=1))
    assert notice_due(FAILED, FAILED + NOTICE_INTERVAL)
    assert notice_due(FAILED, FAILED - timedelta(days=900)), "the clock was put back"


@pytest.mark.parametrize(
    ("freed", "pause"),
    [
        (None, 2500.0),
        (timedelta(seconds=-61), 2500.0),
        (timedelta(seconds=-59), 5.0),
        (timedelta(0), 5.0),
        (timedelta(seconds=30), 5.0),
    ],
    ids=str,
)
def test_a_pause_is_that_of_all_until_one_has_got_through(freed: timedelta | None, pause: float) -> None:
    """Also of what fails before there can be news again: it would keep its long pause untold."""
    waiting = HubWaiters(2500, None if freed is None else FAILED + freed)
    assert retry_delay_seconds(5.0, waiting, FAILED, apart=0.5) == pause


def test_where_few_wait_the_pause_is_that_of_one_alone() -> None:
    assert retry_delay_seconds(300.0, HubWaiters(100), FAILED, apart=0.9) == 300.0


def test_the_hub_gets_the_retries_of_all_namespaces_together() -> None:
    assert retry_delay_seconds(5.0, HubWaiters(100, elsewhere=50), FAILED, apart=0.5) == 150.0


@given(st.floats(0, 300), st.integers(0, 5000), st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_nobody_waits_for_long_because_of_another_namespace(
    alone: float, count: int, elsewhere: int, apart: float
) -> None:
    by_itself = retry_delay_seconds(alone, HubWaiters(count), FAILED, apart=apart)
    delay = retry_delay_seconds(alone, HubWaiters(count, elsewhere=elsewhere), FAILED, apart=apart)
    assert by_itself <= delay <= max(by_itself, OTHERS_LIMIT_SECONDS)


@pytest.mark.parametrize(
    ("hub", "endpoint"),
    [
        (None, ""),
        ({}, ""),
        ({"endpoint": "https://Hub.example/"}, "https://hub.example"),
        ({"env": [{"name": "HF_ENDPOINT", "value": "https://x/"}]}, "https://x"),
        ({"endpoint": "https://a", "env": [{"name": "HF_ENDPOINT", "value": "https://x"}]}, "https://a"),
        ({"env": [{"name": "NO_PROXY", "value": "x"}, {"name": "HF_ENDPOINT"}]}, ""),
    ],
)
def test_a_hub_is_known_by_its_endpoint(hub: dict[str, Any] | None, endpoint: str) -> None:
    assert hub_endpoint({"model": {"hub": hub}}) == endpoint
    assert hub_endpoint({}) == ""


def test_of_a_very_long_address_a_digest_is_kept() -> None:
    """Addresses of 16 KB of 10,000 hubs would be remembered after their resources are deleted."""
    long = [f"https://hub.example/{'x' * 4000}{number}" for number in range(2)]
    env = [[{"name": "HF_ENDPOINT", "value": address}] for address in (*long, f"{long[0]}/")]
    found = [hub_endpoint({"model": {"hub": {"env": item}}}) for item in env]
    assert max(map(len, found)) < 100
    assert found[0] != found[1]
    assert found[0] == found[2]
