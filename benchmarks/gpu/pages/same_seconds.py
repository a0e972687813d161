"""A probe's levels beside what vLLM's own log counted in the same seconds.

So the probe's error stands alone, without what the machine did in other minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.gpu.pages.probe import Comparison, cell, level_of, missed
from benchmarks.gpu.pages.recorded import row, share

GOAL_PERCENT = 3.0
NEAR = 0.06
"""Share by which requests in the engine may differ from a level's streams."""
LINE = re.compile(
    r"(\d\d-\d\d \d\d:\d\d:\d\d) \[loggers.*generation throughput: ([\d.]+) tokens/s, "
    r"Running: (\d+) reqs, Waiting: (\d+) reqs"
)


class Sample(NamedTuple):
    """A line of the log: tokens a second since the line before it."""

    at: datetime
    rate: float
    requests: int


class Same(NamedTuple):
    """A level, and the engine's count of its seconds."""

    probe: str
    streams: int
    rate: float
    logged: float
    seconds: float


def samples(log: str, year: int) -> list[Sample]:
    """Of every line of ``log`` that tells a throughput."""
    return [
        Sample(
            datetime.strptime(f"{year}-{match[1]}", "%Y-%m-%d %H:%M:%S"),
            float(match[2]),
            int(match[3]) + int(match[4]),
        )
        for match in LINE.finditer(log)
    ]


def compared(probe: str, measured: dict[str, Any], log: str) -> Iterator[Same]:
    """Levels of several streams of one probe, of which the log has at least one whole line."""
    ended = datetime.fromisoformat(measured["observedTime"].replace("Z", "+00:00")).replace(tzinfo=None)
    began = ended - timedelta(seconds=float(measured["probeSeconds"]))
    own = [each for each in samples(log, ended.year) if began <= each.at <= ended]
    for level in map(level_of, measured["curve"]):
        near = max(1.0, NEAR * level.streams)
        # A line counts where the one before was of this level, too: else it holds the ramp.
        whole = [
            (after.rate, (after.at - before.at).total_seconds())
            for before, after in pairwise(own)
            if max(abs(before.requests - level.streams), abs(after.requests - level.streams)) <= near
        ]
        if whole and level.streams > 1:
            rates, seconds = zip(*whole, strict=True)
            yield Same(probe, level.streams, level.rate, mean(rates), sum(seconds))


def figures(of: Comparison) -> dict[str, Any]:
    """Of every probe of given levels whose server's log counts."""
    found = [
        same
        for server, names in of.probes.items()
        for name in names
        for same in compared(name, of.read(name), (of.raw / f"{server}.log").read_text())
    ]
    worst = max(found, key=lambda each: abs(each.rate / each.logged - 1))
    return {
        "same_seconds": [
            row(
                each.probe,
                str(each.streams),
                cell(each.rate, each.logged, GOAL_PERCENT, 0),
                f"{each.seconds:.0f}",
            )
            for each in found
        ],
        "goal": GOAL_PERCENT,
        "kept": sum(not missed(each.rate, each.logged, GOAL_PERCENT) for each in found),
        "all": len(found),
        "most": share(worst.rate, worst.logged),
    }
