from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.measurement import Measurement, Workload
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.session import PromptTiming
from tacho_runtime.probe.time_plan import RequestShape
from tests.unit.probe.reporting import MS, WORKLOAD, findings, levels, opened, report, result, stream


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


def halted(streams: int, rate: float) -> LevelResult:
    found = result(streams, rate, flags=("NotSteady",))
    return replace(found, point=replace(found.point, steady=True))


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"levels_missing": True}, "Partial", ""),
        ({"failure": "the engine died"}, "Partial", "the engine died"),
        ({"out_of_time": True}, "Partial", ""),
        ({"single": {"streams": ()}, "results": {}, "failure": "no answer"}, "Failed", "no answer"),
        ({"shape": None, "single": {"streams": ()}, "results": {}}, "Failed", ""),
        ({"notes": ["a note", "another", "a note"]}, "Complete", "a note; another"),
        ({"search_ended": "all was tried"}, "Complete", "all was tried"),
        ({"notes": ["HTTP 500: no; never", "another"]}, "Complete", "HTTP 500: no, never; another"),
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
        (
            {"shape": RequestShape(workload=WORKLOAD, notes=("cut",), time_was_short=True)},
            ("BudgetExhausted",),
        ),
        ({"answers": {"cached_tokens": 16}}, ("CacheHit",)),
        (
            {
                "before": EngineCounters(cached_prompt_tokens=0.0),
                "after": EngineCounters(cached_prompt_tokens=16.0),
            },
            ("CacheHit",),
        ),
        # Of each prompt a few tokens may be known, and those that all begin with.
        (
            {
                "before": EngineCounters(cached_prompt_tokens=0.0),
                "after": EngineCounters(cached_prompt_tokens=1400.0),
                "answers": {"requests": 100, "same_tokens": 10},
            },
            (),
        ),
        (
            {
                "before": EngineCounters(cached_prompt_tokens=0.0, ttft_seconds_count=7.0),
                "after": EngineCounters(cached_prompt_tokens=1400.0, ttft_seconds_count=107.0),
                "answers": {"same_tokens": 10},
            },
            (),
        ),
        (
            {
                "before": EngineCounters(cached_prompt_tokens=0.0, ttft_seconds_count=7.0),
                "after": EngineCounters(cached_prompt_tokens=1401.0, ttft_seconds_count=107.0),
                "answers": {"same_tokens": 10},
            },
            ("CacheHit",),
        ),
        ({"before": EngineCounters(cached_prompt_tokens=5.0), "after": EngineCounters()}, ()),
        ({"answers": {"short": True}}, ("ShortOutput",)),
        ({"answers": {"longer": 2}}, ("LongOutput",)),
        ({"single": {"streams": (stream(tokens=stream().tokens[:5]), stream())}}, ("ShortOutput",)),
        ({"single": {"flags": ("OtherTraffic",)}}, ("OtherTraffic",)),
        ({"opened": replace(opened(True), flags=("Throttled",))}, ("Throttled",)),
        ({"flags": {"FrontendBound"}}, ("FrontendBound",)),
        ({"results": levels(result(1, 70), result(4, 200, flags=("NotSteady",)))}, ("NotSteady",)),
        ({"results": levels(result(1, 70, flags=("NotSteady",)), result(4, 200))}, ("NotSteady",)),
        (
            {
                "results": levels(
                    result(1, 70, slo_ratio=0.5),
                    result(4, 200, slo_ratio=0.8),
                    result(9, 250, slo_ratio=1.2, flags=("NotSteady",)),
                    result(12, 260, slo_ratio=1.4),
                )
            },
            (),
        ),
        # A neighbour may have broken the service level there, and the edge would be too low.
        (
            {
                "results": levels(
                    result(1, 70, slo_ratio=0.2),
                    result(4, 200, slo_ratio=0.9),
                    result(6, 220, slo_ratio=1.2, flags=("OtherTraffic",)),
                )
            },
            ("OtherTraffic",),
        ),
        # A halt, as to compile a kernel, may have kept it from more throughput than the knee is a share of.
        ({"results": levels(result(1, 70), result(4, 200), halted(9, 150))}, ("NotSteady",)),
        # Neither the knee nor the highest: it is marked in the curve and nowhere else.
        (
            {"results": levels(result(1, 70), result(2, 80, flags=("Contended",)), result(4, 200))},
            (),
        ),
    ],
)
def test_flags(changes: dict[str, Any], flags: tuple[str, ...]) -> None:
    assert report(findings(**changes)).flags == flags


@pytest.mark.parametrize(("own_tpot", "flags"), [(10.5, ()), (5.0, ("ClientBound",))])
def test_the_engines_own_timings_check_ours(own_tpot: float, flags: tuple[str, ...]) -> None:
    streams = (stream(engine_tpot_milliseconds=own_tpot),)
    measured = report(findings(single={"streams": streams}))
    assert measured.flags == flags
    assert f"ran at {1000 / own_tpot:.1f} tokens per second" in measured.message


def test_prompt_times_that_are_no_line_give_no_line() -> None:
    for times in ([], [(100.0, 50.0)], [(100.0, 50.0), (200.0, 40.0)]):
        single = report(findings(single={"prompts": [PromptTiming(*one) for one in times]})).single_stream
        assert single is not None
        assert single.prefill_tokens_per_second is None
        assert single.ttft_overhead_milliseconds is None


@pytest.mark.parametrize(("first", "known"), [(1.0, True), (1.2, True), (4.0, False)])
def test_prompts_have_no_speed_where_their_first_tokens_were_held_back(first: float, known: bool) -> None:
    """A proxy that buffers 4 KiB sends a first token with later ones, and an answer of one token at once."""
    tokens = ((80 * MS, first), *(((80 + 40 * n) * MS, 4.0) for n in range(1, 3)))
    measured = report(findings(single={"streams": (stream(tokens=tokens), stream(tokens=tokens))}))
    assert measured.single_stream is not None
    assert (measured.single_stream.prefill_tokens_per_second is not None) is known
    assert ("a first token came together with 3 later ones" in measured.message) is not known


ONE_EVENT: dict[str, Any] = {"tokens": ((50 * MS, 10.0),)}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"finish_reason": "", "events": 10}, "no answer said that it had ended"),
        ({**ONE_EVENT, "events": 0}, "each answer came in one event, as where it is not streamed or its"),
        ({**ONE_EVENT, "events": 1}, "each answer came in one event, as where it is not streamed or its"),
        ({"tokens": ((50 * MS, 1.0), (60 * MS, 0.0)), "events": 10}, "the engine counted no tokens"),
        ({**ONE_EVENT, "events": 10}, "came at once, as from a proxy that buffers"),
    ],
    ids=["endless", "hidden", "whole", "uncounted", "held"],
)
def test_a_single_stream_without_a_rate_says_what_was_seen(answer: dict[str, Any], said: str) -> None:
    measured = report(findings(single={"streams": (stream(**answer), stream(**answer))}))
    assert said in measured.message
    assert said not in report(findings(single={"streams": (stream(**answer), stream())})).message


def test_the_workload_is_what_was_sent() -> None:
    streams = (stream(prompt_tokens=97),)
    assert report(findings(single={"streams": streams})).workload == Workload(
        input_tokens=97, output_tokens=10
    )


@pytest.mark.parametrize(
    ("sent", "counted", "told"),
    [
        (100, 100, False),
        (100, 115, False),
        (100, None, False),
        (100, 1, True),
        (100, 4000, True),
        (1000, 1090, False),
        (1000, 1110, True),
        (16, 7, True),
        (16, 30, False),
        (1, 1, False),
    ],
)
def test_prompts_that_the_engine_counts_otherwise_are_told(
    sent: int, counted: int | None, *, told: bool
) -> None:
    """An engine that cuts prompts, or counts them wrong: both change the workload that was measured."""
    shape = RequestShape(workload=Workload(input_tokens=sent, output_tokens=10))
    found = report(findings(single={"streams": (stream(prompt_tokens=counted),)}, shape=shape))
    assert ("were sent, which the engine counts as" in found.message) == told
    assert ("OtherInput" in found.flags) == told
    assert found.workload.input_tokens == (counted or sent)


def test_what_others_may_have_taken_widens_the_single_streams_interval() -> None:
    plain, wide = (report(findings(single={"loss_percent": loss})).single_stream for loss in (0.0, 7.5))
    assert plain is not None
    assert wide is not None
    assert plain.decode_ci_percent is not None
    assert wide.decode_ci_percent == pytest.approx(plain.decode_ci_percent + 7.5)


def in_runs(rng: Random, tokens: int) -> StreamResult:
    """Steps of 20 or 65 ms, about 60 of each in a row."""
    stamps_ns, slow = [50 * MS], rng.random() < 0.5
    for _ in range(tokens - 1):
        slow ^= rng.random() < 1 / 60
        stamps_ns.append(stamps_ns[-1] + (65 if slow else 20) * MS)
    return stream(tokens=tuple((stamp_ns, 1.0) for stamp_ns in stamps_ns))


def test_a_rate_that_may_as_well_be_nothing_is_no_figure() -> None:
    known = []
    for loss in (0.0, 101.0):
        rng = Random(1)
        runs = tuple(in_runs(rng, 64) for _ in range(5))
        measured = report(findings(single={"streams": runs, "loss_percent": loss}))
        assert measured.single_stream is not None
        assert measured.single_stream.decode_ci_percent is not None
        known.append(measured.single_stream.decode_ci_percent <= 100)
        assert measured.flags == (() if known[-1] else ("NotSteady",))
        assert ("its rate is known only within" in measured.message) != known[-1]
    assert known == [True, False], "of two paces some seconds are a figure"


def test_answers_that_went_on_are_counted_and_said() -> None:
    found = findings()
    found.answers.count([stream(longer=True), stream(), stream(longer=True)])
    measured = report(found)
    assert "2 answers had more tokens than were asked for" in measured.message
    assert measured.flags == ("LongOutput",)


def test_what_a_cache_knows_of_every_prompt_is_no_hit() -> None:
    found = findings(answers={"same_tokens": 10})
    found.answers.count([stream(cached_tokens=14), stream(cached_tokens=3)])
    assert (found.answers.cached_tokens, found.answers.requests) == (0, 2)
    assert report(found).flags == ()
    found.answers.count([stream(cached_tokens=15)])
    assert found.answers.cached_tokens == 1
    assert report(found).flags == ("CacheHit",)
