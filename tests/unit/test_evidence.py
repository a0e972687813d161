"""The pages of docs/evidence have the figures of the raw data, recomputed here in another way."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from statistics import mean, median

import pytest

from benchmarks.evidence import __main__ as evidence, accuracy, defaults, fits, pairs
from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import (
    h100_goals,
    h200_goals_experts,
    h200_goals_tensor,
    h200_graphs_newest as graphs,
    probe,
)
from benchmarks.planner.cases import predict
from tools.pages import ROOT

GPU = ROOT / "benchmarks/gpu"


@cache
def text(name: str) -> str:
    return " ".join((ROOT / f"docs/evidence/{name}.md").read_text(encoding="utf-8").split())


def cells(name: str, first: str) -> list[str]:
    """The row of a page's table whose first cell is ``first``."""
    page = (ROOT / f"docs/evidence/{name}.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def raw(path: str) -> dict:
    return json.loads((GPU / path).read_text(encoding="utf-8"))


def rate(path: str, streams: int) -> float:
    (level,) = (each for each in raw(path)["levels"] if each["streams"] == streams)
    return level["output_tokens_per_second"]["server"]


@pytest.mark.parametrize("name", evidence.NAMES)
def test_pages_are_generated(name, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "NAMES", (name,))
    (made,) = evidence.pages().values()
    assert made == (ROOT / f"docs/evidence/{name}.md").read_text(encoding="utf-8")
    monkeypatch.setattr(evidence, "FOLDER", tmp_path)
    assert evidence.main(["--check"]) == 1
    assert evidence.main([]) == evidence.main(["--check"]) == 0


# Does it fit?


def test_formulas_are_right_as_often_as_the_recorded_results_have_it():
    found = json.loads((ROOT / "benchmarks/planner/results.json").read_text(encoding="utf-8"))
    right = {name: f"{row['right']} of {row['of']}" for name, row in found["sideBySide"].items()}
    left_out = {name: f"{row['right']} of {row['of']}" for name, row in found["sideBySideHeldOut"].items()}
    for name, title in fits.TITLES.items():
        assert cells("fits", title)[1:3] == [right[name], left_out[name]]
        assert f"| {name} | {right[name]} |" in (ROOT / "benchmarks/lab/planner.md").read_text()
    assert f"right about {right['tacho']} published starts" in text("fits")


def test_errors_of_the_cache_are_those_of_the_starts():
    for gpu, card, version in (("one H100", "H100", "0.26.0"), ("one H100", "H100", "0.32.0")):
        found = [
            100 * abs(predict(start.case).cache.tokens / start.row["actual"]["kvTokens"] - 1)
            for group, started in fits.of_vllm().items()
            if (group.gpu, group.version, group.several) == (card, version, False)
            for start in started
        ]
        page = (ROOT / "docs/evidence/fits.md").read_text(encoding="utf-8")
        row = f"| {gpu} | vLLM {version} | no | {len(found)} | {median(found):.2f}% | {max(found):.1f}% |"
        assert row in page
    assert sum(map(len, fits.of_vllm().values())) == 318
    assert {group.gpu for group in fits.of_vllm() if group.fitted} == {"H200"}


# How exact is a measurement?


def _read_by_hand(folder: Path) -> list[float]:
    """Percent by which figures of an 8B in 16 bits without a warning are off; by no function of the page."""
    files = {file.stem: json.loads(file.read_text()) for file in folder.glob("8b-bf16*.json")}
    found = []
    for name, content in files.items():
        if "curve" not in content or content["confidence"] == "Provisional":
            continue
        capacity = content.get("capacity", {})
        if capacity.get("verified") is False:
            continue
        warm = name.startswith("8b-bf16-warm")
        server = "8b-bf16-warm-again" if warm else "8b-bf16"
        given = content["message"].startswith("no search")
        for level in [*(content["curve"] if given else []), *([] if given or not capacity else [capacity])]:
            rates = [
                each["output_tokens_per_second"]["server"]
                for each in files[server]["levels"]
                if each["streams"] == level["concurrency"] > 1 and each["steady"]
            ]
            if rates and max(rates) <= 1.1 * min(rates):
                found.append(100 * abs(float(level["outputTokensPerSecond"]) / mean(rates) - 1))
    return found


def test_an_8b_in_16_bits_is_as_far_off_as_the_files_have_it():
    folders = [
        *(GPU / f"h100/{name}" for name in ("goals", "goals-paired", "goals-one-run", "probe")),
        *(GPU / f"h200/{name}" for name in ("goals", "goals-edges", "goals-budgets", "goals-repeated")),
        *(GPU / f"h200/vllm-0.32{name}/goals" for name in ("", "-four")),
    ]
    found = sorted(error for folder in folders for error in _read_by_hand(folder))
    pods = [pair for pair in accuracy.of(pairs.LARGE) if pair.pod]
    assert {pair.server for pair in pods} == {"qwen2-5-7b"}
    found = sorted([*found, *(abs(pair.off_percent) for pair in pods)])
    row = cells("accuracy", "Dense, 16 bits")
    assert len(found) == int(row[1]) - int(row[2])
    largest = found[math.ceil(0.95 * len(found)) - 1]
    assert row[3:6] == [f"{median(found):.1f}%", f"{largest:.1f}%", f"± {math.ceil(largest)}%"]


@pytest.mark.parametrize(
    ("folder", "servers"),
    [
        ("h100/goals-paired", h100_goals.LARGE),
        ("h200/goals", ("8b-bf16", "8b-fp8")),
        ("h200/vllm-0.32/goals", ("8b-bf16",)),
    ],
)
def test_given_concurrencies_are_as_far_off_as_the_lab_notes_have_it(folder, servers):
    of = comparison(GPU / folder)
    lab = {
        (name, level.streams): 100 * (both["rate"][0] / both["rate"][1] - 1)
        for name, level, both, _ in probe.errors(of)
        if name.startswith(servers)
    }
    found = {
        (pair.place.rpartition("/")[2], pair.concurrency): pair.off_percent
        for pair in pairs.pairs()
        if pair.place.rpartition("/")[0] == folder and pair.server in servers and "levels" in pair.place
    }
    assert found == pytest.approx(lab)


@pytest.mark.parametrize(
    ("folder", "levels", "partly_steady"),
    [
        ("goals-experts", h200_goals_experts.recorded, 0),
        ("goals-tensor", h200_goals_tensor.over_two, 1),
    ],
)
def test_experts_and_two_gpus_are_as_far_off_as_the_lab_notes_have_it(folder, levels, partly_steady):
    """Where one of two load tests is not steady, the lab notes leave the level out, and the page the test."""
    lab = sorted(level.off for level in levels() if level.off is not None)
    found = [pair for pair in pairs.pairs() if f"/{folder}/" in pair.place and "-levels-" in pair.place]
    judged = sorted(pair.off_percent for pair in found if pair.judged)
    others = [off for off in judged if all(off != pytest.approx(each) for each in lab)]
    assert len(others) == partly_steady
    assert [off for off in judged if off not in others] == pytest.approx(lab)


def test_every_figure_is_of_a_class_and_once():
    every = pairs.pairs()
    assert len({(pair.place, pair.concurrency) for pair in every}) == len(every)
    assert {pair.kind for pair in every} == set(accuracy.ORDER)
    rows = [cells("accuracy", kind) for kind in accuracy.ORDER]
    total = cells("accuracy", "All")
    assert [sum(int(row[column]) for row in rows) for column in (1, 2)] == [int(total[1]), int(total[2])]


def test_the_margin_holds_the_figures_that_it_is_said_of():
    for kind in accuracy.ORDER:
        found = accuracy.errors(accuracy.of(kind))
        if found:
            assert sum(error <= accuracy.margin(accuracy.of(kind)) for error in found) >= 0.95 * len(found)
    dense = accuracy.of(*accuracy.DENSE)
    assert f"take a number in `status` as ± {accuracy.margin(dense)}%" in text("accuracy")
    assert f"The median error is {median(accuracy.errors(dense)):.1f}%." in text("accuracy")


def test_warnings_are_of_figures_that_are_farther_off():
    every = pairs.pairs()
    assert median(accuracy.errors(every, warned=True)) > 3 * median(accuracy.errors(every))


def test_simulated_engines_are_those_of_the_recorded_run():
    found = json.loads((ROOT / "benchmarks/probe/results/virtual-planned.json").read_text())["summary"]
    assert found["undisturbed"]["capacityWithin5Percent"] == 1.0
    assert "default budgets found every capacity within 5%" in text("accuracy")


# What tacho's defaults gain


def test_experts_in_16_bits_gain_what_the_load_tests_have():
    row = next(line for line in defaults.rows() if line[:2] == (defaults.QWEN, "16 bits"))
    folder = "h200/vllm-0.32-graphs"
    for cell, streams in zip(row[2:], (16, 64, 256), strict=True):
        before, after = (rate(f"{folder}/qwen3-30b-a3b{end}.json", streams) for end in ("", "-captured"))
        assert cell == f"**{100 * (after / before - 1):+.0f}%**"
    edges = [
        float(raw(f"{folder}/qwen3-30b-a3b{end}-edge.json")["capacity"]["outputTokensPerSecond"])
        for end in ("-captured", "")
    ]
    assert f"was {edges[0] / edges[1]:.1f} times as large" in text("defaults")
    assert f"gave {graphs.least_gains(graphs.MOE)}% more tokens per second" in text("defaults")


def test_other_weights_gain_what_the_load_tests_have():
    high = rate("h200/vllm-0.32-fp8/qwen3-30b-a3b-per-tensor-captured.json", 64)
    hosts = (
        rate("h200/vllm-0.32-experts/qwen3-30b-a3b-fp8.json", 64),
        rate("h200/vllm-0.32-fp8/qwen3-30b-a3b-per-tensor.json", 64),
    )
    assert f"{high / hosts[0]:.1f} to {high / hosts[1]:.1f} times the tokens" in text("defaults")
    found = {(server.title, server.weights): gains for server, gains in defaults.gains().items()}
    gptq = [found[defaults.QWEN, "GPTQ"][each] for each in (16, 64)]
    assert f"{gptq[0].after / gptq[0].before:.1f} to {gptq[1].after / gptq[1].before:.1f} times" in text(
        "defaults"
    )
    nf4 = [gain.percent for gain in found[defaults.EIGHT, "NF4"].values()]
    assert f"An 8B gained {min(nf4):.0f} to {max(nf4):.0f}%." in text("defaults")


def test_bold_is_what_a_plan_sets_and_none_of_it_loses():
    chosen = [
        gain.percent
        for server, found in defaults.gains().items()
        for each, gain in found.items()
        if defaults.is_set(server, each)
    ]
    page = (ROOT / "docs/evidence/defaults.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\*\*\(?[+-]\d+%\)?\*\*", page)) == len(chosen)
    assert min(chosen) > 10
    assert f"in {len(chosen)} of these" in text("defaults")
