"""docs/evidence/accuracy.md: measurements compared with long load tests, by class of model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.evidence.pairs import (
    EIGHT,
    EXPERTS,
    FOUR,
    GPUS,
    LARGE,
    NF4,
    OTHERS,
    PODS,
    RUNS,
    SMALL,
    Pair,
    earlier,
    pairs,
)
from benchmarks.evidence.texts import fill, percent
from benchmarks.gpu.truth import quantile
from benchmarks.probe.results import FOLDER
from tools.pages import table

DENSE = (LARGE, EIGHT, FOUR)
"""Classes of 7B and 8B with kernels that are fast with many requests."""
ORDER = (*DENSE, NF4, EXPERTS, GPUS, OTHERS, SMALL)
FEW = 20
"""Of fewer figures the 95th percentile by nearest rank is the largest."""


def of(*kinds: str) -> list[Pair]:
    return [pair for pair in pairs() if pair.kind in kinds]


def errors(found: Sequence[Pair], *, warned: bool = False) -> list[float]:
    """Sizes in percent, in ascending order, of those with a reference and with or without a warning."""
    return sorted(abs(pair.off_percent) for pair in found if pair.judged and pair.warned == warned)


def p95(found: Sequence[float]) -> float:
    value = quantile([*found], 0.95)
    assert value is not None
    return value


def margin(found: Sequence[Pair]) -> int:
    """Percent to read after a figure without a warning: the 95th percentile, rounded up."""
    return math.ceil(p95(errors(found)))


def cells(title: str, found: Sequence[Pair]) -> tuple[str, ...]:
    clean, with_warning = errors(found), errors(found, warned=True)
    held = sum(pair.held for pair in found if pair.judged and not pair.warned)
    figures = ("-",) * 3
    if clean:
        figures = (percent(median(clean)), percent(p95(clean)), f"± {margin(found)}%")
    return (
        title,
        str(len(clean) + len(with_warning)),
        str(len(with_warning)),
        *figures,
        f"{held} of {len(clean)}" if clean else "-",
    )


def rows() -> Iterator[tuple[str, ...]]:
    for kind in ORDER:
        yield cells(kind, of(kind))
    yield cells("All dense of 7B and 8B", of(*DENSE))
    yield cells("All", pairs())


def virtual(name: str) -> dict[str, Any]:
    """The summary of runs on simulated engines whose capacity is known."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    summary: dict[str, Any] = found["summary"]["undisturbed"]
    return summary


def within(summary: dict[str, Any]) -> int:
    return round(float(summary["runs"]) * float(summary["capacityWithin5Percent"]))


def by_version(version: str) -> list[float]:
    return errors([pair for pair in of(*DENSE) if pair.version == version])


def spread() -> list[float]:
    """How far two load tests of one concurrency are apart, in percent, in ascending order."""
    two = [pair.rates for pair in pairs() if len(pair.rates) > 1]
    return sorted(100 * (max(rates) / min(rates) - 1) for rates in two)


def page() -> str:
    every, planned, short = pairs(), virtual("virtual-planned"), virtual("virtual")
    judged = [pair for pair in every if pair.judged]
    clean = [pair for pair in judged if not pair.warned]
    worst = max(clean, key=lambda pair: abs(pair.off_percent))
    dense = [pair for pair in clean if pair.kind in DENSE]
    far = max(dense, key=lambda pair: abs(pair.off_percent))
    pods = errors([pair for pair in of(*DENSE) if pair.pod])
    if any(pair.pod and "gpt-oss" in pair.server for pair in clean):
        raise ValueError("a pod of gpt-oss has a figure without a warning: the page says that none has")
    if worst.kind != EXPERTS:
        raise ValueError(f"{worst.place} is the farthest off: the page says that it is a mixture of experts")
    if "w8a8" not in far.server:
        raise ValueError(f"{far.server} is the farthest off: the page names another pod")
    seconds = [each for pair in judged for each in pair.seconds]
    return fill(
        "accuracy",
        dense_median=percent(median(errors(dense))),
        dense_margin=margin(dense),
        rows=table(
            (
                *("Class of model", "Figures", "Warned", "Median error", "95th percentile"),
                *("Read it as", "Within its own ±"),
            ),
            rows(),
        ),
        figures=len(every),
        clean=len(clean),
        no_reference=len(every) - len(judged),
        spread=percent(median(spread())),
        worst=f"{worst.off_percent:+.0f}%",
        far=f"{far.off_percent:+.0f}%",
        held=sum(pair.held for pair in clean),
        small=len([pair for pair in judged if pair.kind == SMALL]),
        small_warned=len(errors(of(SMALL), warned=True)),
        newest=percent(median(by_version("0.32"))),
        former=percent(median(by_version("0.26"))),
        warned_median=percent(median(errors(every, warned=True))),
        all_median=percent(median(errors(every))),
        runs=len((*RUNS, *PODS)) + 1,
        shortest=f"{min(seconds):.0f}",
        longest=f"{max(seconds):.0f}",
        pods=percent(median(pods)),
        pods_count=len(pods),
        old=percent(median(errors(earlier()))),
        virtual_runs=planned["runs"],
        virtual_median=percent(planned["capacityMedianErrorPercent"]),
        virtual_worst=percent(planned["capacityWorstErrorPercent"]),
        short_within=within(short),
        few=FEW,
        large_margin=margin(of(LARGE)),
        experts_margin=margin(of(EXPERTS)),
    )
