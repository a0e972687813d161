"""docs/evidence/fits.md: whether a plan is right about what fits, and how far off its KV cache is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median
from typing import NamedTuple

from benchmarks.evidence.texts import fill, percent
from benchmarks.planner.cases import Case, cases, kv_error
from benchmarks.planner.goals import cache_shortfall_gib, failed_but_fitting
from benchmarks.planner.run import is_published, verdicts
from benchmarks.planner.starts import FITTED_TO, PLANNED_BEFORE, Start, refused_but_started, starts
from tools.pages import table

TITLES = {"tacho": "tacho", "KAITO": "KAITO", "gpustack": "GPUStack", "hf-mem": "hf-mem"}
"""Estimators by their names in the data."""
GPUS = {"NVIDIA-H200": "H200", "NVIDIA-H100-80GB-HBM3": "H100"}

FAR = "vllm-0.32-four/glm-air-as-qwen3-fp8-tp2"
"""The start of version 0.32 that is the farthest off."""


class Group(NamedTuple):
    """Starts of one row of the table."""

    gpu: str
    version: str
    several: bool
    fitted: bool


def published() -> list[Case]:
    return [case for case in cases() if is_published(case)]


def judged() -> list[Case]:
    """Published starts of which is known whether they worked."""
    return [case for case in published() if case.row["started"] is not None]


def estimators() -> str:
    found, left_out = verdicts(published()), verdicts([case for case in published() if case.held_out])
    rows = (
        (
            title,
            f"{found[name]['right']} of {found[name]['of']}",
            f"{left_out[name]['right']} of {left_out[name]['of']}",
            found[name]["calledFittingButFailed"],
            found[name]["refusedButStarted"],
            found[name]["noAnswer"],
        )
        for name, title in TITLES.items()
    )
    head = (
        "Formula",
        "Right",
        "Right, cases left out",
        "Called fitting, failed",
        "Refused, started",
        "No answer",
    )
    return table(head, rows)


def of_vllm() -> dict[Group, list[Start]]:
    """Own starts whose log has the size of the cache, in the order of the table."""
    found = defaultdict(list)
    for start in starts():
        if start.row["engine"] == "vllm" and "kvTokens" in start.errors:
            row = start.row
            fitted = row["gpu"] == FITTED_TO and not start.held_out
            found[Group(GPUS[row["gpu"]], row["version"], row["gpus"] > 1, fitted)].append(start)
    return dict(sorted(found.items(), key=lambda item: (item[0].gpu == "H100", item[0][1:])))


def percents(found: Iterable[Start]) -> list[float]:
    """Sizes of the errors of the KV cache, in ascending order."""
    return sorted(100 * abs(start.errors["kvTokens"]) for start in found)


def caches() -> Iterator[tuple[str, ...]]:
    for group, found in of_vllm().items():
        errors = percents(found)
        worst = max(found, key=lambda start: abs(start.errors["kvTokens"]))
        yield (
            ("several " if group.several else "one ") + group.gpu,
            f"vLLM {group.version}",
            "yes" if group.fitted else "no",
            str(len(found)),
            percent(median(errors), 2),
            percent(errors[-1]),
            f"{worst.row['actual']['kvGiB']:.1f} GiB",
        )
    for left_out in (True, False):
        errors = sorted(
            100 * abs(error)
            for case in published()
            if case.held_out == left_out and (error := kv_error(case)) is not None
        )
        cells = (str(len(errors)), percent(median(errors), 1), percent(errors[-1], 0), "-")
        yield "published logs, T4 to H200", "vLLM 0.2 to 0.29", "no" if left_out else "yes", *cells


def page() -> str:
    right = verdicts(published())
    own = [start for start in starts() if start.row["engine"] == "vllm"]
    short = [gib for start in own if (gib := cache_shortfall_gib(start)) is not None]
    wrong = failed_but_fitting() + refused_but_started()
    if wrong:
        raise ValueError(f"the plan is wrong about {wrong}: the page says that it is about none")
    tiny = min(
        (case for case in published() if case.actual.get("kvTokens")),
        key=lambda case: case.actual["kvTokens"],
    )
    largest = max(own, key=lambda start: abs(start.errors.get("kvTokens", 0.0)))
    far = next(start for start in own if start.name == FAR)
    return fill(
        "fits",
        far=percent(100 * abs(far.errors["kvTokens"])),
        right=right["tacho"]["right"],
        of=right["tacho"]["of"],
        estimators=estimators(),
        left_out=sum(case.held_out for case in judged()),
        seen=sum(not case.held_out for case in judged()),
        failed=sum(not case.row["started"] for case in judged()),
        started=sum(case.row["started"] for case in judged()),
        own=len(own),
        own_failed=sum(start.row["started"] is False for start in own),
        before=sum(start.row.get("note") == PLANNED_BEFORE for start in own),
        caches=table(
            ("GPUs", "Engine", "Used to fit", "Starts", "Median error", "Worst error", "Cache of the worst"),
            caches(),
        ),
        most_tokens=percent(100 * abs(largest.errors["kvTokens"])),
        small=f"{largest.row['actual']['kvGiB']:.1f}",
        less=f"{max(short):.2f}",
        tiny=f"{tiny.actual['kvTokens']:,.0f}",
    )
