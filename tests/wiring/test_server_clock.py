"""The operator's time: that of the API server, which dates pods, where its own clock is hours off."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import pytest

from tacho_operator import __main__ as program
from tacho_operator.config import load_settings
from tacho_operator.shell.server_clock import ServerClock, utc_now
from tests.wiring.api_double import ApiDouble, deployment, serving

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@dataclasses.dataclass
class Answer:
    headers: dict[str, str]


async def answered(
    clock: ServerClock, own: list[datetime], date: str, takes_seconds: float = 0.0
) -> datetime:
    """The time after an answer with that header; ``own``: this machine's clock."""

    async def handler(_request: object) -> Answer:
        own[0] += timedelta(seconds=takes_seconds)
        return Answer({"Date": date} if date else {})

    await clock.followed(cast(Any, None), cast(Any, handler))
    return clock()


def date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("off", [7200.0, -7200.0, 11.0, 3 * 365 * 86400.0])
async def test_another_time_than_the_api_servers_is_put_right(off: float) -> None:
    """Two hours behind, failed inspections were retried as fast as their pods ended; ahead too."""
    own, passed = [NOW], [0.0]
    clock = ServerClock(lambda: own[0], lambda: passed[0])
    assert clock() == NOW
    assert await answered(clock, own, date(off)) == NOW + timedelta(seconds=off)
    passed[0], own[0] = 5.0, NOW + timedelta(seconds=5)
    assert clock.seconds() == (NOW + timedelta(seconds=off + 5)).timestamp()
    own[0] = NOW + timedelta(seconds=off + 5)  # it is set right
    assert await answered(clock, own, date(off + 5)) == own[0]


@pytest.mark.parametrize("found", [date(9), date(-9), "", "soon", "Thu, 01 Jan 2026 15:00:00 -0000"])
async def test_a_clock_that_agrees_stays_and_so_does_one_without_another(found: str) -> None:
    own = [NOW]
    assert await answered(ServerClock(lambda: own[0]), own, found) == NOW


@pytest.mark.parametrize("takes", [11.0, 3600.0])
async def test_a_process_that_was_stopped_during_a_request_keeps_its_clock(takes: float) -> None:
    """The header is of before."""
    own = [NOW]
    clock = ServerClock(lambda: own[0], lambda: (own[0] - NOW).total_seconds())
    assert await answered(clock, own, date(0), takes) == own[0]
    assert await answered(clock, own, date(takes)) == own[0]


@pytest.mark.parametrize("is_during_a_request", [False, True])
@pytest.mark.parametrize("jump", [7200.0, -7200.0, 11.0])
async def test_a_clock_that_is_set_moves_no_time(jump: float, is_during_a_request: bool) -> None:
    """For a minute each deadline was over: the gate admitted a revision of half the speed, as not judged."""
    own, passed = [NOW], [0.0]
    clock = ServerClock(lambda: own[0], lambda: passed[0])
    assert await answered(clock, own, date(0)) == NOW
    passed[0], own[0] = 5.0, own[0] + timedelta(seconds=5)
    if is_during_a_request:
        await answered(clock, own, date(5), jump)
    else:
        own[0] += timedelta(seconds=jump)
    assert clock() == clock() == NOW + timedelta(seconds=5)
    assert await answered(clock, own, date(5)) == NOW + timedelta(seconds=5)
    passed[0], own[0] = 9.0, NOW + timedelta(seconds=9)  # it is set right
    assert clock() == NOW + timedelta(seconds=9)
    assert await answered(clock, own, date(9)) == own[0]


async def test_a_machine_that_was_suspended_has_the_time_of_the_next_answer() -> None:
    own, passed = [NOW], [0.0]
    clock = ServerClock(lambda: own[0], lambda: passed[0])
    assert await answered(clock, own, date(0)) == NOW
    own[0] += timedelta(hours=2)  # the monotonic clock stood still
    assert clock() == NOW
    assert await answered(clock, own, date(7200)) == own[0]


async def test_one_of_several_api_servers_that_is_off_moves_no_time() -> None:
    """It would go back and forth with each answer, and the scaler drops what it knows where it goes back."""
    own = [NOW]
    clock = ServerClock(lambda: own[0], lambda: (own[0] - NOW).total_seconds())

    async def off(seconds: float) -> float:
        """By how much the time is ahead after an answer that is ahead by ``seconds``."""
        passed = (own[0] - NOW).total_seconds()
        return (await answered(clock, own, date(passed + seconds)) - own[0]).total_seconds()

    assert await off(0) == 0
    for _ in range(5):
        own[0] += timedelta(seconds=30)
        assert await off(30) == 0
        assert await off(1) == 0
    own[0] += timedelta(seconds=59)
    assert await off(30) == 0
    own[0] += timedelta(seconds=1)
    assert await off(30) == 30, "no answer had another time"
    assert await off(60) == 30
    assert await off(0) == 0, "the machine's own is right"


async def test_what_differs_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    own = [NOW]
    clock = ServerClock(lambda: own[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await answered(clock, own, date(7200))
    assert [record.getMessage() for record in caplog.records] == [
        "7200 s from this machine's clock to the API server's, which decisions follow"
    ]


async def test_what_decides_follows_the_api_servers_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part compares its time with those of pods, or with that of another part."""
    stop, clocks = asyncio.Event(), dict[str, Any]()

    class Behind(ServerClock):
        def __init__(self) -> None:
            super().__init__(lambda: utc_now() - timedelta(hours=2))

    class Reconciler(program.Reconciler):
        async def __call__(self, _key: object) -> None:
            stop.set()

    def noting(name: str, part: Any) -> None:
        def made(*given: Any, clock: Any, **named: Any) -> Any:
            clocks[name] = clock
            return part(*given, clock=clock, **named)

        monkeypatch.setattr(program, name, made)

    monkeypatch.setattr(program, "ServerClock", Behind)
    noting("Reconciler", Reconciler)
    for name in ("Store", "Observer", "Scaler", "Loads", "ProbeTurns", "Elector"):
        noting(name, getattr(program, name))
    double = ApiDouble()
    await double.put(deployment("a"))
    async with serving(double, tmp_path, monkeypatch) as (_, kubeconfig):
        settings = load_settings({"TACHO_IMAGE": "example/tacho:1", "KUBECONFIG": kubeconfig})
        anywhere = dataclasses.replace(settings, metrics_port=0, health_port=0, readiness_port=0)
        asyncio.get_running_loop().call_later(2, stop.set)
        async with asyncio.timeout(20):
            await program.serve(anywhere, stop)
    assert len(clocks) == 7
    for name, clock in clocks.items():
        found = clock()
        seconds = found if isinstance(found, float) else found.timestamp()
        assert abs(seconds - utc_now().timestamp()) < 20, name
