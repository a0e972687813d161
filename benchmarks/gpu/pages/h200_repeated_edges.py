"""The section of benchmarks/lab/h200/goals.md on edges between two loops of their streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import mean
from typing import Any

from benchmarks.gpu.goals import bounds
from benchmarks.gpu.pages.h200_budgets import shown
from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row

FOLDER = RAW / "goals-repeated"
SEARCH = re.compile(r"(8b-\w+?)-((?:(?:ttft|tpot)-[^-]+-)+)budget-90")
SMALL = "0.6b"
GOAL = 5


def searches() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(server, service level, first search, repeated search)."""
    for file in sorted(FOLDER.glob("8b-*-budget-90.json")):
        if match := SEARCH.fullmatch(file.stem):
            again = file.with_name(f"{match[1]}-{match[2]}again-budget-90.json")
            yield match[1], match[2].rstrip("-"), capacity(file), capacity(again)


def capacity(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = read(file)["capacity"]
    return found


def level_rate(server: str, search: str, streams: int) -> float:
    """Tokens/s of the level that the probe measured between the loops."""
    return float(capacity(FOLDER / f"{server}-{search}-levels-{streams}.json")["outputTokensPerSecond"])


def off(found: float, true: float) -> float:
    return 100 * (found / true - 1)


def section() -> str:
    rows: list[str] = []
    errors: list[float] = []
    level_errors: list[float] = []
    apart: list[float] = []
    moved: list[float] = []
    above: dict[str, list[float]] = {"ttft": [], "tpot": []}
    for server, search, first, again in searches():
        streams, found = int(first["concurrency"]), float(first["outputTokensPerSecond"])
        around = levels(FOLDER / f"{server}.json", streams)
        true, level = mean(map(rate, around)), level_rate(server, search, streams)
        for name, bound in bounds(f"-{search}").items():
            above[name] += [off(each[f"{name}_ms"]["p95"], bound) for each in around]
        errors.append(off(found, true))
        level_errors.append(off(level, true))
        apart.append(abs(off(int(again["concurrency"]), streams)))
        moved.append(abs(off(float(again["outputTokensPerSecond"]), found)))
        said = f"{number(found)} / {number(true)} ({errors[-1]:+.1f} %)"
        at = f"{number(level)} ({level_errors[-1]:+.1f} %)"
        others = str(again["concurrency"]), number(float(again["outputTokensPerSecond"]))
        rows.append(row(server, shown(search), first["boundary"], str(streams), said, at, *others))
    loops = FOLDER / f"{SMALL}.json"
    one, other = (number(rate(each)) for each in levels(loops, 16))
    edge = capacity(FOLDER / f"{SMALL}-tpot-6ms.json")
    return fill(
        "h200_repeated_edges",
        rows=rows,
        within=sum(abs(error) <= GOAL for error in errors),
        all=len(errors),
        goal=GOAL,
        worst=max(errors, key=abs),
        level=max(map(abs, level_errors)),
        apart=max(apart),
        moved=max(moved),
        tpot=max(above["tpot"]),
        ttft=max(above["ttft"]),
        first=one,
        second=other,
        streams=edge["concurrency"],
        rate=number(edge["outputTokensPerSecond"]),
        loop=number(rate(levels(loops, edge["concurrency"])[0])),
    )
