"""lab/h200/goals.md: the present probe beside long loops on H200s, by `benchmarks/gpu/goals.sh`."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median, pstdev
from typing import Any

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import (
    h200_budgets,
    h200_goals_experts,
    h200_goals_tensor,
    h200_repeated_edges,
    probe,
)
from benchmarks.gpu.pages.loops import levels, littles_share, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row
from benchmarks.gpu.truth import quantile

PAIRED, EDGES, SMALL, PINNED = (
    RAW / name for name in ("goals", "goals-edges", "goals-small", "goals-small-pinned")
)
SERVER, SMALL_SERVER = "8b-bf16", "0.6b"
SMALL_LEVELS = (16, 64, 128, 256)
TTFT_MS = 300.0
SEARCHES = {
    "old1-ttft-300ms": {"ttft": TTFT_MS},
    "old2-ttft-300ms": {"ttft": TTFT_MS},
    "new1-ttft-300ms": {"ttft": TTFT_MS},
    "new2-ttft-300ms": {"ttft": TTFT_MS},
    "ttft-1s-tpot-25ms": {"ttft": 1000.0, "tpot": 25.0},
}
WINDOWS = (0.4, 1.0, 2.0)
"""Parts of a loop, in units of one request's time."""
FEWEST_STREAMS = 64


def second() -> probe.Comparison:
    return probe.Comparison(
        raw=EDGES,
        truths={SERVER: (SERVER,)},
        probes={},
        edges={(SERVER, search): bounds for search, bounds in SEARCHES.items()},
    )


def searches() -> Iterator[str]:
    for (_, search), measured, true in probe.edge_errors(second()):
        capacity = measured["capacity"]
        provisional = " provisional" if measured["confidence"] == probe.PROVISIONAL else ""
        yield row(search, capacity["boundary"] + provisional, *probe.edge_cells(capacity, true))


def parts(level: dict[str, Any], times: float) -> list[float]:
    """TTFT p95 of overlapping parts of a loop, each as a share of the whole loop's."""
    columns, rows = level["raw"]["columns"], level["raw"]["rows"]
    sent, ttft, took = (columns.index(name) for name in ("sent_s", "ttft_ms", "end_to_end_ms"))
    seconds = times * sum(each[took] for each in rows) / len(rows) / 1000
    whole = quantile([each[ttft] for each in rows], 0.95)
    found, begins = [], 0.0
    while begins + seconds <= rows[-1][sent]:
        inside = [each[ttft] for each in rows if begins <= each[sent] < begins + seconds]
        if len(inside) > 10:
            found.append(quantile(inside, 0.95) / whole)
        begins += seconds / 2
    return found


def recorded() -> list[dict[str, Any]]:
    """All loops of an 8B with many streams, of both hosts."""
    files = (PAIRED / "8b-bf16.json", PAIRED / "8b-fp8.json", EDGES / f"{SERVER}.json")
    return [level for file in files for level in levels(file) if level["streams"] >= FEWEST_STREAMS]


def waves() -> Iterator[str]:
    for times in WINDOWS:
        shares = [found for level in recorded() if len(found := parts(level, times)) > 1]
        yield row(
            f"{times:g}",
            f"{100 * median(pstdev(found) for found in shares):.0f} %",
            f"{min(map(min, shares)):.2f}",
            f"{max(map(max, shares)):.2f}",
        )


def of_ttft() -> list[dict[str, Any]]:
    """Capacities of the five searches for TTFT alone, of both hosts."""
    first = read(PAIRED / f"{SERVER}-ttft-300ms.json")
    others = [second().read(f"{SERVER}-{name}") for name, bounds in SEARCHES.items() if len(bounds) == 1]
    return [each["capacity"] for each in (first, *others)]


def small() -> Iterator[tuple[str, float]]:
    """(row, the probe's rate beside the loops' mean), by streams."""
    for streams in SMALL_LEVELS:
        measured = read(SMALL / f"{SMALL_SERVER}-levels-{streams}.json")
        probed = float(measured["curve"][-1]["outputTokensPerSecond"])
        pair = levels(SMALL / f"{SMALL_SERVER}.json", streams)
        before, after = (rate(level) for level in pair)
        shares = ", ".join(f"{streams * littles_share(level):.0f}" for level in pair)
        flags = ", ".join(measured.get("flags", ())) or "-"
        cells = [number(before), number(probed), number(after)]
        yield row(str(streams), *cells, shares, flags), probed / ((before + after) / 2)


def pinned() -> Iterator[tuple[str, float, list[float | None]]]:
    """(row, highest loop over the lowest, the probe's rates over the loops' mean or None), by streams."""
    servers = (SMALL_SERVER, f"{SMALL_SERVER}-again")
    for streams in SMALL_LEVELS:
        around = [rate(level) for server in servers for level in levels(PINNED / f"{server}.json", streams)]
        measured: list[float | None] = []
        for server in servers:
            last = read(PINNED / f"{server}-levels-{streams}.json")["curve"][-1]
            known = last["concurrency"] == streams
            measured.append(float(last["outputTokensPerSecond"]) if known else None)
        cells = (
            ", ".join(number(each) if each else "unknown" for each in rates) for rates in (around, measured)
        )
        shares = [each and each * len(around) / sum(around) for each in measured]
        yield row(str(streams), *cells), max(around) / min(around), shares


def pinned_minutes() -> int:
    """From the first loop to the last."""
    times = [line.split()[0] for line in (PINNED / "steps").read_text().splitlines()]
    first, last = (60 * int(time[:2]) + int(time[3:5]) for time in (times[1], times[-1]))
    return last - first


def page() -> str:
    paired = comparison(PAIRED)
    windows = [level.window_seconds for _, level, _, _ in probe.errors(paired) if level.window_seconds]
    of_small, of_pinned = list(small()), list(pinned())
    shares = [share for _, _, some in of_pinned for share in some]
    known = [share for share in shares if share]
    one = read(EDGES / "one-front-end.json")["curve"][-1]
    *streams, last = sorted(int(each["concurrency"]) for each in of_ttft())
    rates = sorted(float(each["outputTokensPerSecond"]) for each in of_ttft())
    return fill(
        "h200_goals",
        least=min(windows),
        most=max(windows),
        levels=probe.page(paired),
        searches=searches(),
        count=len(recorded()),
        fewest=FEWEST_STREAMS,
        waves=waves(),
        streams=f"{', '.join(map(str, streams))} and {last} streams",
        rates=f"{number(rates[0])} to {number(rates[-1])}",
        budgets=h200_budgets.section(),
        edges=h200_repeated_edges.section(),
        experts=h200_goals_experts.section(),
        tensor=h200_goals_tensor.section(),
        small=(text for text, _ in of_small),
        more=100 * (max(share for _, share in of_small) - 1),
        one=number(one["outputTokensPerSecond"]),
        ttft=float(one["ttftMillisecondsP50"]),
        engine=float(one["engineTtftMilliseconds"]),
        pinned=(text for text, _, _ in of_pinned),
        apart=100 * (max(apart for _, apart, _ in of_pinned) - 1),
        minutes=pinned_minutes(),
        least_share=100 * min(known),
        most_share=100 * max(known),
        unknown=len(shares) - len(known),
        all=len(shares),
    )
