"""The section of benchmarks/lab/h200/goals.md on budgets: searches of an 8B with 45 and 90 s, by turns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

from benchmarks.gpu.goals import bounds
from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row

FOLDER = RAW / "goals-budgets"
SEARCH = re.compile(r"(8b-\w+?)-((?:(?:ttft|tpot)-[^-]+-)+)budget-(\d+)-(\d)")
LINE = re.compile(r"INFO 11-29 (\S+) .*generation throughput: ([\d.]+) tokens")
LOOP_SECONDS = 42
"""From the end of a search to that of its loop."""
FARTHEST = "8b-fp8", "ttft-1s-tpot-25ms"


def searches() -> Iterator[tuple[tuple[str, str, int], dict[str, Any]]]:
    """((server, service level, budget in seconds), what the probe found) of the 8B."""
    for file in sorted(FOLDER.glob("8b-*-budget-*.json")):
        if match := SEARCH.fullmatch(file.stem):
            yield (match[1], match[2].rstrip("-"), int(match[3])), read(file)


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
        streams, tokens = int(capacity["concurrency"]), float(capacity["outputTokensPerSecond"])
        edges[budget].append(capacity["boundary"] == "Edge")
        said = "-"
        for loop in levels(FOLDER / f"{server}.json", streams)[:1]:
            error = 100 * (tokens / rate(loop) - 1)
            errors[streams], said = abs(error), f"{number(rate(loop))} ({error:+.1f} %)"
        cells = (server, shown(search), str(budget), capacity["boundary"], str(found["probeSeconds"]))
        rows.append(row(*cells, str(streams), number(tokens), said))
    far = {budget: found for (*search, budget), found in searches() if tuple(search) == FARTHEST}
    long, short = (f"{sum(edges[budget])} of {len(edges[budget])}" for budget in (90, 45))
    return fill(
        "h200_budgets",
        rows=rows,
        long=long,
        short=short,
        least=min(errors.values()),
        most=max(errors.values()),
        streams=max(errors, key=lambda each: errors[each]),
        slow=number(best(far[90], after=False)),
        fast=number(best(far[45], after=True)),
    )
