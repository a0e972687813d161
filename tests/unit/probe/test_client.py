"""Whether the asking side kept up with what it measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tacho_runtime.probe.cross_checks import (
    client_lateness,
    engine_ttft_milliseconds,
    front_end_limit,
    time_outside_engine,
    waits_outside,
)
from tacho_runtime.probe.engine_under_test import ClientHealth
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tacho_runtime.probe.load.load_worker import ClientHealthMonitor
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.timed_client import EngineEndpoint
from tests.unit.probe.test_levels import trace_of

MS = 1_000_000


@pytest.mark.parametrize(
    ("health", "tpot", "said"),
    [
        (ClientHealth(), 4, ""),
        (ClientHealth(lag_milliseconds_p99=5), 4, ""),
        (ClientHealth(lag_milliseconds_p99=6), 4, "was late by 6 ms"),
        (ClientHealth(lag_milliseconds_p99=6), 40, ""),
        (ClientHealth(late_send_milliseconds_p99=11), 4, "sent requests 11 ms after"),
        (ClientHealth(late_send_milliseconds_p99=11), 40, ""),
        (ClientHealth(cpu_share=0.9), 40, "used 90% of a CPU"),
    ],
)
def test_when_the_client_is_behind(health: ClientHealth, tpot: float, said: str) -> None:
    assert said in client_lateness(health, tpot)
    assert bool(client_lateness(health, tpot)) == bool(said)


def test_lateness_is_that_of_a_hundredth_and_not_of_one_by_chance() -> None:
    for late, found in ((1, 0.0), (2, 30.0)):
        watch = ClientHealthMonitor()
        for index in range(20):
            watch.sent(100, 100 - (30_000_000 if index < late else 0))
        assert watch.health(0, 1000).late_send_milliseconds_p99 == found


def answered(*ttfts_ms: int) -> list[StreamResult]:
    return [StreamResult(sent_ns=0, tokens=((ttft * 1_000_000, 1.0),)) for ttft in ttfts_ms]


def first_tokens(seconds: float | None, count: float | None) -> CounterReading:
    counters = EngineCounters(ttft_seconds_sum=seconds, ttft_seconds_count=count)
    return CounterReading(stamp_ns=0, counters=counters)


@pytest.mark.parametrize(
    ("after", "ttfts", "said"),
    [
        (first_tokens(1.2, 12), (100, 110), ""),
        (first_tokens(1.14, 12), (100, 100), "30 ms of the 100 ms to the first token passed outside"),
        (first_tokens(1.17, 12), (100, 100), ""),
        # Below ten milliseconds it is the way through the front end.
        (first_tokens(1.002, 12), (8, 8), ""),
        (first_tokens(1.002, 12), (12, 14), "12 ms of the 13 ms to the first token passed outside"),
        # Somebody else's are among them.
        (first_tokens(1.14, 13), (100, 100), ""),
        (first_tokens(0.1, 2), (100, 100), ""),
        (first_tokens(None, None), (100, 100), ""),
        (first_tokens(1.14, 12), (), ""),
    ],
)
def test_time_that_was_not_the_engines(after: CounterReading, ttfts: tuple[int, ...], said: str) -> None:
    found = time_outside_engine(first_tokens(1.0, 10), after, answered(*ttfts))
    assert said in found
    assert bool(found) == bool(said)


def held(*gauges: tuple[float | None, float | None], ttft: bool = True) -> tuple[CounterReading, ...]:
    """Readings of (running, waiting), a first token of 50 ms between any two."""
    return tuple(
        CounterReading(
            stamp_ns=place,
            counters=EngineCounters(
                running=running,
                waiting=waiting,
                ttft_seconds_sum=1 + 0.05 * place if ttft else None,
                ttft_seconds_count=float(place) if ttft else None,
            ),
        )
        for place, (running, waiting) in enumerate(gauges)
    )


@pytest.mark.parametrize(
    ("streams", "readings", "limited"),
    [
        (64, held((64, 0), (64, 0)), False),
        (64, held((50, 14), (52, 11)), False),
        (64, held((60, 0), (59, 0)), False),
        (64, held((40, 0), (42, 0)), True),
        (64, held((20, 20), (22, 21), ttft=False), True),
        # One between two requests is chance.
        (4, held((3, 0), (4, 0)), False),
        (4, held((1, 0), (2, 0)), True),
        # Not told, or only once.
        (64, held((40, None), (42, None)), False),
        (64, held((40, 0)), False),
    ],
)
def test_a_front_end_limits_where_the_engine_has_fewer_requests(
    streams: int, readings: tuple[CounterReading, ...], limited: bool
) -> None:
    trace = trace_of([], 0, 1000, concurrency=streams, readings=readings)
    said = front_end_limit(trace, 20.0)
    assert bool(said) is limited
    if limited:
        assert "--api-server-count N" in said
        assert ("a first token takes 50 ms" in said) == (engine_ttft_milliseconds(readings) is not None)
    filling = replace(trace, started=False)
    assert not front_end_limit(filling, 20.0), "the streams that are missing have not begun"
    late = replace(trace, client=ClientHealth(cpu_share=0.95))
    assert not front_end_limit(late, 20.0), "the client may be what is slow"


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("http://127.0.0.1:80", True),
        ("http://[::1]:80", True),
        ("http://localhost", True),
        ("http://h", False),
    ],
)
def test_what_is_near(address: str, near: bool) -> None:
    assert EngineEndpoint.of(address).near is near


OUTSIDE = "50 ms of the 100 ms to the first token passed outside the engine, in its HTTP front end"


@pytest.mark.parametrize(
    ("ttft_ms", "engine_ms", "said"),
    [(100, 50, OUTSIDE), (69, 50, ""), (400, 310, ""), (400, 290, "110 ms of the 400 ms")],
)
def test_first_tokens_under_load_that_wait_outside_the_engine(
    ttft_ms: int, engine_ms: int, said: str
) -> None:
    """By 20 ms and a quarter at least. Of requests whose first token came between the readings."""
    streams = tuple(
        StreamResult(sent_ns=(stamp - ttft_ms) * MS, tokens=((stamp * MS, 1.0), ((stamp + 10) * MS, 1.0)))
        for stamp in (600, 700, 1900)
    )
    late = (StreamResult(sent_ns=0, tokens=((stamp * MS, 1.0), (3000 * MS, 1.0))) for stamp in (450, 2100))
    readings = tuple(
        CounterReading(
            stamp_ns=stamp * MS,
            counters=EngineCounters(ttft_seconds_sum=count * engine_ms / 1000, ttft_seconds_count=count),
        )
        for stamp, count in ((500, 5.0), (2000, 8.0))
    )
    trace = trace_of([*streams, *late], 0, 2000, readings=readings)
    found = waits_outside(trace, 20.0)
    assert bool(found) == bool(said)
    assert said in found
    assert ("or the network" in waits_outside(trace, 20.0, near=False)) == bool(said)
    assert not waits_outside(replace(trace, client=ClientHealth(cpu_share=0.95)), 20.0), "the client's"
    assert not waits_outside(replace(trace, readings=readings[:1]), 20.0)
