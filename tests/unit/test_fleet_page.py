"""benchmarks/lab/fleet.md says what the raw data say, and of each figure which command gave it and when."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "benchmarks/lab/fleet.md").read_text().split())
NOT_MEASURED = ("# A soak", "## 10,000 resources, extrapolated")
"""Sections without a run of their own."""
COMMAND, DATE = (
    re.compile(r"`python -m|TACHO_SOAK_SEED=|\bseed \d|Recorded up to commit [0-9a-f]{8},"),
    re.compile(r"20\d\d-\d\d-\d\d"),
)


def raw(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"benchmarks/fleet/results/{name}.json").read_text())
    return found


def untold(*lines: str) -> list[str]:
    """Those that the page does not have."""
    return [line for line in lines if line not in PAGE]


def spread(found: dict[str, float]) -> str:
    return f"median {found['median']} s, maximum {found['maximum']} s"


@pytest.mark.parametrize("page", ["fleet", "soak", "handover"])
def test_figures_have_a_command_or_the_commit_that_had_it_and_a_date(page: str) -> None:
    sections = re.split(r"^(?=##? )", (ROOT / f"benchmarks/lab/{page}.md").read_text(), flags=re.MULTILINE)
    for section in sections[1:]:
        if not section.startswith(NOT_MEASURED):
            assert COMMAND.search(section), section.splitlines()[0]
            assert DATE.search(section), section.splitlines()[0]


def test_two_thousand_resources() -> None:
    found = raw("2000")
    first, storm, scraped = found["firstStatus"], found["storm"], found["idleScraped"]
    cpu_seconds = storm["seconds"] * storm["cpuCores"]
    lists, watches = (
        sum(count for what, count in found["restartRequests"].items() if what.startswith(verb))
        for verb in ("list ", "watch ")
    )
    assert not untold(
        f"| creates per second without an operator | {found['createsPerSecondWithoutOperator']:.0f} |",
        f"| {first['fromTheFirstMadeToTheLastTold']} s, of which {first['made']} s creating them |",
        f"| p50 {first['half']:.1f} s, p99 {first['of100no99']:.1f} s, maximum {first['slowest']:.1f} s |",
        f"| {storm['seconds']:.0f} s, of which the operator's CPU {cpu_seconds:.0f} s |",
        f"two seconds; {100 * found['idle']['cpuCores']:.2f} % of a core |",
        f"{scraped['scrapeBytes'] / 1e6:.1f} MB a read; {100 * scraped['cpuCores']:.1f} % of a core then |",
        f"| {found['emptyMiB'][1]} and {found['MiB'][1]} MiB ({found['scrapedMiB'][1]} at most while",
        f"after a restart {found['restartMiB'][1]} |",
        f"| {min(found['oneChangeSeconds'])} to {max(found['oneChangeSeconds'])} s |",
        f"| {found['restartFirstTurnSeconds']} and {found['restartAllLookedAtSeconds']} s, ",
        f" s, {found['restartCpuSeconds']:.0f} s of CPU |",
        f"| {lists} lists, pages among them, and {watches} watches; a patch of one ConfigMap |",
    )


def test_faults_and_a_hub_that_is_down() -> None:
    rough, down = raw("500-rough"), raw("2000-hub-down")
    first, *later = (down[f"waitingFrom{seconds}s"] for seconds in (0, 120, 240))
    most = max(wait["cpuCores"] for wait in later)
    assert [wait["requests"] for wait in later] == [{}, {}]
    assert first["requests"] == {"create Event": 12, "patch LLMDeployment/status": 1}
    assert not untold(
        f"(429, {rough['refusedRequests']:,.0f} requests).",
        f"All were measured after {rough['allMeasuredSeconds']:.0f} s",
        f"a status that says so {down['allSayWhySeconds']:.0f} s after all were applied.",
        f"Then: {100 * first['cpuCores']:.1f} % of a core, 12 events and one status in the first",
        f"at most {100 * most:.1f} %, no request and no status; {down['MiB'][1]} MiB",
    )


def test_a_sample_of_4000_pods() -> None:
    found = raw("scaling-4000")
    seconds, cpu, played, reconciles = (
        [look[key] for look in found["looks"]]
        for key in ("seconds", "cpuSeconds", "podsCpuSeconds", "reconciles")
    )
    later = reconciles[1:]
    assert not untold(
        f"median {found['medianSeconds']} s, maximum {max(seconds):.1f} s, the first;",
        f"median {median(cpu):.1f} s, maximum {max(cpu):.1f} s |",
        f"| {min(played):.1f} to {max(played):.1f} s |",
        f"| {reconciles[0]:,.0f} in the first sample, {min(later):.0f} to {max(later):,.0f} in each later",
    )


def test_hostile_tenants() -> None:
    escaped, owned, attack = raw("hostile"), raw("hostile-owned"), raw("attack")
    tiny = raw("hostile-tiny")
    counts, memory = tiny["hostileObjects"], tiny["memoryMiB"]
    peak_mib = max(memory["filled"], memory["peakBeforeRestart"])
    assert not untold(
        f"## {sum(counts.values()):,} tiny objects",
        *(f"{count:,} {what}" for what, count in counts.items()),
        f"| {peak_mib} MiB; after the restart {memory['peakAfterRestart']} MiB |",
        f"made | {spread(tiny['delaySecondsWhileFilling'])} |",
        f"later, {tiny['resources']} resources | {spread(tiny['delaySeconds'])} |",
        f"| {tiny['secondsToFirstStatusAfterRestart']} s |",
        f"of {counts['LLMDeployments'] - 1000:,} | {tiny['toldNamespaceFull']:,} |",
    )
    status = attack["secondsToFirstStatus"]
    assert not untold(
        *(f"| {name} | {one['objects']} | {one['changes']} |" for name, one in attack["attacks"].items()),
        f"| {escaped['memoryMiB']['peak']} MiB | {owned['memoryMiB']['peak']} MiB |",
        f"| {escaped['secondsToFirstStatusAfterStart']} s | {owned['secondsToFirstStatusAfterStart']} s |",
        f"| {spread(escaped['delaySeconds'])} | {spread(owned['delaySeconds'])} |",
        f"| {spread(status['alone'])} | {spread(status['attacked'])} |",
        f"| {attack['memoryMiB']['before']} MiB | {attack['memoryMiB']['peak']} MiB at its peak |",
        f"| | {attack['slowestHealthCheckSeconds']} s |",
        f"| | {attack['cpuCores']} cores |",
        f"then for {attack['attackedSeconds']} s beside these",
    )
