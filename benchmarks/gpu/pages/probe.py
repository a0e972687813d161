"""docs/results/h200/probe.md: `tacho probe` beside long steady loops on the same server, from h200/probe.

Truth is `benchmarks.gpu.truth`: loops of 60 s. Percentiles are computed from the stamps of its requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.gpu.pages.matrix import littles_share
from benchmarks.gpu.pages.recorded import bullets, number, read, row, share
from benchmarks.gpu.truth import quantile

TRUTHS = {"8b-bf16": ("8b-bf16", "8b-bf16-again"), "8b-fp8": ("8b-fp8",)}
"""Loops of each server, in their order."""
PROBES = {"8b-bf16": ("8b-bf16-levels", "8b-bf16-levels-again"), "8b-fp8": ("8b-fp8-levels",)}
EDGES = {
    "8b-bf16-tpot-20ms": {"tpot": 20.0},
    "8b-bf16-ttft-300ms": {"ttft": 300.0},
    "8b-bf16-ttft-1s-tpot-25ms": {"ttft": 1000.0, "tpot": 25.0},
}
"""Searches on the first server, and the bounds in milliseconds that 95 of 100 requests keep."""
EDGE_SERVER = "8b-bf16"
FIGURES = {
    "rate": ("tok/s", 3.0),
    "tpot50": ("TPOT p50", 5.0),
    "tpot95": ("TPOT p95", 5.0),
    "ttft95": ("TTFT p95", 20.0),
}
"""Title and goal in percent of each figure."""
EDGE_GOAL_PERCENT = 5.0
HEAD = """# The probe beside long loops

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/probe), where the
commands are. The probe is that of commit 9859304. Two servers of vLLM 0.26.0 on one H200, 2026-11-22: the
shape of Llama-3.1-8B in 16 bits and in FP8, 512 tokens in and 200 out. The truth of a level is a closed loop
of 60 s, with the stamps of every request. In 16 bits it is the mean of two, but for 16 streams.
[Pods](README.md#the-8b-on-a-second-host) on the host's other GPU shared its CPUs meanwhile.

A cell is probe / truth and the error. **Bold** misses its goal. The probe rounds its rates by their
intervals. `-`: the probe told none, or there is no second truth.

"""
LEVELS = """| probe | streams | {columns} | truths apart |
| --- | --- | --- | --- | --- | --- | --- |
"""
EDGES_HEAD = """
## Edges of service levels

`tacho probe --slo` on the server in 16 bits. The truth's edge is interpolated between its levels, by the
bound that breaks first. The goal is a rate within {goal:.0f} %.

| 95 of 100 requests keep | probe ends at | streams: probe / truth | tok/s: probe / truth |
| --- | --- | --- | --- |
"""
NOT_MEASURED = """
Not measured: edges of the FP8 server (its search was cut off), a second truth of FP8, and the 0.6B.
"""


class Level(NamedTuple):
    """Figures of one level: tokens a second, milliseconds."""

    streams: int
    rate: float
    tpot50: float | None
    tpot95: float | None
    ttft95: float | None
    flags: tuple[str, ...] = ()


def truth(name: str) -> list[Level]:
    """Levels of a long loop by rising streams; ValueError where one does not hold."""
    found = []
    for level in read(f"probe/{name}.json")["levels"]:
        if abs(littles_share(level) - 1) > 0.03:
            raise ValueError(f"{name} at {level['streams']} streams does not hold")
        columns, rows = level["raw"]["columns"], level["raw"]["rows"]
        ttft, latency, tokens = (columns.index(each) for each in ("ttft_ms", "end_to_end_ms", "tokens"))
        gaps = [(each[latency] - each[ttft]) / (each[tokens] - 1) for each in rows if each[tokens] > 1]
        found.append(
            Level(
                level["streams"],
                level["output_tokens_per_second"]["server"],
                quantile(gaps, 0.5),
                quantile(gaps, 0.95),
                quantile([each[ttft] for each in rows], 0.95),
            )
        )
    return sorted(found)


def told(level: dict[str, Any]) -> Level:
    """Of a level of the probe."""
    figures = ("tpotMillisecondsP50", "tpotMillisecondsP95", "ttftMillisecondsP95")
    percentiles = (float(level[each]) if each in level else None for each in figures)
    return Level(
        level["concurrency"],
        float(level["outputTokensPerSecond"]),
        *percentiles,
        tuple(level.get("flags", ())),
    )


def errors() -> Iterator[tuple[str, Level, dict[str, tuple[float, float]], list[float]]]:
    """(probe, level, probe and truth of each figure that both have, tokens a second of each truth)."""
    for server, names in PROBES.items():
        loops = [level for name in TRUTHS[server] for level in truth(name)]
        for name in names:
            for level in map(told, read(f"probe/{name}.json")["curve"]):
                same = [each for each in loops if each.streams == level.streams]
                if not same:
                    continue
                both = {
                    figure: (getattr(level, figure), mean(getattr(each, figure) for each in same))
                    for figure in FIGURES
                    if getattr(level, figure) is not None
                }
                yield name, level, both, [each.rate for each in same]


def missed(probe: float, true: float, goal_percent: float) -> bool:
    return abs(probe - true) > true * goal_percent / 100


def cell(probe: float, true: float, goal_percent: float, digits: int) -> str:
    text = f"{number(probe, digits)} / {number(true, digits)} ({share(probe, true)})"
    return f"**{text}**" if missed(probe, true, goal_percent) else text


def levels() -> Iterator[str]:
    for name, level, both, rates in errors():
        columns = [
            cell(*both[figure], goal, 1 if figure.startswith("tpot") else 0) if figure in both else "-"
            for figure, (_, goal) in FIGURES.items()
        ]
        apart = f"{100 * (max(rates) / min(rates) - 1):.1f} %" if len(rates) > 1 else "-"
        yield row(name, " ".join([str(level.streams), *level.flags]), *columns, apart)


def edge(found: list[Level], bounds: dict[str, float]) -> tuple[float, float]:
    """(streams, tokens a second) where the first bound breaks; streams / rate is linear between levels."""
    crossings = []
    for figure, bound in bounds.items():
        for low, high in pairwise(found):
            before, after = (getattr(level, f"{figure}95") for level in (low, high))
            if before <= bound < after:
                part = (bound - before) / (after - before)
                streams = low.streams + part * (high.streams - low.streams)
                gaps = [level.streams / level.rate for level in (low, high)]
                crossings.append((streams, streams / (gaps[0] + part * (gaps[1] - gaps[0]))))
    return min(crossings)


def edge_errors() -> Iterator[tuple[str, dict[str, Any], tuple[float, float]]]:
    """(search, its capacity, streams and tokens a second of the truth)."""
    loops = [truth(name) for name in TRUTHS[EDGE_SERVER]]
    for name, bounds in EDGES.items():
        true = [edge(found, bounds) for found in loops]
        yield (
            name,
            read(f"probe/{name}.json")["capacity"],
            (mean(each[0] for each in true), mean(each[1] for each in true)),
        )


def edges() -> Iterator[str]:
    for name, capacity, (streams, rate) in edge_errors():
        bounds = " and ".join(f"{figure.upper()} {bound:.0f} ms" for figure, bound in EDGES[name].items())
        yield row(
            bounds,
            str(capacity["boundary"]),
            f"{capacity['concurrency']} / {number(streams)}",
            cell(float(capacity["outputTokensPerSecond"]), rate, EDGE_GOAL_PERCENT, 0),
        )


def within() -> str:
    """How many figures meet their goals."""
    lines = []
    for figure, (title, goal) in FIGURES.items():
        both = [found[figure] for _, _, found, _ in errors() if figure in found]
        kept = sum(not missed(*each, goal) for each in both)
        worst = max(both, key=lambda each: abs(each[0] / each[1] - 1))
        lines.append(
            f"**{title}** within {goal:.0f} %: {kept} of {len(both)} levels, the worst {share(*worst)}."
        )
    rates = [(float(capacity["outputTokensPerSecond"]), true[1]) for _, capacity, true in edge_errors()]
    kept = sum(not missed(*each, EDGE_GOAL_PERCENT) for each in rates)
    worst = max(rates, key=lambda each: abs(each[0] / each[1] - 1))
    lines.append(
        f"**Edges** within {EDGE_GOAL_PERCENT:.0f} %: {kept} of {len(rates)}, the worst {share(*worst)}."
    )
    apart = max(max(each) / min(each) - 1 for _, _, _, each in errors())
    lines.append(
        f"**The truths themselves** differ by up to {100 * apart:.1f} % of tokens a second: two loops on one "
        "server, some minutes apart."
    )
    return "\n" + bullets(*lines)


def page() -> str:
    columns = " | ".join(f"{title}, goal {goal:.0f} %" for title, goal in FIGURES.values())
    parts = [HEAD, LEVELS.format(columns=columns), *levels(), within()]
    parts += [EDGES_HEAD.format(goal=EDGE_GOAL_PERCENT), *edges(), NOT_MEASURED]
    return "".join(parts)
