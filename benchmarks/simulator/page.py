"""docs/results/simulator.md from the results; `make generate` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.simulator.comparison import GOALS, Compared, compared

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).resolve().parents[2] / "docs/results/simulator.md"
HEAD = """# The simulated replica beside its engine

`python -m benchmarks.simulator` starts an engine, measures it with `tacho probe`, and sends Poisson and
bursty arrivals (variance of the intervals: four times a Poisson process') at rates that made no part of the
model. The simulator answers the same arrivals. Each cell is the median of the runs, measured / simulated, the
difference, and half the range of the runs. **Bold** is beyond the goal by more than that range.

Goals: throughput and TPOT within 5 %, TTFT and end to end within 15 %. A run is disturbed where others had
more than 5 % of the engine's core (known of one that was started for this), or where a single request
before or after it took 10 % longer or shorter than at the measurement. Disturbed runs count only where
there are no others.
"""


def lines(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    workload = document["measurement"]["workload"]
    requests = len(document["runs"][0]["requests"])
    yield f"## {name}"
    yield ""
    yield (
        f"{document['machine']}. {workload['inputTokens']} tokens in and "
        f"{workload['outputTokens']} out, {document['slots']} at a time, {requests} requests a run:"
    )
    yield ""
    yield from _table(document)
    # A title to the measurement that the page names so: of the same engine, with other levels.
    for title, entry in document.get("others", {}).items():
        yield ""
        yield f"The same runs, simulated from {title}:"
        yield ""
        yield from _table({**document, "measurement": entry})


def _table(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"| arrivals | load | runs | disturbed | {' | '.join(GOALS)} |"
    yield f"|{'---|' * (4 + len(GOALS))}"
    for row in compared(document):
        cells = " | ".join(_cell(row, name) for name in GOALS)
        yield f"| {row.kind} | {100 * row.share:.0f} % | {row.runs} | {row.disturbed} | {cells} |"


def _cell(row: Compared, name: str) -> str:
    off = f"{row.off_percent(name):+.0f} %"
    off = off if row.kept(name) else f"**{off}**"
    figures = f"{_number(row.measured[name])} / {_number(row.simulated[name])}"
    return f"{figures}: {off} (± {row.spread_percent[name]:.0f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def text() -> str:
    parts = [HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        parts.append("\n".join(lines(path.stem, document)) + "\n")
    return "\n".join(parts)
