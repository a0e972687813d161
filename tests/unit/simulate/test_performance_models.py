"""The law of an engine: from a measurement, and what a replica of it carries."""

from __future__ import annotations

import dataclasses
from statistics import median

import pytest
from hypothesis import given, strategies as st

from benchmarks.autoscaling.capacity import capacity_at
from tacho_operator.api.status.measurement import MeasuredWorkload, MeasurementEntry
from tacho_simulate.loops import OpenLatency, answered, closed_loop, open_loop
from tacho_simulate.measured_model import from_measurement
from tacho_simulate.performance_model import PerformanceModel, PerformanceModelError
from tacho_simulate.policies.greedy import knee, open_rate
from tacho_simulate.policy import Arrived
from tacho_simulate.replica import Replica
from tests.properties import examples
from tests.unit.simulate.worlds import MODEL


def entry_of(model: PerformanceModel, levels: tuple[int, ...]) -> MeasurementEntry:
    """What a probe of an engine of that law would say."""
    asked = {"input_tokens": 400, "output_tokens": 150}
    found = [
        closed_loop(model, **asked, concurrency=level, pause_seconds=model.step_seconds(level))
        for level in levels
    ]
    return MeasurementEntry.model_validate(
        {
            "fingerprint": "f",
            "workload": {"inputTokens": 400, "outputTokens": 150},
            "singleStream": {
                "prefillTokensPerSecond": str(model.prefill_tokens_per_second),
                "ttftOverheadMilliseconds": str(
                    1000 * (model.ttft_fixed_seconds + model.prompt_step_seconds)
                ),
                "tpotMillisecondsP50": "10.000",
            },
            "curve": [
                {
                    "concurrency": level.concurrency,
                    "tpotMillisecondsP50": f"{1000 * level.tpot_seconds.p50:.3f}",
                    "ttftMillisecondsP50": f"{1000 * level.ttft_seconds.p50:.3f}",
                }
                for level in found
            ],
        }
    )


def test_steps_between_and_beyond_the_levels() -> None:
    model = PerformanceModel(steps=((2, 0.01), (4, 0.03), (8, 0.04)), prefill_tokens_per_second=1.0)
    assert [model.step_seconds(batch) for batch in (0, 1, 2, 3, 4, 6, 8, 12)] == pytest.approx(
        [0.01, 0.01, 0.01, 0.02, 0.03, 0.035, 0.04, 0.05]
    )
    falling = PerformanceModel(steps=((2, 0.03), (4, 0.01)), prefill_tokens_per_second=1.0)
    assert [falling.step_seconds(batch) for batch in (3, 4, 100)] == pytest.approx([0.02, 0.01, 0.01])


@pytest.mark.parametrize("steps", [(), ((1, 0.0),), ((2, 0.1), (2, 0.1))])
def test_what_is_no_law(steps: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(PerformanceModelError):
        PerformanceModel(steps=steps, prefill_tokens_per_second=1.0)


def test_a_law_is_found_again_in_what_it_measures() -> None:
    """Also between the levels, though the prompts of others are in what was measured."""
    found = from_measurement(entry_of(MODEL, (4, 16, 64)))
    for level in (2, 8, 32, 64):
        truth = closed_loop(MODEL, input_tokens=400, output_tokens=150, concurrency=level)
        again = closed_loop(found, input_tokens=400, output_tokens=150, concurrency=level)
        assert again.tpot_seconds.p50 == pytest.approx(truth.tpot_seconds.p50, rel=0.05)
        assert again.output_tokens_per_second == pytest.approx(truth.output_tokens_per_second, rel=0.05)


@pytest.mark.parametrize("prompts", [700.0, 1500.0, 20_000.0])
def test_gaps_are_those_measured_however_slow_the_prompts_are(prompts: float) -> None:
    """Up to twice as slow as their answers: what others' cost in a gap is no plain share of them then."""
    slow = dataclasses.replace(MODEL, prefill_tokens_per_second=prompts)
    entry = entry_of(slow, (4, 8))
    found = from_measurement(entry)
    for point in entry.curve:
        again = closed_loop(
            found,
            input_tokens=400,
            output_tokens=150,
            concurrency=point.concurrency,
            pause_seconds=found.step_seconds(point.concurrency),
            rounds=200 // point.concurrency,
        )
        measured = float(point.tpot_milliseconds_p50 or 0) / 1000
        assert again.tpot_seconds.p50 == pytest.approx(measured, rel=0.01)


def test_first_tokens_are_as_late_as_they_were_measured_at_each_level() -> None:
    late = ((3, 0.004), (15, 0.030), (63, 0.050))
    busy = dataclasses.replace(MODEL, prompt_step_seconds=0.010, ttft_fixed_seconds=0.005, ttft_late=late)
    entry = entry_of(busy, (4, 16, 64))
    found = from_measurement(entry)
    asked = {"input_tokens": 400, "output_tokens": 150}
    for point in entry.curve:
        streams = {**asked, "concurrency": point.concurrency}
        pause = busy.step_seconds(point.concurrency)
        again = closed_loop(found, **streams, pause_seconds=pause)
        assert again.ttft_seconds.p50 == pytest.approx(
            float(point.ttft_milliseconds_p50 or 0) / 1000, rel=0.05
        )
    assert [others for others, _ in found.ttft_late] == [3, 15, 63]


@pytest.mark.parametrize(("first", "step", "fixed"), [("32", 0.010, 0.002), ("25", 0.005, 0.0)])
def test_a_first_token_beside_others_shares_their_step(first: str, step: float, fixed: float) -> None:
    """Alone, it takes a step of its own: a prompt of 20 ms, at most a step of 10 ms, and what is outside."""
    entry = entry_of(MODEL, (16,)).model_dump(mode="json", by_alias=True, exclude_none=True)
    entry["singleStream"]["ttftMillisecondsP50"] = first
    model = from_measurement(MeasurementEntry.model_validate(entry))
    assert (model.prompt_step_seconds, model.ttft_fixed_seconds) == pytest.approx((step, fixed))
    shared = dataclasses.replace(model, ttft_late=())
    came = 0.2035  # in one of the first request's steps of 10 ms
    ledger = answered(shared, [0.0, came], [400, 400], [150, 150])
    assert ledger.first[0] == pytest.approx(float(first) / 1000)
    waits = -(came + fixed - ledger.first[0]) % 0.010
    assert ledger.first[1] - came == pytest.approx(fixed + waits + 0.020 + 0.010)
    long = answered(shared, [0.0], [10_000], [2])  # of five steps, as the speed of prompts is measured
    assert long.first[0] == pytest.approx(fixed + step + 0.500)


def test_of_a_level_that_is_there_twice_the_last_counts() -> None:
    entry = entry_of(MODEL, (4, 16))
    again = dataclasses.replace(entry.curve[1], tpot_milliseconds_p50=90, ttft_milliseconds_p50=900)
    once = entry.model_copy(update={"curve": [entry.curve[0], again]})
    twice = entry.model_copy(update={"curve": [*entry.curve, again]})
    found = from_measurement(twice)
    assert found == from_measurement(once) != from_measurement(entry)
    assert found.late_seconds(15) > 0


@pytest.mark.parametrize(
    ("off_percent", "interval", "r2", "gap"),
    [
        (20.0, "30", "0.99", 13.0),  # the line is within the interval
        (20.0, "5", "0.99", 14.82),  # as far as the interval allows
        (20.0, "30", "0.9", 15.6),  # no straight line
        (20.0, None, "0.99", 15.6),
    ],
)
def test_a_level_of_few_requests_lies_near_the_line_of_all(
    off_percent: float, interval: str | None, r2: str, gap: float
) -> None:
    """alpha + beta x 30 is 13 ms; the level has 15.6."""
    point = {
        "concurrency": 30,
        "tpotMillisecondsP50": str(13 * (1 + off_percent / 100)),
        "ttftMillisecondsP50": "60",
        "ciPercent": interval,
    }
    fit = {"alphaMilliseconds": "10", "betaMicroseconds": "100", "r2": r2}
    entry = entry_of(MODEL, ()).model_dump(by_alias=True, mode="json") | {"curve": [point], "fit": fit}
    model = from_measurement(MeasurementEntry.model_validate(entry))
    found = closed_loop(
        model, input_tokens=400, output_tokens=150, concurrency=30, pause_seconds=model.step_seconds(30)
    )
    assert 1000 * found.tpot_seconds.p50 == pytest.approx(gap, rel=0.01)


def opened(came: OpenLatency, rate: float, requests: int) -> dict[str, object]:
    """What a probe says of open arrivals, with answers of 150 tokens."""
    return {
        "openLoop": True,
        "offeredRequestsPerSecond": f"{rate:.3f}",
        "requests": requests,
        "ttftMillisecondsP50": f"{1000 * came.ttft:.3f}",
        "tpotMillisecondsP50": f"{1000 * came.tpot:.3f}",
        "endToEndMillisecondsP50": f"{1000 * (came.ttft + 149 * came.tpot):.3f}",
    }


def test_open_arrivals_are_a_level_where_no_other_is_near() -> None:
    """Batches that cost nothing up to a knee: a straight line from 1 to 64 streams is too slow at 13."""
    knee = dataclasses.replace(MODEL, steps=((1, 0.010), (24, 0.011), (64, 0.040)))
    asked = {"input_tokens": 400, "output_tokens": 150}
    rate = 7.0
    came = open_loop(knee, rate, requests=800, **asked)
    latency = opened(came, rate, 100)

    def measured(levels: tuple[int, ...], **more: object) -> MeasurementEntry:
        plain = entry_of(knee, levels).model_dump(mode="json", by_alias=True, exclude_none=True)
        return MeasurementEntry.model_validate(plain | {"latency": latency | more})

    for other_rate in (4.0, 7.0):
        truth = open_loop(knee, other_rate, requests=800, **asked)
        found = open_loop(from_measurement(measured((64,))), other_rate, requests=800, **asked)
        assert tuple(found) == pytest.approx(tuple(truth), rel=0.1)
    unknown = from_measurement(measured((64,), openLoop=False))
    assert open_loop(unknown, rate, requests=800, **asked).tpot > 2 * came.tpot
    assert from_measurement(measured((64,), requests=19)) == unknown
    assert [batch for batch, _ in from_measurement(measured((16, 64))).steps] == [1, 16, 64]


def test_open_arrivals_that_chance_explains_are_no_level() -> None:
    """Batches that gain nothing, near saturation: some draws of 80 arrivals have twice the TPOT."""
    flat = dataclasses.replace(MODEL, steps=((1, 0.010), (16, 0.160)))
    rate, requests, asked = 0.45, 80, {"input_tokens": 400, "output_tokens": 150}
    draws = [open_loop(flat, rate, requests=requests, seed=seed, **asked) for seed in range(100, 110)]
    slow = max(draws, key=lambda came: came.tpot)
    assert slow.tpot > 2 * median(came.tpot for came in draws)
    entry = entry_of(flat, (16,)).model_dump(mode="json", by_alias=True, exclude_none=True)

    def with_open(came: OpenLatency) -> PerformanceModel:
        latency = opened(came, rate, requests)
        return from_measurement(MeasurementEntry.model_validate(entry | {"latency": latency}))

    assert with_open(slow) == from_measurement(MeasurementEntry.model_validate(entry))
    assert [batch for batch, _ in with_open(slow._replace(tpot=3 * slow.tpot)).steps] == [1, 9, 16]


def test_an_engine_runs_what_it_was_seen_to_run_whatever_it_was_planned_for() -> None:
    """By tokens a second times the time per token: streams that waited for a place do not count."""
    entry = entry_of(MODEL, (4, 16))
    seen = dataclasses.replace(entry.curve[1], tpot_milliseconds_p50=100.0, output_tokens_per_second=140.0)
    measured = entry.model_copy(update={"curve": [entry.curve[0], seen]})
    assert from_measurement(measured, max_num_seqs=8).max_num_seqs == 14
    assert from_measurement(measured, max_num_seqs=15).max_num_seqs == 15
    assert from_measurement(entry, max_num_seqs=8).max_num_seqs == 8


def test_a_level_that_was_not_steady_says_nothing() -> None:
    entry = entry_of(MODEL, (4, 16))
    shaky = dataclasses.replace(entry.curve[1], steady=False, ttft_milliseconds_p50=900)
    without = entry.model_copy(update={"curve": entry.curve[:1]})
    assert from_measurement(
        entry.model_copy(update={"curve": [*entry.curve[:1], shaky]})
    ) == from_measurement(without)
    # Nor does one in place of what is known.
    both = entry.model_copy(update={"curve": [*entry.curve, shaky]})
    assert from_measurement(both) == from_measurement(entry)


def test_what_others_add_to_a_first_token_lies_between_the_levels() -> None:
    model = dataclasses.replace(MODEL, ttft_late=((4, 0.04), (8, 0.02)))
    seconds = [model.late_seconds(others) for others in (0, 2, 4, 6, 8, 20)]
    assert seconds == pytest.approx([0, 0.02, 0.04, 0.03, 0.02, 0.02])
    assert MODEL.late_seconds(5) == 0


def test_a_measurement_that_says_too_little() -> None:
    with pytest.raises(PerformanceModelError, match="workload"):
        from_measurement(MeasurementEntry.model_validate({"fingerprint": "f"}))


@examples(0.4)
@given(
    st.integers(1, 60_000),
    st.integers(1, 400),
    st.integers(2, 12),
    st.sampled_from([10**9, 70_000]),
    st.sampled_from([(), ((7, 0.3),)]),
)
def test_steps_of_one_long_prompt_are_as_if_made_one_by_one(
    prompt: int, answer: int, streams: int, room: int, late: tuple[tuple[int, float], ...]
) -> None:
    model = dataclasses.replace(MODEL, kv_cache_tokens=room, ttft_late=late)
    asked = {"input_tokens": prompt, "output_tokens": answer, "concurrency": streams, "rounds": 3}
    found = closed_loop(model, **asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replica, "_alike", lambda self, seconds, *_: (1, self.now + seconds))
        one_by_one = closed_loop(model, **asked)
    assert found.preemptions == one_by_one.preemptions
    for name in ("requests_per_second", "output_tokens_per_second"):
        assert getattr(found, name) == pytest.approx(getattr(one_by_one, name), rel=1e-6)
    assert found.ttft_seconds == pytest.approx(one_by_one.ttft_seconds, rel=1e-6)
    assert found.tpot_seconds == pytest.approx(one_by_one.tpot_seconds, rel=1e-6)


@pytest.mark.parametrize(("prompt", "answer"), [(2**24 - 100, 100), (100, 2**24 - 100), (2**23, 2**23)])
def test_no_request_is_too_long_to_be_waited_for(
    prompt: int, answer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    one = Replica._mixed
    monkeypatch.setattr(Replica, "_mixed", lambda self, until: made.append(1) or one(self, until))
    entry = entry_of(MODEL, (4, 16, 64))
    from_measurement(
        entry.model_copy(update={"workload": MeasuredWorkload(input_tokens=prompt, output_tokens=answer)})
    )
    assert len(made) < 300_000, "a step at a time were 200 million"


def test_what_is_beyond_any_engine_is_refused() -> None:
    entry = entry_of(MODEL, (4, 16, 64))
    with pytest.raises(
        PerformanceModelError, match="requests of 16777217 tokens were measured; up to 16777216 can be"
    ):
        from_measurement(
            entry.model_copy(update={"workload": MeasuredWorkload(input_tokens=2**24, output_tokens=1)})
        )
    with pytest.raises(
        PerformanceModelError, match="2147483647 requests at a time; up to 65536 can be simulated"
    ):
        from_measurement(entry, max_num_seqs=2**31 - 1)


def test_steps_are_looked_up_for_the_streams_of_a_level_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    one = PerformanceModel.step_seconds
    monkeypatch.setattr(
        PerformanceModel, "step_seconds", lambda self, *about: asked.append(1) or one(self, *about)
    )
    from_measurement(entry_of(MODEL, (4, 16)), max_num_seqs=2**16)
    assert len(asked) < 10_000


def test_capacity_is_the_last_level_that_keeps_the_promise() -> None:
    asked = {"input_tokens": 400, "output_tokens": 150}
    found = capacity_at(MODEL, **asked, ttft_seconds=None, tpot_seconds=0.020)
    assert found.concurrency is not None
    at = round(found.concurrency)
    assert closed_loop(MODEL, **asked, concurrency=at).tpot_seconds.p95 <= 0.020
    assert closed_loop(MODEL, **asked, concurrency=round(at * 1.1) + 1).tpot_seconds.p95 > 0.020
    assert knee(MODEL, **asked).requests_per_second > (found.requests_per_second or 0)
    strict = capacity_at(MODEL, **asked, ttft_seconds=None, tpot_seconds=0.001)
    assert strict.concurrency == 1  # never met


def test_the_open_rate_grows_with_patience_and_falls_with_length() -> None:
    lengths = [(200, 100), (600, 200)]
    strict = open_rate(MODEL, lengths, ttft_seconds=0.2, tpot_seconds=0.02, share=0.99)
    loose = open_rate(MODEL, lengths, ttft_seconds=2.0, tpot_seconds=0.04, share=0.99)
    highest = knee(MODEL, input_tokens=400, output_tokens=150)
    assert 0 < strict < loose < 1.5 * highest.requests_per_second
    longer = [(2 * prompt, 2 * answer) for prompt, answer in lengths]
    assert open_rate(MODEL, longer, ttft_seconds=2.0, tpot_seconds=0.04, share=0.99) < 0.7 * loose


def test_the_greedy_reference_sees_no_request_before_it_came() -> None:
    seen = Arrived((1, 2, 3, 4), (5, 6, 7, 8), 3)
    assert seen.latest(2) == ((2, 6), (3, 7))
    assert seen.latest(9) == ((1, 5), (2, 6), (3, 7))
