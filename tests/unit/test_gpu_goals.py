"""The pages about the probe's goals and a warm start say what the raw data say, and budgets do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.gpu import goals
from benchmarks.gpu.pages import (
    h100_goals,
    h100_warm,
    h200_budgets,
    h200_front_ends,
    h200_goals,
    h200_goals_experts,
    h200_goals_tensor,
    h200_newest_pods,
    h200_repeated_edges,
    probe,
)
from benchmarks.gpu.pages.loops import rate
from benchmarks.gpu.pages.recorded import ROOT
from tacho_contract.measurement import samples_for
from tacho_operator.core.planner.probe_budget import RequestTimes, budget_of


def test_most_levels_of_an_8b_are_within_their_goals() -> None:
    pattern = r"\*\*(tok/s|Edges)\*\* within \d %: (\d+ of \d+)"
    page = h100_goals.page().partition("\n## Qwen3")[0]
    assert dict(re.findall(pattern, page)) == {"tok/s": "7 of 8", "Edges": "5 of 5"}
    assert dict(re.findall(pattern, h200_goals.page())) == {"tok/s": "8 of 8", "Edges": "2 of 3"}
    assert "Within 3 %: 11 of 14 levels" in (ROOT / "benchmarks/lab/h100/README.md").read_text()


@pytest.mark.parametrize(("name", "within"), [("four", "7 of 8"), ("unseen", "0 of 4")])
def test_levels_of_an_8b_with_vllm_0_32_are_within_their_goal_on_one_host(name: str, within: str) -> None:
    page = (ROOT / f"benchmarks/lab/h200/vllm-0.32-{name}.md").read_text()
    rates = re.findall(r"^\| 8b-\w+-levels-\d+ \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
    assert f"{sum('**' not in rate for rate in rates)} of {len(rates)}" == within


def test_levels_of_experts_are_told_as_they_were_judged() -> None:
    levels = list(h200_goals_experts.recorded())
    judged = [level for level in levels if level.off is not None]
    within = [level for level in judged if abs(level.off or 0.0) <= h200_goals_experts.GOAL]
    (flagged,) = (level for level in judged if level.measured.get("flags"))
    assert flagged.measured["flags"] == ["NotSteady"]
    assert flagged not in within
    section = " ".join(h200_goals_experts.section().split())
    assert f"Loops can judge {len(judged)} of {len(levels)} levels." in section
    assert f"{len(within)} of the {len(judged) - 1} without a flag are within 3 %" in section
    assert re.search(r"Their loop has [\d,]+ \((-|\+)[0-4]\.\d %\)", section)


def test_a_loop_that_sent_the_prompts_of_its_warm_up_is_no_truth() -> None:
    """The first of each server; its prefill shows it where the window held such prompts."""
    (level,) = (each for each in h200_goals_experts.recorded() if each.streams == 128)
    met, own = level.loops
    assert level.fresh == [own]
    prefill = [each["engine_seconds"]["request_prefill_time_seconds_mean"] for each in (met, own)]
    assert prefill[0] < 0.5 * prefill[1]
    assert level.off == pytest.approx(100 * (3960 / 3245 - 1), abs=0.1)


def test_levels_over_two_gpus_are_told_as_they_were_judged() -> None:
    levels = h200_goals_tensor.over_two()
    judged = [off for level in levels if (off := level.off) is not None]
    within = sum(abs(off) <= h200_goals_experts.GOAL for off in judged)
    section = " ".join(h200_goals_tensor.section().split())
    assert f"loops can judge {len(judged)} of {len(levels)} levels. {within} of {len(judged)} are" in section
    assert re.search(r"differ by up to \d+ %", section)
    searches = [h200_goals_tensor.search(name) for name in h200_goals_tensor.SEARCHES]
    claims = [(float(found["capacity"]["outputTokensPerSecond"]), rate(loop)) for found, loop in searches]
    near = [abs(claimed / true - 1) <= 0.05 for claimed, true in claims]
    (far,) = (found for (found, _), kept in zip(searches, near, strict=True) if not kept)
    assert far["capacity"]["verified"] is False
    unverified = sum(not found["capacity"].get("verified") for found, _ in searches)
    assert (unverified, len(near)) == (2, 3)
    assert section.count("| **no** |") == unverified


def test_a_warm_start_is_judged_by_loops_that_hold() -> None:
    page = h100_warm.section()
    shares = [
        float(line.split(" | ")[-1].strip(" |")) for line in page.splitlines() if re.match(r"\| \d", line)
    ]
    assert len(shares) == 4
    assert all(abs(share - 1) <= 0.03 for share in shares)
    assert h100_warm.late(h100_warm.COLD) > 100


def test_a_folder_is_read_by_its_path_from_where_the_command_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "benchmarks/gpu/h100")
    found = probe.page(goals.comparison(Path("goals-paired")))
    assert found == probe.page(goals.comparison(h100_goals.PAIRED))


def test_levels_of_one_server_are_in_the_order_of_their_streams() -> None:
    found = goals.comparison(h100_goals.PAIRED).probes["8b-fp8"]
    assert found == tuple(f"8b-fp8-levels-{streams}" for streams in (16, 64, 128, 256))


def test_a_loop_that_littles_law_does_not_hold_for_is_named_and_judges_nothing():
    """The command that tells the goals ended at the first such loop before."""
    of = goals.comparison(h100_goals.ONE_RUN)
    assert probe.unsteady(of) == ["0.6b at 256 streams"]
    assert "is missed by more than 3 %: 0.6b at 256 streams." in probe.page(of)
    assert [level.streams for level in probe.truth(of, "0.6b")].count(256) == 1


def test_parts_of_a_loop_differ_less_the_longer_they_are() -> None:
    rows = [line.split(" | ")[1] for line in h200_goals.waves()]
    assert rows == sorted(rows, key=lambda share: -int(share.removesuffix(" %")))
    assert max(h200_goals.parts(h200_goals.recorded()[0], 1.0)) < 2


def test_with_four_front_ends_ttft_is_steady_and_one_has_more_tokens() -> None:
    """What the page of front ends says in words beside its tables."""
    page = h200_front_ends.page()
    (most,) = h200_front_ends.loops("fp8-four-third", streams=1024)
    assert most["ttft_ms"]["p95"] <= h200_front_ends.TTFT["ttft"]
    assert h200_front_ends.read("fp8-four-ttft-300ms")["capacity"]["concurrency"] == 1024
    assert re.search(r"have 7 to 16 % more tokens a second than with four", page)
    four = h200_front_ends.loops("fp8-four", streams=128)
    one = h200_front_ends.loops("fp8-one", streams=128)
    assert max(map(h200_front_ends.rate, four)) < min(map(h200_front_ends.rate, one))
    held = [level["streams"] for level in four + one if not level["steady"]]
    assert held == []


def test_pods_of_0_32_and_their_rollouts_are_told_as_recorded() -> None:
    apart = {
        name: [
            100 * (float(probed["outputTokensPerSecond"]) / h200_newest_pods.rate(level) - 1)
            for level in h200_newest_pods.levels(name)
            for probed in h200_newest_pods.newest(f"{name}/resource.yaml")["curve"]
            if probed["concurrency"] == level["streams"]
        ]
        for name in ("llama-8b-awq", "llama-8b-bnb-nf4")
    }
    page = h200_newest_pods.page()
    assert max(map(abs, apart["llama-8b-awq"])) == pytest.approx(1.5, abs=0.05)
    assert min(apart["llama-8b-bnb-nf4"]) == pytest.approx(-9.6, abs=0.05)
    assert all(f"({off:+.2f} %)" in page for found in apart.values() for off in found)
    assert "Contended" in h200_newest_pods.newest("llama-8b-bnb-nf4/resource.yaml")["flags"]
    folder = h200_newest_pods.FOLDER / "rollouts"
    answers = json.loads((folder / "requests.json").read_text())
    assert f"**{sum(answers.values())} short requests**" in page
    assert "None was lost." in page
    assert [*answers] == ["answered"]
    changes = json.loads((folder / "changes.json").read_text())
    assert [one["reason"] for one in changes] == ["Regression", "Accepted", "Accepted"]


def test_the_plans_budget_is_longer_than_what_cut_the_recorded_searches() -> None:
    searches = [(budget, found) for (_, _, budget), found in h200_budgets.searches()]
    assert {found["capacity"]["boundary"] for budget, found in searches if budget == 90} == {"Edge"}
    cut = [found for budget, found in searches if found["capacity"]["boundary"] == "Floor"]
    assert len(cut) == 3
    for found in cut:
        first, capacity = found["curve"][0], found["capacity"]
        times = RequestTimes(
            prompt_seconds=512 / float(found["singleStream"]["prefillTokensPerSecond"]),
            alone_seconds=float(first["endToEndMillisecondsP50"]) / 1000,
            loaded_seconds=capacity["concurrency"] / float(capacity["requestsPerSecond"]),
            streams=capacity["concurrency"],
            cohort=samples_for(95),
        )
        assert budget_of(times).seconds == 90


def test_edges_on_later_hosts_are_within_their_goal_between_two_loops() -> None:
    """A cell of an edge with its own loop: probe or loop, and the error in brackets."""
    kept = []
    for section in (h200_budgets.section(), h200_repeated_edges.section()):
        cells = re.findall(r"^\| 8b-(?:[^|]+\|){4,7}? [\d, /]+ \(([-+][\d.]+) %\)", section, re.MULTILINE)
        kept.append(f"{sum(abs(float(error)) <= 5 for error in cells)} of {len(cells)}")
    assert kept == ["3 of 6", "4 of 4"]
    assert h200_repeated_edges.section().count("| Edge |") == 4
