"""`tacho probe` beside long steady loops on the same server, and benchmarks/lab/h200/probe.md.

Truth is `benchmarks.gpu.truth`: loops of 45 to 60 s. Percentiles are computed from the stamps of requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.gpu.pages.loops import littles_share
from benchmarks.gpu.pages.recorded import RAW, bullets, fill, number, read, row, share
from benchmarks.gpu.truth import quantile

BOTH = {"ttft": 1000.0, "tpot": 25.0}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The probes and the loops of one kind of GPU."""

    raw: Path
    """Folder of the raw data."""
    truths: dict[str, tuple[str, ...]]
    """Loops of each server, in their order."""
    probes: dict[str, tuple[str, ...]]
    """Levels that the probe measured on each server."""
    edges: dict[tuple[str, str], dict[str, float]]
    """Searches, and the bounds in milliseconds that 95 of 100 requests keep."""

    def read(self, name: str) -> Any:
        return read(self.raw.absolute() / f"{name}.json")


BF16, FP8 = "8b-bf16", "8b-fp8"
SLOW_BF16, SLOW_FP8, SLOW_SMALL = "8b-bf16-slow-cores", "8b-fp8-slow-cores", "0.6b-slow-cores"
H200_TRUTHS = {
    BF16: (BF16, f"{BF16}-again"),
    FP8: (FP8,),
    SLOW_BF16: (SLOW_BF16,),
    SLOW_FP8: (SLOW_FP8, f"{SLOW_FP8}-again"),
    SLOW_SMALL: (SLOW_SMALL, f"{SLOW_SMALL}-again"),
}
H200 = Comparison(
    raw=RAW / "probe",
    truths=H200_TRUTHS,
    probes={
        server: tuple(f"{server}-levels{again}" for again in (("",) if server == FP8 else ("", "-again")))
        for server in H200_TRUTHS
    },
    edges={
        (BF16, "tpot-20ms"): {"tpot": 20.0},
        (BF16, "ttft-300ms"): {"ttft": 300.0},
        (BF16, "ttft-1s-tpot-25ms"): BOTH,
        (SLOW_BF16, "ttft-1s-tpot-25ms"): BOTH,
        (SLOW_FP8, "tpot-15ms"): {"tpot": 15.0},
        (SLOW_FP8, "ttft-300ms"): {"ttft": 300.0},
        (SLOW_FP8, "ttft-1s-tpot-25ms"): BOTH,
        (SLOW_SMALL, "tpot-6ms"): {"tpot": 6.0},
        (SLOW_SMALL, "ttft-200ms"): {"ttft": 200.0},
    },
)
FIGURES = {
    "rate": ("tok/s", 3.0),
    "tpot50": ("TPOT p50", 5.0),
    "tpot95": ("TPOT p95", 5.0),
    "ttft95": ("TTFT p95", 20.0),
}
"""Title and goal in percent of each figure."""
EDGE_GOAL_PERCENT = 5.0
LITTLE_WITHIN = 0.03
"""By how much the streams of a loop may differ from those of Little's law."""
PROVISIONAL = "Provisional"
"""Confidence of a measurement that something else changed, on which nothing acts."""
SHORT = 10.0
"""A shorter window in seconds stands beside its level."""
CELLS = """A cell is probe / truth and the error. **Bold** misses its goal. The probe rounds its rates by
their intervals. `-`: the probe told none, or there is no second truth.

"""


class Level(NamedTuple):
    """Figures of one level: tokens a second, milliseconds."""

    streams: int
    rate: float
    tpot50: float | None
    tpot95: float | None
    ttft95: float | None
    flags: tuple[str, ...] = ()
    half_percent: float | None = None
    """Half the interval of the rate, where the probe tells one."""
    window_seconds: float | None = None


def _holds(level: dict[str, Any]) -> bool:
    return abs(littles_share(level) - 1) <= LITTLE_WITHIN


def unsteady(of: Comparison) -> list[str]:
    """Levels of long loops that are beyond LITTLE_WITHIN, and so are no truth."""
    return [
        f"{name} at {level['streams']} streams"
        for names in of.truths.values()
        for name in names
        for level in of.read(name)["levels"]
        if not _holds(level)
    ]


def truth(of: Comparison, name: str) -> list[Level]:
    """Levels of a long loop that hold, by rising streams."""
    found = []
    for level in filter(_holds, of.read(name)["levels"]):
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


def level_of(level: dict[str, Any]) -> Level:
    """Of a level of the probe."""
    figures = ("tpotMillisecondsP50", "tpotMillisecondsP95", "ttftMillisecondsP95")
    percentiles = (float(level[each]) if each in level else None for each in figures)
    return Level(
        level["concurrency"],
        float(level["outputTokensPerSecond"]),
        *percentiles,
        tuple(level.get("flags", ())),
        float(level["ciPercent"]) if "ciPercent" in level else None,
        float(level["windowSeconds"]),
    )


def errors(of: Comparison) -> Iterator[tuple[str, Level, dict[str, tuple[float, float]], list[float]]]:
    """(probe, level, probe and truth of each figure that both have, tokens a second of each truth)."""
    for server, names in of.probes.items():
        loops = [level for name in of.truths[server] for level in truth(of, name)]
        for name in names:
            for level in map(level_of, of.read(name)["curve"]):
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


def levels(of: Comparison) -> Iterator[str]:
    for name, level, both, rates in errors(of):
        columns = [
            cell(*both[figure], goal, 1 if figure.startswith("tpot") else 0) if figure in both else "-"
            for figure, (_, goal) in FIGURES.items()
        ]
        apart = f"{100 * (max(rates) / min(rates) - 1):.1f} %" if len(rates) > 1 else "-"
        short = (
            [f"{level.window_seconds:.1f} s"] if level.window_seconds and level.window_seconds < SHORT else []
        )
        yield row(name, " ".join([str(level.streams), *short, *level.flags]), *columns, apart)


def merged(of: Comparison, server: str) -> list[Level]:
    """The mean of a server's truths at each count of streams."""
    loops = sorted(level for name in of.truths[server] for level in truth(of, name))
    return [
        Level(streams, *(mean(figures) for figures in zip(*(each[1:5] for each in same), strict=True)))
        for streams, same in ((key, list(group)) for key, group in groupby(loops, lambda each: each.streams))
    ]


def edge(found: list[Level], bounds: dict[str, float]) -> tuple[float, float] | str:
    """(streams, tokens a second) where the first bound breaks, or on which side of the levels that is.

    Streams / rate is linear between levels.
    """
    kept = [all(getattr(level, f"{each}95") <= bound for each, bound in bounds.items()) for level in found]
    if all(kept):
        return f"above {found[-1].streams}"
    if not kept[0]:
        return f"below {found[0].streams}"
    low, high = next(pair for pair, after in zip(pairwise(found), kept[1:], strict=True) if not after)
    parts = (
        (bound - getattr(low, f"{each}95")) / (getattr(high, f"{each}95") - getattr(low, f"{each}95"))
        for each, bound in bounds.items()
        if getattr(high, f"{each}95") > bound
    )
    part = min(parts)
    streams = low.streams + part * (high.streams - low.streams)
    gaps = [level.streams / level.rate for level in (low, high)]
    return streams, streams / (gaps[0] + part * (gaps[1] - gaps[0]))


def edge_errors(
    of: Comparison,
) -> Iterator[tuple[tuple[str, str], dict[str, Any], tuple[float, float] | str]]:
    """(server and search, its measurement, streams and tokens a second of the truth)."""
    for (server, search), bounds in of.edges.items():
        yield (server, search), of.read(f"{server}-{search}"), edge(merged(of, server), bounds)


def edge_cells(capacity: dict[str, Any], true: tuple[float, float] | str) -> tuple[str, str]:
    """Streams and tokens a second: probe / truth."""
    streams, rate = capacity["concurrency"], float(capacity["outputTokensPerSecond"])
    if isinstance(true, str):
        return f"{streams} / {true}", f"{number(rate)} / -"
    return f"{streams} / {number(true[0])}", cell(rate, true[1], EDGE_GOAL_PERCENT, 0)


def edges(of: Comparison) -> Iterator[str]:
    for (server, search), measured, true in edge_errors(of):
        bounds, capacity = of.edges[server, search], measured["capacity"]
        yield row(
            server,
            " and ".join(f"{figure.upper()} {bound:.0f} ms" for figure, bound in bounds.items()),
            " ".join(
                (
                    str(capacity["boundary"]),
                    *(["unverified"] if capacity.get("verified") is False else []),
                    *(["provisional"] if measured["confidence"] == PROVISIONAL else []),
                )
            ),
            *edge_cells(capacity, true),
        )


def missed_goals(of: Comparison) -> int:
    """The number of figures and edges that miss their goals."""
    figures = (
        missed(*both[figure], goal)
        for _, _, both, _ in errors(of)
        for figure, (_, goal) in FIGURES.items()
        if figure in both
    )
    rates = (
        missed(float(measured["capacity"]["outputTokensPerSecond"]), true[1], EDGE_GOAL_PERCENT)
        for _, measured, true in edge_errors(of)
        if not isinstance(true, str)
    )
    return sum(figures) + sum(rates)


def within(of: Comparison) -> str:
    """How many figures meet their goals."""
    lines = []
    for figure, (title, goal) in FIGURES.items():
        both = [found[figure] for _, _, found, _ in errors(of) if figure in found]
        kept = sum(not missed(*each, goal) for each in both)
        worst = max(both, key=lambda each: abs(each[0] / each[1] - 1))
        lines.append(
            f"**{title}** within {goal:.0f} %: {kept} of {len(both)} levels, the worst {share(*worst)}."
        )
    for title, confident in (("Edges", True), ("Provisional edges", False)):
        rates = [
            (float(measured["capacity"]["outputTokensPerSecond"]), true[1])
            for _, measured, true in edge_errors(of)
            if not isinstance(true, str) and (measured["confidence"] != PROVISIONAL) == confident
        ]
        if not rates:
            continue  # no search has a truth around it
        kept = sum(not missed(*each, EDGE_GOAL_PERCENT) for each in rates)
        worst = max(rates, key=lambda each: abs(each[0] / each[1] - 1))
        most = share(*worst)
        lines.append(
            f"**{title}** within {EDGE_GOAL_PERCENT:.0f} %: {kept} of {len(rates)}, the worst {most}."
        )
    told = [
        abs(found["rate"][1] / level.rate - 1) * 100 <= level.half_percent
        for _, level, found, _ in errors(of)
        if level.half_percent is not None
    ]
    lines.append(
        f"**Intervals** of tokens a second hold the loop's rate at {sum(told)} of {len(told)} levels."
    )
    apart = max(max(each) / min(each) - 1 for _, _, _, each in errors(of))
    if apart:
        lines.append(
            f"**The truths themselves** differ by up to {100 * apart:.1f} % of tokens a second: two loops on "
            "one server, some minutes apart."
        )
    if left := unsteady(of):
        lines.append(f"**No truth**, as Little's law is missed by more than 3 %: {', '.join(left)}.")
    return bullets(*lines)


def tables(of: Comparison) -> str:
    """Levels, and then edges of service levels."""
    columns = " | ".join(f"{title}, goal {goal:.0f} %" for title, goal in FIGURES.values())
    text = fill("probe", columns=columns, levels=levels(of), within=within(of), goal=EDGE_GOAL_PERCENT)
    return "".join((text, *edges(of)))


def page(of: Comparison) -> str:
    return CELLS + tables(of)
