"""benchmarks/lab/h200/README.md: what a node of Kubernetes with an H200 gave, on several hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.gpu.pages import checked, held, late_kernels, pods
from benchmarks.gpu.pages.recorded import (
    ALONE_PODS,
    BUDGET_PODS,
    CHECKED_PODS,
    KERNEL_PODS,
    LATER_PODS,
    LONGER_PODS,
    LOOP_PODS,
    LOOPED_PODS,
    PODS,
    REPEATED_PODS,
    RESULTS,
    fill,
    number,
    pod,
    read,
    resource,
    row,
    status,
)

NOT_APPLIED = re.compile(r"loaded ([\d.]+) GiB of weights where gguf should leave ([\d.]+) GiB")
GGUF, GGUF_ALONE = "budgets/llama-8b-gguf", "budgets/gguf-without-config"
"""Pods of the same GGUF file that were never Ready; the second had no config.json beside it."""
ORDER = (
    *(*BUDGET_PODS, *REPEATED_PODS, *LOOPED_PODS, *CHECKED_PODS, *LOOP_PODS),
    *(*KERNEL_PODS, *LONGER_PODS, *ALONE_PODS, *LATER_PODS),
)


def shown(names: Iterable[str] = ORDER) -> Iterable[str]:
    for name in names:
        measurement = pod(name)
        for _, level, doubts in pods.levels([name]):
            if not doubts:
                yield row(
                    name,
                    str(level["concurrency"]),
                    f"{number(level['outputTokensPerSecond'])} ± {number(level['ciPercent'], 1)} %",
                    _percentiles(level, "ttft"),
                    _percentiles(level, "tpot"),
                    str(level["requests"]),
                    f"{held.littles_share(measurement, level):.3f}",
                )


def _percentiles(level: dict[str, str], what: str) -> str:
    """`-` for a 95th percentile of too few requests."""
    return ", ".join(level.get(f"{what}MillisecondsP{share}", "-") for share in (50, 95))


def whole(name: str) -> bool:
    """Whether one stream holds, and a level of at least the planned streams."""
    planned = resource(RESULTS / f"h200/{name}/resource.yaml")["spec"]["context"]["concurrency"]
    streams = [level["concurrency"] for _, level, doubts in pods.levels([name]) if not doubts]
    return 1 in streams and max(streams) >= planned


def done() -> dict[str, str]:
    """Cells of which one stream and a level of at least the planned streams hold, to their pods."""
    return {name.rpartition("/")[2]: name for name in reversed(ORDER) if whole(name)}


def _alone(group: str) -> str:
    """Tokens a second of one stream of Transformers in NF4."""
    return number(pod(f"{group}/transformers-nf4")["curve"][0]["outputTokensPerSecond"])


def _status(name: str) -> dict[str, Any]:
    return status(RESULTS / f"h200/{name}/resource.yaml")


def _expected() -> Iterable[str]:
    for name in BUDGET_PODS:
        plan, found = _status(name)["plan"], pod(name)
        yield row(
            name,
            f"{found['probeSeconds']} / {plan['probeBudgetSeconds']}",
            pods.expected_capacity(plan["predicted"]),
            pods.capacity(found["capacity"]),
            found["capacity"]["boundary"],
        )


def _refused() -> Iterable[str]:
    """Rows of the pods that were never Ready."""
    for name in (GGUF_ALONE, GGUF):
        group, _, cell = name.partition("/")
        failed = next(
            event
            for event in read(f"pods-{group}/{cell}/timeline.json")
            if event["type"] == "Stalled" and event["status"] == "True"
        )
        yield row(
            f"[{name}]({name})", f"{failed['reason']}, {number(failed['seconds'])} s after it was applied", ""
        )


def gguf() -> tuple[float, float, float]:
    """GiB of the GGUF file, of its weights by the plan, and of what vLLM loaded of it."""
    found = _status(GGUF)
    # Ends the run where the record says something else.
    ((loaded, planned),) = NOT_APPLIED.findall(found["revisions"][0]["message"])
    return found["plan"]["model"]["totalBytes"] / 2**30, float(planned), float(loaded)


def budgets() -> str:
    """What the pods with budgets of their own taught."""
    if cells := [name for name in BUDGET_PODS if whole(name)]:
        raise ValueError(f"the planned streams of {cells} hold: the page says of none that they do")
    several = [level for name in BUDGET_PODS for level in pod(name)["curve"] if level["concurrency"] > 1]
    ended = [level["requests"] for level in pod(BUDGET_PODS[0])["curve"] if level["concurrency"] > 1]
    kernels, names = late_kernels.late("pods-budgets/gpt-oss-20b")
    stored, planned, loaded = gguf()
    return fill(
        "budgets",
        rows=_expected(),
        longest=max(float(level["windowSeconds"]) for level in several),
        fewest=min(ended),
        most=max(ended),
        kernels=kernels,
        names=names,
        stored=stored,
        planned=planned,
        loaded=loaded,
    )


def tables(names: Sequence[str], more: Iterable[str] = ()) -> str:
    """How the pods ended, their levels that hold and their memory; ``more``: rows of pods never Ready."""
    rows = list(shown(names))
    return fill(
        "pod_tables",
        served=[*pods.served(names), *more],
        rows=rows,
        shown=len(rows),
        levels=len(pods.levels(names)),
        fits=pods.fits(names),
    )


def page() -> str:
    every = pods.levels(PODS)
    if holding := [name for name, _, doubts in every if not doubts]:
        raise ValueError(f"levels of {holding} hold: the page has no place for them")
    return fill(
        "pods",
        budget_pods=tables(BUDGET_PODS, _refused()),
        budgets=budgets(),
        repeated_pods=tables(REPEATED_PODS),
        repeated=checked.repeated(),
        looped_pods=tables(LOOPED_PODS),
        looped=checked.looped(),
        checked_pods=tables(CHECKED_PODS),
        checked=checked.checked(),
        slow=_alone("loop"),
        fast=_alone("alone"),
        loop_pods=tables(LOOP_PODS),
        late_kernels=late_kernels.section(),
        kernel_pods=tables(KERNEL_PODS),
        longer_pods=tables(LONGER_PODS),
        alone_pods=tables(ALONE_PODS),
        later_pods=tables(LATER_PODS),
        served=pods.served(PODS),
        refused=pods.refused_after_seconds(),
        levels=len(every),
        fits=pods.fits(PODS),
        starts=pods.starts(),
    )
