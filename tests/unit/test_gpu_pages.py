"""The pages of the H200 say what the raw data say, and only what holds against itself."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from benchmarks.gpu import goals, overhead
from benchmarks.gpu.pages import (
    __main__ as pages,
    articles,
    articles_product,
    charts,
    checked,
    h100,
    held,
    later_pods,
    loops,
    matrix,
    outstanding,
    pods,
    probe,
    recorded,
    same_seconds,
    switches,
)
from benchmarks.gpu.pages.recorded import RAW

SVG = "{http://www.w3.org/2000/svg}"


def level(streams: int = 1, **more: Any) -> dict[str, Any]:
    """One of requests of a second each, in a window of twenty."""
    plain = {
        "concurrency": streams,
        "requestsPerSecond": str(float(streams)),
        "endToEndMillisecondsP50": "1000",
        "requests": 20 * streams,
        "windowSeconds": "20",
        "ciPercent": "2.5",
        "steady": True,
    }
    return {key: value for key, value in {**plain, **more}.items() if value is not None}


def measurement(**more: Any) -> dict[str, Any]:
    return {"state": "Complete", "confidence": "Clean", **more}


def test_no_page_has_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    assert pages.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("streams", [1, 64])
def test_a_level_that_holds_has_no_doubts(streams: int) -> None:
    assert held.doubts(measurement(), level(streams)) == []


@pytest.mark.parametrize(
    ("whole", "one", "doubt"),
    [
        ({}, {"flags": ["NotSteady"]}, "flag NotSteady"),
        ({"flags": ["OtherTraffic"]}, {}, "flag OtherTraffic"),
        ({"flags": ["Contended"]}, {}, "flag Contended"),
        ({}, {"requests": 4}, "4 requests"),
        ({}, {"requestsPerSecond": None}, "no rate"),
        ({}, {"ciPercent": None}, "no interval"),
        ({}, {"ciPercent": "10.1"}, "± 10.1 %"),
        ({}, {"ciPercent": "2280"}, "± over 100 %"),
        ({}, {"requestsPerSecond": "1.04"}, "rate x latency is 1.04 of the streams"),
        ({}, {"requestsPerSecond": "0.96"}, "rate x latency is 0.96 of the streams"),
    ],
)
def test_one_stream_is_doubted_for(whole: dict[str, Any], one: dict[str, Any], doubt: str) -> None:
    assert held.doubts(measurement(**whole), level(**one)) == [doubt]


@pytest.mark.parametrize(
    ("whole", "one", "doubt"),
    [
        ({"state": "Partial"}, {}, "partial"),
        ({"confidence": "Provisional"}, {}, "provisional"),
        ({}, {"steady": False}, "not steady"),
        ({}, {"windowSeconds": "1.9"}, "window of 1.90 requests"),
    ],
)
def test_several_streams_are_doubted_for_more_than_one(
    whole: dict[str, Any], one: dict[str, Any], doubt: str
) -> None:
    assert held.doubts(measurement(**whole), level(64, **one)) == [doubt]
    assert held.doubts(measurement(**whole), level(1, **one)) == []


def test_a_loop_that_began_in_its_steady_mix_may_be_shorter_than_its_requests() -> None:
    short = level(64, windowSeconds="1.9")
    assert held.doubts(measurement(), short, began_mixed=True) == []
    wrong = level(64, windowSeconds="1.9", requestsPerSecond="66.6")
    assert held.doubts(measurement(), wrong, began_mixed=True) == ["rate x latency is 1.04 of the streams"]


def test_without_a_time_to_the_last_token_the_latency_is_that_of_its_tokens() -> None:
    found = level(4, endToEndMillisecondsP50=None, ttftMillisecondsP50="801", tpotMillisecondsP50="1")
    assert held.littles_share(measurement(workload={"outputTokens": 200}), found) == pytest.approx(1)


@given(st.integers(1, 1000), st.floats(0.01, 100), st.floats(0.5, 2))
def test_a_loop_balances_by_littles_law_alone(streams: int, latency: float, share: float) -> None:
    rate = share * streams / latency
    assert held.balanced(streams, rate, latency) == (abs(rate * latency / streams - 1) <= held.TOLERANCE)


def test_what_the_pages_show_holds_and_what_does_not_is_withdrawn() -> None:
    shown = "".join([*matrix.one_stream(), *matrix.under_load(), *later_pods.shown()])
    every = [*matrix.levels(), *pods.levels()]
    kept = [place for place, _, doubts in every if not doubts]
    assert shown.count("\n") == len(kept)
    assert all(
        f"| {place.removeprefix('pods/')} |" in shown
        for place, each, doubts in every
        if not doubts and each["concurrency"] == 1
    )
    withdrawn = dict(outstanding.withdrawn())
    assert set(withdrawn) == {place for place, _, doubts in every if doubts}
    assert sum(each.count(";") + 1 for each in withdrawn.values()) == len(every) - len(kept)


@pytest.mark.parametrize(
    "place", ["two/llama-8b-w4a16", "pods/vllm-bf16", "pods/transformers-bnb-nf4", "more/llama-8b-awq"]
)
def test_figures_that_were_wrong_are_withdrawn(place: str) -> None:
    assert place in dict(outstanding.withdrawn())


def test_every_withdrawn_cell_is_measured_again_by_a_cell_of_the_next_session() -> None:
    again = outstanding.replacements()
    assert {place for place, _ in outstanding.withdrawn()} <= set(again)


def test_a_cell_is_done_where_one_stream_and_the_planned_streams_hold() -> None:
    done = later_pods.done()
    again = {"llama-8b-gptq", "llama-8b-bnb-nf4", "llama-8b-tp2", "llama-8b-fp8", "qwen2-5-7b-nf4"}
    repeated = {"transformers-nf4", "qwen2-5-7b", "front-ends", "llama-8b-w8a8"}
    assert set(done) == {"llama-8b-bf16-cold", "llama-8b-awq", "llama-8b-w4a16", *again, *repeated}
    assert {done[cell] for cell in repeated} == {f"repeated/{cell}" for cell in repeated}
    assert done["llama-8b-gptq"] == "looped/llama-8b-gptq"
    assert done["llama-8b-awq"] == "checked/llama-8b-awq"
    assert done["llama-8b-tp2"] == "longer/llama-8b-tp2"
    assert done["llama-8b-fp8"] == "looped/llama-8b-fp8"
    still, later = outstanding.page().split("## Measured again")
    assert "| more/llama-8b-awq |" in later
    assert "| more/llama-8b-awq |" not in still
    assert "| matrix/llama-8b-32k |" in still


def test_more_seconds_made_no_cell_whole_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [
        (name, each["concurrency"]) for name, each, doubts in pods.levels(recorded.BUDGET_PODS) if not doubts
    ]
    assert levels == [
        *(("pods/budgets/llama-8b-ct2", 1), ("pods/budgets/gpt-oss-20b", 1)),
        *(("pods/budgets/moe-bf16", streams) for streams in (1, 8, 48)),
    ]
    assert "Of no cell the planned streams hold" in later_pods.budgets()
    monkeypatch.setattr(later_pods, "whole", lambda name: name == "budgets/moe-bf16")
    with pytest.raises(ValueError, match="budgets/moe-bf16"):
        later_pods.budgets()


def test_a_pod_that_was_never_ready_is_told_with_its_reason_and_measured_by_no_cell() -> None:
    assert later_pods.gguf() == pytest.approx((3.87, 3.90, 6.38), abs=0.005)
    page = later_pods.page()
    assert "(budgets/gguf-without-config) | InvalidConfig, 35 s" in page
    assert "(budgets/llama-8b-gguf) | QuantizationNotApplied, 94 s" in page
    assert "llama-8b-gguf" in outstanding.new_cells()


def test_figures_of_the_probe_are_judged_by_their_goals() -> None:
    assert probe.cell(103, 100, 3, 0) == "103 / 100 (+3.00 %)"
    assert probe.cell(96, 100, 3, 0) == "**96 / 100 (-4.00 %)**"


def test_percentiles_from_the_stamps_are_those_that_the_loop_said() -> None:
    h200 = [(probe.H200, name) for name in ("8b-bf16", "8b-bf16-again", "8b-fp8")]
    for of, name in [*h200, (h100.H100, "8b-bf16"), (h100.H100, "moe-bf16")]:
        said = {each["streams"]: each for each in of.read(name)["levels"]}
        for each in probe.truth(of, name):
            assert each.tpot50 == pytest.approx(said[each.streams]["tpot_ms"]["p50"], rel=1e-3)
            assert each.tpot95 == pytest.approx(said[each.streams]["tpot_ms"]["p95"], rel=1e-3)
            assert each.ttft95 == pytest.approx(said[each.streams]["ttft_ms"]["p95"], rel=1e-3)


def logged(at: str, rate: float, running: int, waiting: int = 0) -> str:
    told = f"Avg generation throughput: {rate} tokens/s, Running: {running} reqs, Waiting: {waiting} reqs"
    return f"INFO 11-25 {at} [loggers.py:310] Engine 000: {told}, GPU KV cache usage: 21.9%\n"


def test_a_folder_of_a_gpu_host_is_judged_by_its_names() -> None:
    found = goals.comparison(h100.H100.raw)
    assert set(found.truths) >= {"8b-bf16", "0.6b-apart", "moe-later"}
    assert found.edges == {
        ("0.6b-apart", "ttft-1s-tpot-15ms"): {"ttft": 1000.0, "tpot": 15.0},
        ("moe-apart", "ttft-2s-tpot-40ms"): {"ttft": 2000.0, "tpot": 40.0},
    }
    assert "**0.6b-apart-levels" not in probe.page(found)
    figures = [cell for line in probe.page(found).splitlines() for cell in line.split(" | ")]
    assert probe.missed_goals(found) == sum(cell.startswith("**") and " / " in cell for cell in figures)


@given(st.integers(0, 9999))
def test_the_engines_count_is_of_the_seconds_in_which_a_level_ran(ramp: int) -> None:
    level = {"concurrency": 48, "outputTokensPerSecond": "990", "windowSeconds": "30"}
    measured = {"observedTime": "2026-11-25T00:31:00Z", "probeSeconds": "90", "curve": [level]}
    log = logged("00:30:02", ramp, 47, 1) + logged("00:30:12", 1000.0, 46) + logged("00:30:22", 1010.0, 48)
    log += logged("00:30:32", 9.0, 3) + logged("00:40:02", 5.0, 48)
    same = list(same_seconds.compared("probe", measured, log))
    assert same == [same_seconds.Same("probe", 48, 990.0, 1005.0, 20.0)]


@given(st.floats(10, 30), st.floats(100, 500))
def test_an_edge_lies_between_its_levels_and_the_first_bound_decides(tpot: float, ttft: float) -> None:
    low = probe.Level(64, 6000.0, 9.0, 10.0, 100.0)
    high = probe.Level(256, 8000.0, 29.0, 30.1, 500.1)
    alone = [probe.edge([low, high], bounds) for bounds in ({"tpot": tpot}, {"ttft": ttft})]
    assert probe.edge([low, high], {"tpot": tpot, "ttft": ttft}) == min(alone)
    for streams, rate in alone:
        assert 64 <= streams <= 256
        assert 6000 - 1e-6 <= rate <= 8000 + 1e-6


def test_loops_of_truth_hold_by_the_stamps_of_their_requests() -> None:
    for server in matrix.SERVERS:
        for each in recorded.read(f"truth/{server}.json")["levels"]:
            assert abs(loops.littles_share(each) - 1) <= held.TOLERANCE


def test_each_loop_beside_a_pod_holds_and_is_inside_the_interval_that_the_page_tells() -> None:
    found = [pair for name in recorded.CHECKED_PODS for pair in checked.both(name)]
    assert [each["streams"] for _, each in found] == [48, 170, 14, 8, 15]
    assert all(each["steady"] and abs(loops.littles_share(each) - 1) <= held.TOLERANCE for _, each in found)
    assert all(each["requests"] >= 100 and each["window_seconds"] >= 30 for _, each in found)
    assert all(abs(checked.off_percent(own, each)) <= float(own["ciPercent"]) for own, each in found)


def test_a_loop_outside_of_the_probes_interval_is_not_called_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "off_percent", lambda *_: -4.2)  # the narrowest is 4.13 %
    with pytest.raises(ValueError, match="checked/llama-8b-awq"):
        checked.checked()


def test_parts_of_a_loop_are_in_the_order_in_which_requests_were_sent() -> None:
    """Sent at 0, 1, ..., 8 s, with a TTFT of 10 ms more each, and 1 ms a token more each."""
    rows = [[at, 10.0 * at, 10.0 * at + 100.0 * at, 101] for at in (8, 7, 6, 5, 4, 3, 2, 1, 0)]
    columns = ["sent_s", "ttft_ms", "end_to_end_ms", "tokens"]
    loop = {"window_seconds": 9.5, "raw": {"columns": columns, "rows": rows}}
    assert checked.windows(loop) == [20.0, 65.0]
    assert checked.quarters(loop) == pytest.approx([0.5, 2.5, 4.5, 6.5])


@pytest.mark.parametrize("name", ["vllm-bf16", "vllm-fp8"])
def test_the_replicas_of_the_simulated_example_hold(name: str) -> None:
    example = json.loads((recorded.ROOT / f"examples/simulate/{name}.json").read_text())
    status = recorded.resource(recorded.ROOT / f"benchmarks/engines/h200/{name}.yaml")["status"]
    assert example["curve"] == status["measurements"][0]["curve"]
    for each in example["curve"]:
        latency = float(each["endToEndMillisecondsP50"]) / 1000
        assert held.balanced(each["concurrency"], float(each["requestsPerSecond"]), latency)
        assert float(each["windowSeconds"]) / latency > held.LEAST_WINDOW_REQUESTS


def test_a_load_of_the_benchmark_that_does_not_hold_is_not_shown() -> None:
    servers = {each["name"]: each for each in switches.servers()}
    assert switches.figures_of(servers["small-one-front-end-again"], 256) == "-"
    assert switches.figures_of(servers["small-four-front-ends"], 256).startswith("26,567")
    with pytest.raises(KeyError):
        switches.figure("small-one-front-end-again", 256)


def test_front_ends_are_those_of_the_log() -> None:
    assert matrix.front_ends("flags/flags.small-four-front-ends.log") == 4
    assert matrix.front_ends("flags/flags.small-two-front-ends.log") == 2
    assert matrix.front_ends("more/small.log") == matrix.front_ends("later/small-one-front-end.log") == 1


def test_two_gpus_are_set_against_one() -> None:
    assert "1.38x of one GPU" in matrix.page()  # 282 / 204


def test_a_single_stream_that_does_not_hold_is_in_no_sentence() -> None:
    with pytest.raises(KeyError, match="does not hold"):
        matrix.single("more/transformers-nf4")


def test_seconds_of_pods_are_those_of_their_timelines() -> None:
    assert pods.seconds_of("vllm-bf16") == {"planned": 1.3, "placed": 1.3, "loading": 7.7}


def test_a_claim_says_its_ratios_by_the_raw_data() -> None:
    said = {each.claim: each for each in articles.claims()}
    assert len(said) == 8
    phi = next(each for claim, each in said.items() if "1.95x" in claim)
    assert "205 and 38.3 tok/s, 5.36x" in phi.measured
    assert "9.67x at least" in phi.measured  # 346 over 25.9 with its interval of 38.1 %
    best = next(each for claim, each in said.items() if "24x" in claim)
    assert "9.58x" in best.measured  # 13,700 / 1,430
    slow = next(each for claim, each in said.items() if claim.startswith("bitsandbytes"))
    assert "NF4 0.64x at 8 and 0.85x at 128" in slow.measured  # 176 of 275, 1,210 of 1,430


def test_no_figure_beside_the_articles_is_of_a_run_by_hand() -> None:
    assert all("tacho run" in each.source or "pods" in each.source for each in articles.claims())
    assert "hand" not in articles.page()


def test_what_transformers_holds_under_load_is_within_its_plan() -> None:
    for cell in ("transformers-8b", "transformers-8b-nf4", "transformers-8b-int8"):
        found = articles_product.peak(cell, articles_product.H200)
        assert 0.85 * articles_product.planned(cell, articles_product.H200) < found
        assert found < articles_product.planned(cell, articles_product.H200)


@pytest.mark.parametrize(("over", "under", "said"), [(3.0, 2.0, "1.50x"), (96.0, 1.0, "96x")])
def test_a_ratio_has_the_digits_that_mean_something(over: float, under: float, said: str) -> None:
    assert recorded.times(over, under) == said


def test_a_difference_has_its_sign() -> None:
    assert recorded.share(110, 100) == "+10.00 %"
    assert recorded.share(99, 100) == "-1.00 %"


@pytest.mark.parametrize("name", sorted(articles.pictures()))
def test_a_picture_is_whole_and_stays_on_its_paper(name: str) -> None:
    drawn = ElementTree.fromstring(articles.pictures()[name])
    height = float(drawn.attrib["height"])
    texts = drawn.findall(f".//{SVG}text")
    assert len(texts) >= 8
    assert all(0 <= float(each.attrib["y"]) <= height for each in texts)
    assert drawn.findall(f"{SVG}path") or drawn.findall(f"{SVG}rect[@class='bar']")


def test_longer_bars_are_larger_values() -> None:
    drawn = ElementTree.fromstring(charts.bars("t", [("a", 1.0, "1"), ("b", 2.0, "2")]))
    short, long = (float(bar.attrib["width"]) for bar in drawn.findall(f"{SVG}rect[@class='bar']"))
    assert long == pytest.approx(2 * short, abs=0.2)


def test_what_tacho_adds_is_its_own_parts_and_not_the_engines_scatter() -> None:
    found = json.loads((RAW / "start/overhead.json").read_text())
    parts = {"runtime_to_engine": 0.3, "engine": 30.0, "after_healthy": 0.2}
    assert overhead.added([{"before_runtime": 1.0, **parts}]) == {
        "added_seconds": 1.5,
        "added_in_a_pod_seconds": 0.5,
    }
    assert {name: found[name] for name in ("added_seconds", "added_in_a_pod_seconds")} == overhead.added(
        found["rounds"]
    )
