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


def test_what_the_readme_says_of_the_goals_is_on_their_page() -> None:
    page, readme = h100_goals.page().partition("\n## Qwen3")[0], (ROOT / "README.md").read_text()
    kept = dict(re.findall(r"\*\*(tok/s|Edges)\*\* within \d %: (\d+ of \d+)", page))
    (row,) = re.findall(
        r"^\| on \[an H100\]\(benchmarks/lab/h100/goals\.md\) (\|.*\|)$", readme, re.MULTILINE
    )
    assert row.startswith(f"| {kept['tok/s']}; [earlier]")
    assert row.endswith(f"| {kept['Edges']} |")
    assert "11 of 14 by vLLM's own count" in row
    kept = dict(re.findall(r"\*\*(tok/s|Edges)\*\* within \d %: (\d+ of \d+)", h200_goals.page()))
    assert f"[an H200](benchmarks/lab/h200/goals.md) | {kept['tok/s']} | {kept['Edges']} |" in readme
    assert "Within 3 %: 11 of 14 levels" in (ROOT / "benchmarks/lab/h100/README.md").read_text()


def test_what_the_readme_says_of_vllm_0_32_is_on_its_pages() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    for name in ("four", "unseen"):
        page = (ROOT / f"benchmarks/lab/h200/vllm-0.32-{name}.md").read_text()
        rates = re.findall(r"^\| 8b-\w+-levels-\d+ \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
        kept = f"{sum('**' not in rate for rate in rates)} of {len(rates)}"
        (said,) = re.findall(rf"\(benchmarks/lab/h200/vllm-0\.32-{name}\.md\)[^|]*\| (\d of \d)", readme)
        assert said == kept


def test_what_the_readme_says_of_experts_is_on_their_page() -> None:
    levels = list(h200_goals_experts.recorded())
    judged = [level for level in levels if level.off is not None]
    within = [level for level in judged if abs(level.off or 0.0) <= h200_goals_experts.GOAL]
    (flagged,) = (level for level in judged if level.measured.get("flags"))
    assert flagged.measured["flags"] == ["NotSteady"]
    assert flagged not in within
    said = f"{len(within)} of the {len(judged)} that loops can judge, of {len(levels)}; one is flagged"
    readme = (ROOT / "README.md").read_text()
    assert f"(benchmarks/lab/h200/goals.md#models-with-experts) | {said} | 1 of 1 |" in readme
    assert re.search(r"Their loop has [\d,]+ \((-|\+)[0-4]\.\d %\)", h200_goals_experts.section())


def test_a_loop_that_sent_the_prompts_of_its_warm_up_is_no_truth() -> None:
    """The first of each server; its prefill shows it where the window held such prompts."""
    (level,) = (each for each in h200_goals_experts.recorded() if each.streams == 128)
    met, own = level.loops
    assert level.fresh == [own]
    prefill = [each["engine_seconds"]["request_prefill_time_seconds_mean"] for each in (met, own)]
    assert prefill[0] < 0.5 * prefill[1]
    assert level.off == pytest.approx(100 * (3960 / 3245 - 1), abs=0.1)


def test_what_the_readme_says_of_two_gpus_is_on_their_page() -> None:
    levels = h200_goals_tensor.over_two()
    judged = [off for level in levels if (off := level.off) is not None]
    within = sum(abs(off) <= h200_goals_experts.GOAL for off in judged)
    readme, section = (ROOT / "README.md").read_text(), h200_goals_tensor.section()
    (apart,) = re.findall(r"differ by up to (\d+ %)", section)
    said = f"{within} of the {len(judged)} that loops can judge, of {len(levels)}"
    said += f"; the loops differ by up to {apart}"
    searches = [h200_goals_tensor.search(name) for name in h200_goals_tensor.SEARCHES]
    claims = [(float(found["capacity"]["outputTokensPerSecond"]), rate(loop)) for found, loop in searches]
    near = [abs(claimed / true - 1) <= 0.05 for claimed, true in claims]
    (far,) = (found for (found, _), kept in zip(searches, near, strict=True) if not kept)
    assert far["capacity"]["verified"] is False
    unverified = sum(not found["capacity"].get("verified") for found, _ in searches)
    assert (unverified, len(near)) == (2, 3)
    edges = f"{sum(near)} of {len(near)}; two of the three say `verified: false`"
    assert f"(benchmarks/lab/h200/goals.md#models-over-two-gpus) | {said} | {edges} |" in readme


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


def test_the_readme_tells_the_pods_of_0_32_and_their_rollouts_as_recorded() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    apart = {
        name: [
            100 * (float(probed["outputTokensPerSecond"]) / h200_newest_pods.rate(level) - 1)
            for level in h200_newest_pods.levels(name)
            for probed in h200_newest_pods.newest(f"{name}/resource.yaml")["curve"]
            if probed["concurrency"] == level["streams"]
        ]
        for name in ("llama-8b-awq", "llama-8b-bnb-nf4")
    }
    assert f"| AWQ within {max(map(abs, apart['llama-8b-awq'])):.1f} %; " in readme
    assert f"; NF4 {-min(apart['llama-8b-bnb-nf4']):.1f} % below one, flagged |" in readme
    assert "Contended" in h200_newest_pods.newest("llama-8b-bnb-nf4/resource.yaml")["flags"]
    folder = h200_newest_pods.FOLDER / "rollouts"
    answers = json.loads((folder / "requests.json").read_text())
    assert f"of {sum(answers.values())} requests none was lost" in readme
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


def test_what_the_readme_says_of_edges_on_later_hosts_is_on_their_page() -> None:
    """A cell of an edge with its own loop: probe or loop, and the error in brackets."""
    kept = []
    for section in (h200_budgets.section(), h200_repeated_edges.section()):
        cells = re.findall(r"^\| 8b-(?:[^|]+\|){4,7}? [\d, /]+ \(([-+][\d.]+) %\)", section, re.MULTILINE)
        kept.append(f"{sum(abs(float(error)) <= 5 for error in cells)} of {len(cells)}")
    assert f"edges-between-two-loops) | | {kept[0]}, {kept[1]} |" in (ROOT / "README.md").read_text()
    assert h200_repeated_edges.section().count("| Edge |") == 4
