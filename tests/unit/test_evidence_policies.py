"""docs/evidence on scaling, the gate and scale: pages are current, and their figures are those of raw data.

Figures are computed here once more, from the files themselves.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.autoscaling.drawing import NAMES, picture
from benchmarks.autoscaling.goals import Score
from benchmarks.gate.recorded import groups
from tacho_cli.figures.chart import WIDE_CHARACTER, overlap

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "docs/evidence"
RIVALS = sorted(NAMES.keys() - {"tacho", "greedy"})


def text(name: str) -> str:
    return " ".join((EVIDENCE / f"{name}.md").read_text(encoding="utf-8").split())


def untold(name: str, *parts: str) -> list[str]:
    """Those that the page does not have."""
    page = text(name)
    return [part for part in parts if part not in page]


@pytest.mark.parametrize("name", ["autoscaling", "gate", "scale"])
def test_a_page_is_what_its_module_writes(name: str) -> None:
    written = (EVIDENCE / f"{name}.md").read_text(encoding="utf-8")
    assert import_module(f"benchmarks.evidence.{name}").page() == written


# --- autoscaling -------------------------------------------------------------------------------------
def judged() -> dict[str, dict[str, tuple[float, float]]]:
    """SLO percent and GPU-hours by scenario and policy: of the last run, and of that whose seeds it took."""
    with (ROOT / "benchmarks/autoscaling/judging.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    last = rows[-1]["commit"]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for row in rows:
        if row["commit"] in (last, last.partition(" on ")[2]):
            kept, hours = (fmean(map(float, row[name].split())) for name in ("slo_percent", "gpu_hours"))
            found.setdefault(row["scenario"], {})[row["policy"]] = (kept, hours)
    return found


def mean(policy: str) -> tuple[float, float]:
    kept, hours = zip(*(found[policy] for found in judged().values()), strict=True)
    return fmean(kept), fmean(hours)


def test_the_head_figures_of_autoscaling_are_means_of_the_rows() -> None:
    parts = []
    for name in ("tacho", "hpa-concurrency", "wva", "hpa-demand", "production-stack-operator", "greedy"):
        kept, hours = mean(name)
        middle = "% of requests within the SLO for" if name == "tacho" else "% for"
        parts.append(f"{kept:.1f}{middle} {hours:.1f}")
    assert untold("autoscaling", *parts, f"means over the {len(judged())} scenarios") == []


def test_what_autoscaling_says_of_the_others_holds() -> None:
    means = {name: mean(name) for name in (*RIVALS, "tacho", "greedy")}
    own = means["tacho"]
    assert [name for name in means if means[name][0] > own[0]] == ["production-stack-operator"]
    assert max((name for name in means if name.startswith("hpa")), key=means.__getitem__) == "hpa-demand"
    assert own[1] < 1.02 * means["hpa-concurrency"][1], "as many GPU-hours"
    daily = judged()["diurnal"]
    (kept, hours), (same, cost) = daily["tacho"], daily["hpa-concurrency"]
    assert abs(kept - same) < 0.5
    assert abs(hours / cost - 1) < 0.05
    bursts = judged()["spikes"]
    words = "tacho kept {:.1f}%, and the HPA on concurrency kept {:.1f}%"
    assert untold("autoscaling", words.format(bursts["tacho"][0], bursts["hpa-concurrency"][0])) == []


def test_a_tuned_hpa_is_cheaper_with_unchanged_weights() -> None:
    with (ROOT / "benchmarks/autoscaling/example.csv").open(newline="") as lines:
        rows = {row["policy"]: row for row in csv.DictReader(lines) if row["scenario"] == "nothing changes"}
    own, hpa = (
        [fmean(map(float, rows[name][key].split())) for key in ("slo_percent", "gpu_hours")]
        for name in ("tacho", "hpa-concurrency")
    )
    assert min(own[0], hpa[0]) > 95, "both keep the SLO"
    assert hpa[1] < own[1]
    assert untold("autoscaling", f"tacho needs {own[1]:.2f} GPU-hours and the HPA {hpa[1]:.2f}") == []


def test_every_missed_goal_is_shown() -> None:
    lab = (ROOT / "benchmarks/lab/scaling/README.md").read_text(encoding="utf-8")
    kept, every = re.findall(r"^(\d+) of (\d+) are kept", lab, re.M)[0]
    missed = re.findall(r"^\| (.+?) \| \*\*missed\*\* \|", lab, re.M)
    assert len(missed) == int(every) - int(kept)
    page = (EVIDENCE / "autoscaling.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (.+?) \| [\d.]+% for", page, re.M)
    heads = {re.sub(r"^fixed number of replicas:.*", "static counts", name) for name in shown}
    assert {name.partition(":")[0] for name in heads} == set(missed)


# --- the picture -------------------------------------------------------------------------------------
NAME = re.compile(r'<text class="(?:name|own)" x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)">([^<]*)<')


def boxes(svg: str) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Names of a picture, each with its place in a wide font."""
    for x, y, anchor, name in NAME.findall(svg):
        content = name.replace("&#x27;", "'")
        width = WIDE_CHARACTER * len(content)
        left = float(x) if anchor == "start" else float(x) - width
        yield content, (left, float(y) - 10, width, 12.0)


def test_the_picture_names_every_policy_once_and_none_covers_another() -> None:
    found = list(boxes((EVIDENCE / "policies.svg").read_text(encoding="utf-8")))
    assert sorted(name for name, _ in found) == sorted(NAMES.values())
    assert [(one, two) for (one, a), (two, b) in combinations(found, 2) if overlap(a, b)] == []
    assert all(left >= 0 and left + width <= 760 for _, (left, _, width, _) in found)


def test_the_picture_needs_no_variables_and_has_a_paper() -> None:
    svg = (EVIDENCE / "policies.svg").read_text(encoding="utf-8")
    assert "var(" not in svg
    assert ".paper { fill: #ffffff; }" in svg
    assert '<rect class="paper"' in svg


def test_policies_at_one_place_have_names_apart() -> None:
    scores = {name: Score(0.9, 10.0) for name in RIVALS[:5]} | {"tacho": Score(0.99, 12.0)}
    found = list(boxes(picture(scores)))
    assert len(found) == 6
    assert [(one, two) for (one, a), (two, b) in combinations(found, 2) if overlap(a, b)] == []


# --- the gate ----------------------------------------------------------------------------------------
def test_the_gates_cases_are_every_choice_of_three_measurements() -> None:
    sizes = [len(group) for group in groups().values()]
    cases = sum(size * (size - 1) * (size - 2) for size in sizes)
    assert (
        untold(
            "gate",
            f"{sum(sizes)} measurements of {len(sizes)} configurations",
            f"0 false alarms in {cases:,} replays of unchanged servers on one machine",
        )
        == []
    )


def test_the_gates_page_has_the_shares_of_the_lab_notes() -> None:
    lab = (ROOT / "benchmarks/lab/gate.md").read_text(encoding="utf-8").replace(" %", "%")
    throughout = re.findall(r"^\| and TPOT under load: the gate \| (.*) \|$", lab, re.M)
    loaded = re.findall(r"^\| (?:one|another) machine, (\d+) cases: the gate \| (.*) \|$", lab, re.M)
    assert (len(throughout), len(loaded)) == (2, 2)
    (cases, first), (_, second) = loaded
    assert untold("gate", *throughout, f"{cases} | {first}", second) == []
    none, caught, *_ = throughout[0].split(" | ")
    assert (none, caught) == ("0.0%", "99.0%")
    assert untold("gate", "It caught 99% of revisions made 15% slower") == []


def test_the_rollouts_ended_as_the_gates_page_says() -> None:
    folder = ROOT / "benchmarks/gpu/h200/vllm-0.32-pods/rollouts"
    changes = {one["name"]: one for one in json.loads((folder / "changes.json").read_text())}
    answers = json.loads((folder / "requests.json").read_text())
    assert answers.keys() == {"answered"}
    assert changes["eager"]["reason"] == "Regression"
    assert {changes[name]["reason"] for name in ("front-ends", "fp8")} == {"Accepted"}
    seconds = {name: round(one["seconds"]) for name, one in changes.items()}
    assert (
        untold(
            "gate",
            f"rejected vLLM's eager mode after {seconds['eager']} s",
            f"admitted after {seconds['front-ends']} s",
            f"admitted after {seconds['fp8']} s",
            f"none of {answers['answered']} requests was lost",
        )
        == []
    )


# --- scale -------------------------------------------------------------------------------------------
def fleet(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"benchmarks/fleet/results/{name}.json").read_text())
    return found


def test_the_head_figures_of_scale_are_those_of_the_runs() -> None:
    many, handover = fleet("2000"), fleet("handover")
    idle = sum(many["idle"]["requests"].values()) / many["idle"]["seconds"]
    storm = sum(many["storm"]["requests"].values()) / many["storm"]["seconds"]
    assert set(many["idle"]["requests"]) == {"get Lease", "update Lease"}
    assert handover["doneTwice"] == []
    assert handover["resources"] == 2000
    assert round(handover["standbyActsAfterSeconds"]) == 15
    assert (
        untold(
            "scale",
            f"holds 2,000 resources in {max(many['MiB'])} MiB",
            f"sends {idle:.0f} request per second",
            f"| {storm:.0f}; {idle:.0f} |",
            f", {handover['standbyActsAfterSeconds']} s |",
            f"after {many['allMeasuredSeconds']:.0f} s",
        )
        == []
    )


def test_the_last_hour_of_soak_is_that_of_its_lab_page() -> None:
    lab = " ".join((ROOT / "benchmarks/lab/soak.md").read_text(encoding="utf-8").split())
    events, faults, writes = re.findall(
        r"SECONDS=3600 [^#]*? ([\d,]+) events, (\d+) faults, [^#]*? ([\d,]+) writes of the operators "
        r"and [\d,]+ of the Lease, in \d+ minutes\. No finding",
        lab,
    )[-1]
    assert (
        untold(
            "scale",
            f"{events} random events and {faults} faults broke no invariant",
            f"the operators made {writes} writes",
        )
        == []
    )
