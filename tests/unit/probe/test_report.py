from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import CurvePoint, Measurement, Workload
from tacho_runtime.probe.asking.counters import Counters
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.report import Findings, assemble, capacity_of
from tacho_runtime.probe.search import Shape
from tacho_runtime.probe.windows import LevelResult

MS = 1_000_000
WORKLOAD = Workload(input_tokens=100, output_tokens=10)
ENDED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def stream(**changes: Any) -> Stream:
    values: dict[str, Any] = {
        "sent_ns": 0,
        "tokens": tuple(((50 + 10 * index) * MS, 1.0) for index in range(10)),
        "exact": True,
        "finish_reason": "length",
        "prompt_tokens": 100,
    }
    return Stream(**(values | changes))


def result(concurrency: int, rate: float, *, steady: bool = True) -> LevelResult:
    point = CurvePoint(
        concurrency=concurrency,
        window_seconds=5.0,
        requests=9,
        requests_per_second=rate / 10,
        output_tokens_per_second=rate,
        ttft_milliseconds_p50=50,
        ttft_milliseconds_p95=60,
        tpot_milliseconds_p50=10,
        tpot_milliseconds_p95=11,
        end_to_end_milliseconds_p50=140,
        steady=steady,
    )
    return LevelResult(point=point, ci_percent=1.5)


def findings(**changes: Any) -> Findings:
    values: dict[str, Any] = {
        "shape": Shape(workload=WORKLOAD),
        "single": (stream(), stream()),
        "seen": (stream(), stream()),
        "results": [result(1, 70), result(4, 200)],
        "prompt_times": [(50.0, 45.0), (100.0, 50.0), (200.0, 60.0)],
    }
    return Findings(**(values | changes))


def report(found: Findings, *, concurrency: int = 4) -> Measurement:
    return assemble(
        found,
        LiveConfig(measure_key="m", workload=WORKLOAD),
        plan_key="p",
        concurrency=concurrency,
        ended=ENDED,
        probe_seconds=12.0,
    )


def test_a_clean_probe() -> None:
    measured = report(findings())
    assert (measured.state, measured.message, measured.flags) == ("Complete", "", ())
    assert (measured.plan_key, measured.measure_key) == ("p", "m")
    assert measured.observed_time == "2026-01-02T03:04:05Z"
    single = measured.single_stream
    assert single is not None
    assert single.decode_tokens_per_second == pytest.approx(100)
    assert single.ttft_overhead_milliseconds == pytest.approx(40)
    assert single.prefill_tokens_per_second == pytest.approx(10_000)
    assert measured.capacity is not None
    assert measured.capacity.concurrency == 4
    assert measured.capacity.total_tokens_per_second == pytest.approx(200 + 20 * 100)
    assert [point.concurrency for point in measured.curve] == [1, 4]
    assert codec.loads(Measurement, codec.dumps(measured)) == measured


@pytest.mark.parametrize(
    ("rates", "best", "boundary"),
    [
        ({1: 70}, 1, "Floor"),
        ({1: 70, 4: 200}, 4, "Floor"),
        ({1: 70, 2: 195, 4: 200}, 4, "Plateau"),
        ({1: 70, 4: 200, 8: 190}, 4, "Plateau"),
        ({8: 190, 4: 200, 1: 70}, 4, "Plateau"),
        ({1: 200, 2: 200}, 1, "Plateau"),
    ],
)
def test_capacity_is_the_level_with_the_most_tokens(
    rates: dict[int, float], best: int, boundary: str
) -> None:
    capacity = capacity_of([result(level, rate) for level, rate in rates.items()], WORKLOAD)
    assert capacity is not None
    assert (capacity.concurrency, capacity.boundary) == (best, boundary)


def test_no_level_is_no_capacity() -> None:
    assert capacity_of([], WORKLOAD) is None


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"levels_missing": True}, "Partial", ""),
        ({"failure": "the engine died"}, "Partial", "the engine died"),
        ({"out_of_time": True}, "Partial", ""),
        ({"single": (), "results": [], "failure": "no answer"}, "Failed", "no answer"),
        ({"shape": None, "single": (), "results": []}, "Failed", ""),
        ({"notes": ["a note", "another"]}, "Complete", "a note; another"),
    ],
)
def test_states(changes: dict[str, Any], state: str, said: str) -> None:
    measured = report(findings(**changes))
    assert measured.state == state
    assert said in measured.message


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"out_of_time": True}, ("BudgetExhausted",)),
        ({"shape": Shape(workload=WORKLOAD, note="cut", time_was_short=True)}, ("BudgetExhausted",)),
        ({"lags_milliseconds": [0.5] * 98 + [30.0] * 2}, ("ClientBound",)),
        ({"lags_milliseconds": [0.5] * 98 + [4.0] * 2}, ()),
        ({"seen": (stream(cached_tokens=16),)}, ("CacheHit",)),
        (
            {"before": Counters(cached_prompt_tokens=0.0), "after": Counters(cached_prompt_tokens=16.0)},
            ("CacheHit",),
        ),
        ({"seen": (stream(finish_reason="stop"),)}, ("ShortOutput",)),
        ({"single": (stream(tokens=stream().tokens[:5]), stream())}, ("ShortOutput",)),
        ({"results": [result(1, 70), result(4, 200, steady=False)]}, ("NotSteady",)),
        ({"results": [result(1, 70, steady=False), result(4, 200)]}, ()),
        (
            {
                "before": Counters(generated_tokens=100.0),
                "after": Counters(generated_tokens=1300.0),
                "received_tokens": 1000.0,
            },
            ("OtherTraffic",),
        ),
        (
            {
                "before": Counters(generated_tokens=100.0),
                "after": Counters(generated_tokens=1130.0),
                "received_tokens": 1000.0,
            },
            (),
        ),
        # A counter that went backwards is a restarted engine, not negative traffic.
        ({"before": Counters(generated_tokens=900.0), "after": Counters(generated_tokens=10.0)}, ()),
    ],
)
def test_flags(changes: dict[str, Any], flags: tuple[str, ...]) -> None:
    assert report(findings(**changes)).flags == flags


@pytest.mark.parametrize(("own_tpot", "flags"), [(10.5, ()), (5.0, ("ClientBound",))])
def test_the_engines_own_timings_check_ours(own_tpot: float, flags: tuple[str, ...]) -> None:
    streams = (stream(engine_tpot_milliseconds=own_tpot),)
    measured = report(findings(single=streams, seen=streams))
    assert measured.flags == flags
    assert f"ran at {1000 / own_tpot:.1f} tokens per second" in measured.message


def test_prompt_times_that_are_no_line_give_no_line() -> None:
    for times in ([], [(100.0, 50.0)], [(100.0, 50.0), (200.0, 40.0)]):
        single = report(findings(prompt_times=times)).single_stream
        assert single is not None
        assert single.prefill_tokens_per_second is None
        assert single.ttft_overhead_milliseconds is None


def test_the_workload_is_what_was_sent() -> None:
    streams = (stream(prompt_tokens=97),)
    assert report(findings(single=streams)).workload == Workload(input_tokens=97, output_tokens=10)
