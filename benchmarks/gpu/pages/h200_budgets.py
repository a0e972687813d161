"""The section of docs/results/h200/goals.md on budgets: searches of an 8B with 45 and with 90 s, by turns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

from benchmarks.gpu.goals import bounds
from benchmarks.gpu.pages.recorded import RAW, number, row

FOLDER = RAW / "goals-budgets"
SEARCH = re.compile(r"(8b-\w+?)-((?:(?:ttft|tpot)-[^-]+-)+)budget-(\d+)-(\d)")
LINE = re.compile(r"INFO 11-29 (\S+) .*generation throughput: ([\d.]+) tokens")
LOOP_SECONDS = 42
"""From the end of a search to that of its loop."""
FARTHEST = "8b-fp8", "ttft-1s-tpot-25ms"
HEAD = """
## 45 or 90 seconds

Searches of one server by turns, on a third host of an H200, 2026-11-29
([raw data](../../../benchmarks/gpu/h200/goals-budgets)). Loops of 20 s had the streams of a search with 90 s.
The plan expects 45 s and more of such searches, so it gives them 90 or 120 s.

| server | 95 of 100 keep | budget, s | ends at | after, s | streams | tok/s | loop of these streams, tok/s |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
END = """
With 90 s {long} ended with an edge, with 45 s {short}. The rates of windows of 7 s differ from the loop's by
{least:.1f} to {most:.0f} %. FP8 at {streams} streams is the farthest off. The engine's own log had {slow}
tok/s at most in ten seconds of that search, and {fast} in those of the loop: the host was slower.
"""


def searches() -> Iterator[tuple[tuple[str, str, int], dict[str, Any]]]:
    """((server, service level, budget in seconds), what the probe found) of the 8B."""
    for file in sorted(FOLDER.glob("8b-*-budget-*.json")):
        if match := SEARCH.fullmatch(file.stem):
            yield (match[1], match[2].rstrip("-"), int(match[3])), json.loads(file.read_text())


def loop_of(server: str, streams: int) -> dict[str, Any] | None:
    """The loop of exactly ``streams`` streams."""
    levels = json.loads((FOLDER / f"{server}.json").read_text())["levels"]
    return next((level for level in levels if level["streams"] == streams), None)


def best(found: dict[str, Any], *, after: bool) -> float:
    """Highest tokens/s in ten seconds of the FP8 server's log: of a search, or of the loop after it."""
    ended = datetime.fromisoformat(found["observedTime"])
    begins = ended if after else ended - timedelta(seconds=found["probeSeconds"])
    ends = ended + timedelta(seconds=LOOP_SECONDS) if after else ended
    lines = LINE.findall((FOLDER / "8b-fp8-throughput.log").read_text())
    return max(float(rate) for at, rate in lines if begins.time() < time.fromisoformat(at) <= ends.time())


def shown(search: str) -> str:
    return ", ".join(f"{name.upper()} {limit:.0f} ms" for name, limit in bounds(f"-{search}").items())


def section() -> str:
    rows: list[str] = []
    errors: dict[int, float] = {}
    edges: dict[int, list[bool]] = {45: [], 90: []}
    for (server, search, budget), found in searches():
        capacity = found["capacity"]
        streams, rate = int(capacity["concurrency"]), float(capacity["outputTokensPerSecond"])
        loop = loop_of(server, streams)
        true = loop["output_tokens_per_second"]["server"] if loop else None
        if true:
            errors[streams] = 100 * abs(rate / true - 1)
        edges[budget].append(capacity["boundary"] == "Edge")
        said = f"{number(true)} ({100 * (rate / true - 1):+.1f} %)" if true else "-"
        cells = (server, shown(search), str(budget), capacity["boundary"], str(found["probeSeconds"]))
        rows.append(row(*cells, str(streams), number(rate), said))
    far = {budget: found for (*search, budget), found in searches() if tuple(search) == FARTHEST}
    end = END.format(
        **{
            name: f"{sum(edges[budget])} of {len(edges[budget])}"
            for name, budget in (("long", 90), ("short", 45))
        },
        least=min(errors.values()),
        most=max(errors.values()),
        streams=max(errors, key=lambda each: errors[each]),
        slow=number(best(far[90], after=False)),
        fast=number(best(far[45], after=True)),
    )
    return "".join((HEAD, *rows, end))
