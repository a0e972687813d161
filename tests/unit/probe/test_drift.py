"""One stream at other moments beside that of the beginning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.phases.stability import drift_percent
from tacho_runtime.probe.rates import DecodeRate
from tests.unit.probe.probing import LAW, probed
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine


def decode(rate: float, ci_percent: float | None = 1.0) -> DecodeRate:
    return DecodeRate(
        tokens_per_second=rate,
        ci_percent=ci_percent,
        stalls=0,
        stalled_percent=0.0,
        itl_milliseconds_p50=None,
        itl_milliseconds_p95=None,
    )


@pytest.mark.parametrize(
    ("first", "late", "percent"),
    [
        ((100.0, 1.0), (100.9, 1.0), 0.0),
        ((100.0, 1.0), (98.0, 1.0), 2.0),
        ((100.0, 8.0), (93.0, 8.0), 0.0),
        # Of a request too short for an interval of its own, that of the first four says it.
        ((100.0, 2.0), (96.0, None), 0.0),
        ((100.0, 2.0), (95.0, None), 5.0),
        ((100.0, None), (99.0, None), 1.0),
    ],
)
def test_another_moment_counts_where_chance_does_not_explain_it(
    first: tuple[float, float | None], late: tuple[float, float | None], percent: float
) -> None:
    assert drift_percent(decode(*first), 4, decode(*late)) == pytest.approx(percent)


class Switching(VirtualEngine):
    """Its single requests are slower and faster by turns, each for ``seconds``."""

    slow_first, depth, seconds = False, 0.02, 20.0

    async def complete(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        slow = (int(self.now_seconds() / self.seconds) % 2 == 0) == self.slow_first
        times = 1 + self.depth if slow else 1 - self.depth
        stream = await super().complete(input_tokens, output_tokens, timeout_seconds)
        first_ns = stream.tokens[0][0]
        tokens = tuple((first_ns + round(times * (at - first_ns)), count) for at, count in stream.tokens)
        return replace(stream, tokens=tokens)


async def test_probes_of_an_engine_that_changes_by_turns_agree_within_their_intervals() -> None:
    """As it begins it ends: what is otherwise in between shows only there."""
    found = []
    for slow_first in (False, True):
        engine = Switching(Law(kv_tokens=1_000_000, itl_base_ms=5, itl_per_seq_ms=0.1), Random(1))
        engine.slow_first = slow_first
        measured = await probed(engine.law, 1, engine=engine)
        single, capacity = measured.single_stream, measured.capacity
        assert single is not None
        assert capacity is not None
        assert "all intervals are" in measured.message
        assert measured.flags == ()
        assert 3 < (single.decode_ci_percent or 0) < 6
        assert (capacity.ci_percent or 0) > 3
        rate = single.decode_tokens_per_second
        found.append((rate, rate * (single.decode_ci_percent or 0.0) / 100))
    (one, half), (other, other_half) = found
    assert abs(one - other) > 0.03 * one
    assert abs(one - other) <= half + other_half


class Slowing(VirtualEngine):
    """So many times as slow at a second."""

    times: Callable[[float], float]

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> None:
        while not done() and (now := self.now_seconds()) < end:
            times = self.times(now)
            self.law = LAW.changed(itl_base_ms=10 * times, itl_per_seq_ms=0.5 * times)
            super().run_until(min(end, now + 0.1), done)


async def test_an_engine_that_slows_down_until_no_time_is_left_is_not_without_a_flag() -> None:
    """One stream was known within 2 %, and was 1.4 times as slow when the probe ended."""
    engine = Slowing(LAW, Random(3))
    engine.times = lambda now: 1 + now / 100
    measured = await probed(LAW, 1, engine=engine, streams=16)
    assert measured.flags == ("BudgetExhausted",)
    assert "no time was left to see whether one stream is as fast at the end" in measured.message


async def test_an_engine_that_slows_down_while_one_stream_is_measured_for_longer_is_not_steady() -> None:
    """The first request at the end was as fast as those of the beginning, the last one half as fast."""
    engine = Slowing(LAW, Random(307))
    engine.times = lambda now: 1.0 if now < 30 else 2.0
    measured = await probed(LAW, 307, engine=engine, streams=64)
    assert measured.state == "Complete"
    assert measured.flags == ("NotSteady",)
    assert "at the end one stream decoded 47.6 tokens/s, at the beginning 95.2" in measured.message


async def test_levels_that_no_one_engine_has_are_not_steady() -> None:
    """While it was slow, 29 streams had half of what 30 had before."""
    engine = Slowing(LAW, Random(3))
    engine.times = lambda now: 1.8 if 25 < now < 33 else 1.0
    slo = ServiceLevel(tpot_milliseconds=25)
    measured = await probed(LAW, 1, slo, engine=engine, streams=64)
    assert "NotSteady" in measured.flags
    assert "something changed in between" in measured.message
