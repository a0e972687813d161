"""docs/results/h200/goals.md: the present probe beside long loops on H200s, by `benchmarks/gpu/goals.sh`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import median, pstdev
from typing import Any

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import h200_budgets, h200_repeated_edges, probe
from benchmarks.gpu.pages.loops import littles_share
from benchmarks.gpu.pages.recorded import RAW, number, row
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
HEAD = """# The probe's goals by one command, on H200s

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/goals), where the
commands are. Servers of vLLM 0.26.0 on one host of an H200, 2026-11-26, one after the other: the shape of
Llama-3.1-8B in 16 bits and in FP8. 512 tokens in and 200 out. The server, the probe and the loop's clients
shared 16 cores.

Each level by the probe stands between two loops of it, of 32 s each. Their mean is the truth. The probe's
windows took {least:.0f} to {most:.0f} s. After each search came a loop of the streams that it found.
[The same on H100s](../h100/goals.md), and [earlier probes](probe.md).

"""
SECOND = """
## Searches on another host

Five searches of the 8B in 16 bits, and loops of 24 s ([raw data](../../../benchmarks/gpu/h200/goals-edges)).
`new` and the search for both bounds had windows of one request's time for TTFT where time allowed it, which
it hardly did. That change was not kept. A truth below 174 streams has no rate here.

| search | probe ends at | streams | tok/s: probe / truth |
| --- | --- | --- | --- |
"""
WAVES = """
## A TTFT under load is no steady figure

The TTFT of one level rises and falls within seconds, together for all streams. So parts of one loop differ:
the 95th percentile of TTFT in a part, beside that of the whole loop, of {loops} loops of {fewest} streams and
more.

| part, in requests' times | standard deviation, median | lowest | highest |
| --- | --- | --- | --- |
"""
AFTER_WAVES = """
Near its edge a search has parts of 0.3 to 1 times a request. So an edge that TTFT decides is uncertain: at
300 ms five searches ended at {streams}. As the throughput is
flat there, the rates differ less: {rates} tok/s. A TPOT is a mean over a request, and its edges agree.
"""
SMALL_HEAD = """
## Qwen3-0.6B

With four front ends, on that second host ([raw data](../../../benchmarks/gpu/h200/goals-small)). Loops of
16 s by eight processes lie around each level. Streams by Little's law show how steady a loop was.

| streams | loop, tok/s | probe, tok/s | loop, tok/s | streams by Little's law | the probe says |
| --- | --- | --- | --- | --- | --- |
"""
SMALL_END = """
From 64 streams on the probe measured up to {more:.0f} % more. [Other hosts](front-ends.md) show why: the
loops keep their connections, and the engine's own loop is as fast as its host. So these loops are no
truth of 3 %. With one front end 256 streams had {one} tok/s and a first token after {ttft:.0f} ms,
{engine:.0f} ms of them by the engine's own count.
"""
PINNED_HEAD = """
On a fifth host, 2026-11-29 ([raw data](../../../benchmarks/gpu/h200/goals-small-pinned)), the server had
twelve of the 16 cores. The clients had four, the loop's a compiled one. Each level was measured twice by the
probe, each time between two loops of 16 s.

| streams | loops of one server, tok/s | the probe, tok/s |
| --- | --- | --- |
"""
PINNED_END = """
Loops of equal streams differ by up to {apart:.0f} % within {minutes:.0f} minutes: no truth of 3 % either.
The probe measured {least:.0f} to {most:.0f} % of their mean. {unknown} of its {all} levels had no rate
that is known within 30 %.
"""


def loops(folder: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text())["levels"]
    return found


def second() -> probe.Comparison:
    return probe.Comparison(
        raw=EDGES,
        truths={SERVER: (SERVER,)},
        probes={},
        edges={(SERVER, search): bounds for search, bounds in SEARCHES.items()},
        head="",
    )


def searches() -> Iterator[str]:
    for (_, search), measured, true in probe.edge_errors(second()):
        capacity = measured["capacity"]
        rate = float(capacity["outputTokensPerSecond"])
        provisional = " provisional" if measured["confidence"] == probe.PROVISIONAL else ""
        yield row(
            search,
            capacity["boundary"] + provisional,
            f"{capacity['concurrency']} / {true if isinstance(true, str) else number(true[0])}",
            f"{number(rate)} / -"
            if isinstance(true, str)
            else probe.cell(rate, float(true[1]), probe.EDGE_GOAL_PERCENT, 0),
        )


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
    files = ((PAIRED, "8b-bf16"), (PAIRED, "8b-fp8"), (EDGES, SERVER))
    return [level for file in files for level in loops(*file) if level["streams"] >= FEWEST_STREAMS]


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
    first = json.loads((PAIRED / f"{SERVER}-ttft-300ms.json").read_text())
    others = [second().read(f"{SERVER}-{name}") for name, bounds in SEARCHES.items() if len(bounds) == 1]
    return [each["capacity"] for each in (first, *others)]


def small() -> Iterator[tuple[str, float]]:
    """(row, the probe's rate beside the loops' mean), by streams."""
    found = loops(SMALL, SMALL_SERVER)
    for streams in SMALL_LEVELS:
        measured = json.loads((SMALL / f"{SMALL_SERVER}-levels-{streams}.json").read_text())
        rate = float(measured["curve"][-1]["outputTokensPerSecond"])
        pair = [level for level in found if level["streams"] == streams]
        rates = [level["output_tokens_per_second"]["server"] for level in pair]
        shares = ", ".join(f"{streams * littles_share(level):.0f}" for level in pair)
        flags = ", ".join(measured.get("flags", ())) or "-"
        cells = [number(rates[0]), number(rate), number(rates[1])]
        yield row(str(streams), *cells, shares, flags), rate / (sum(rates) / len(rates))


def rates_of(server: str, streams: int) -> list[float]:
    """Tokens/s of the pinned loops of ``streams`` streams, in their order."""
    levels = [level for level in loops(PINNED, server) if level["streams"] == streams]
    return [level["output_tokens_per_second"]["server"] for level in levels]


def pinned() -> Iterator[tuple[str, float, list[float | None]]]:
    """(row, highest loop over the lowest, the probe's rates over the loops' mean or None), by streams."""
    servers = (SMALL_SERVER, f"{SMALL_SERVER}-again")
    for streams in SMALL_LEVELS:
        around = [rate for server in servers for rate in rates_of(server, streams)]
        measured: list[float | None] = []
        for server in servers:
            last = json.loads((PINNED / f"{server}-levels-{streams}.json").read_text())["curve"][-1]
            known = last["concurrency"] == streams
            measured.append(float(last["outputTokensPerSecond"]) if known else None)
        cells = (
            ", ".join(number(rate) if rate else "unknown" for rate in rates) for rates in (around, measured)
        )
        shares = [rate and rate * len(around) / sum(around) for rate in measured]
        yield row(str(streams), *cells), max(around) / min(around), shares


def pinned_section() -> str:
    found = list(pinned())
    shares = [share for _, _, some in found for share in some]
    known = [share for share in shares if share]
    times = [line.split()[0] for line in (PINNED / "steps").read_text().splitlines()]
    first, last = (60 * int(time[:2]) + int(time[3:5]) for time in (times[1], times[-1]))
    end = PINNED_END.format(
        apart=100 * (max(apart for _, apart, _ in found) - 1),
        minutes=last - first,
        least=100 * min(known),
        most=100 * max(known),
        unknown=len(shares) - len(known),
        all=len(shares),
    )
    return "".join((PINNED_HEAD, *(text for text, _, _ in found), end))


def page() -> str:
    found = comparison(PAIRED)
    windows = [level.window_seconds for _, level, _, _ in probe.errors(found) if level.window_seconds]
    rows = list(small())
    one = json.loads((EDGES / "one-front-end.json").read_text())["curve"][-1]
    capacities = of_ttft()
    streams = sorted(int(each["concurrency"]) for each in capacities)
    rates = sorted(float(each["outputTokensPerSecond"]) for each in capacities)
    return "".join(
        (
            *(HEAD.format(least=min(windows), most=max(windows)), probe.page(found)),
            *(SECOND, *searches()),
            WAVES.format(loops=len(recorded()), fewest=FEWEST_STREAMS),
            *waves(),
            AFTER_WAVES.format(
                streams=f"{', '.join(map(str, streams[:-1]))} and {streams[-1]} streams",
                rates=f"{number(rates[0])} to {number(rates[-1])}",
            ),
            h200_budgets.section(),
            h200_repeated_edges.section(),
            *(SMALL_HEAD, *(text for text, _ in rows)),
            SMALL_END.format(
                more=100 * (max(share for _, share in rows) - 1),
                one=number(float(one["outputTokensPerSecond"])),
                ttft=float(one["ttftMillisecondsP50"]),
                engine=float(one["engineTtftMilliseconds"]),
            ),
            pinned_section(),
        )
    )
