"""Which readings of the metrics are of the engine that was read first."""

from __future__ import annotations

from random import Random

import pytest

from tacho_runtime.probe.load.engine_counters import (
    FALLING,
    UNSEEN_ELSEWHERE,
    UNSEEN_OTHERS,
    CounterReading,
    EngineCounters,
    FirstEngine,
)
from tacho_runtime.probe.load.timed_client import EngineEndpoint
from tacho_runtime.probe.sequence import run_probe
from tests.unit.probe.engines import live, mock_engine, target


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


@pytest.mark.parametrize(
    ("made", "port", "said"), [(None, None, UNSEEN_OTHERS), (None, 80, ""), (5.0, None, ""), (5.0, 80, "")]
)
async def test_that_nobody_sees_other_clients_is_said(
    made: float | None, port: int | None, said: str
) -> None:
    """Of a server elsewhere without metrics, ``tacho probe`` said nothing of them."""
    engine = FirstEngine()
    assert engine.unseen == ""
    await engine.with_requests(reading(0, made), port)
    assert engine.unseen == said
    await engine.with_requests(reading(0, 5.0), port)
    assert engine.unseen == "", "its metrics came at last"


@pytest.mark.parametrize("forwarded", [False, True])
async def test_behind_a_forwarded_port_others_are_not_seen(forwarded: bool) -> None:
    """By kubectl's port-forward a server of the cluster is at localhost, and its clients are not."""
    with mock_engine(counters="none") as port:
        one = target(port, may_be_forwarded=forwarded)
        measured = await run_probe(one, live(budget=3), plan_key="plan", rng=Random(1))
    assert (UNSEEN_ELSEWHERE in measured.message) is forwarded


async def test_a_probe_of_a_server_elsewhere_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineEndpoint, "near", property(lambda _: False))
    with mock_engine(counters="none") as port:
        measured = await run_probe(target(port), live(budget=3), plan_key="plan", rng=Random(1))
    assert UNSEEN_OTHERS in measured.message
