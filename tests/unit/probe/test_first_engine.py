"""Which readings of the metrics are of the engine that was read first."""

from __future__ import annotations

import pytest

from tacho_runtime.probe.load.engine_counters import FALLING, CounterReading, EngineCounters, FirstEngine


def reading(stamp_ns: int, made: float | None, uncertain_ns: int = 0) -> CounterReading:
    return CounterReading(
        stamp_ns=stamp_ns, counters=EngineCounters(generated_tokens=made), uncertain_ns=uncertain_ns
    )


@pytest.mark.parametrize(
    ("later", "falls"),
    [
        (reading(100, 9.0), True),
        (reading(100, 10.0), False),
        (reading(100, 9.0, uncertain_ns=80), True),
        (reading(100, 9.0, uncertain_ns=81), False),
        (reading(20, 9.0), True),
        (reading(19, 9.0), False),
        (reading(-100, 9.0), False),
        (reading(100, None), False),
    ],
)
def test_a_count_that_certainly_fell_is_of_several_engines(later: CounterReading, falls: bool) -> None:
    """Answers to two requests at once may overtake each other: the older count is then read last."""
    engine = FirstEngine()
    assert engine.problem(reading(0, 10.0, uncertain_ns=20)) == ""
    assert engine.problem(later) == (FALLING if falls else "")
    assert engine.problem(reading(1000, 50.0)) == (FALLING if falls else ""), "from then on"


def test_the_first_reading_is_after_none() -> None:
    assert reading(-100, 1.0, uncertain_ns=10**9).is_after(None)
