"""The section of docs/results/h200/goals.md on edges between two loops of their streams."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from statistics import mean
from typing import Any

from benchmarks.gpu.goals import bounds
from benchmarks.gpu.pages.h200_budgets import shown
from benchmarks.gpu.pages.recorded import RAW, number, row

FOLDER = RAW / "goals-repeated"
SEARCH = re.compile(r"(8b-\w+?)-((?:(?:ttft|tpot)-[^-]+-)+)budget-90")
SMALL = "0.6b"
GOAL = 5
HEAD = """
## Edges between two loops

Searches with 90 s on a fourth host, 2026-11-29
([raw data](../../../benchmarks/gpu/h200/goals-repeated)). After a search came a loop of its streams for 20 s,
the level by the probe, and the loop again. Then the search was repeated. The truth is the mean of both loops.

| server | 95 of 100 keep | ends at | streams | tok/s: probe / truth | its level | again: streams | tok/s |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
END = """
{within} of {all} edges are within {goal} % of their loops, the worst {worst:+.1f} %; the levels within
{level:.1f} %.
The repeated searches found up to {apart:.0f} % other streams, and rates up to {moved:.1f} % apart.
In the loops a p95 of TPOT is at most {tpot:.1f} % above its bound, one of TTFT {ttft:.0f} %.

The 0.6B with four front ends is no truth on this host either. Two loops of 16 streams had {first} and
{second} tok/s within a minute. The search with TPOT 6 ms found {streams} streams and {rate} tok/s;
the loop of them had {loop}.
"""


def searches() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(server, service level, first search, repeated search)."""
    for file in sorted(FOLDER.glob("8b-*-budget-90.json")):
        if match := SEARCH.fullmatch(file.stem):
            again = file.with_name(f"{match[1]}-{match[2]}again-budget-90.json")
            yield match[1], match[2].rstrip("-"), capacity(file), capacity(again)


def capacity(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())["capacity"]
    return found


def loops(server: str, streams: int) -> list[dict[str, Any]]:
    """The loops of ``streams`` streams, in their order."""
    levels = json.loads((FOLDER / f"{server}.json").read_text())["levels"]
    return [level for level in levels if level["streams"] == streams]


def rate(level: dict[str, Any]) -> float:
    return float(level["output_tokens_per_second"]["server"])


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
        around = loops(server, streams)
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
    small = loops(SMALL, 16)
    edge = capacity(FOLDER / f"{SMALL}-tpot-6ms.json")
    end = END.format(
        within=sum(abs(error) <= GOAL for error in errors),
        all=len(errors),
        goal=GOAL,
        worst=max(errors, key=abs),
        level=max(map(abs, level_errors)),
        apart=max(apart),
        moved=max(moved),
        tpot=max(above["tpot"]),
        ttft=max(above["ttft"]),
        first=number(rate(small[0])),
        second=number(rate(small[1])),
        streams=edge["concurrency"],
        rate=number(float(edge["outputTokensPerSecond"])),
        loop=number(rate(loops(SMALL, int(edge["concurrency"]))[0])),
    )
    return "".join((HEAD, *rows, end))
