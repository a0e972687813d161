"""lab/h100/vllm-0.32.md: the version that tacho starts by default and 0.26, on GPUs of one host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.pages.h200_newest import expected, loops, off, off_now, started, weights
from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import ROOT, fill, number, read, row, share
from benchmarks.planner.speed_rows import Row

FOLDER = ROOT / "benchmarks/gpu/h100/vllm-0.32"
EARLIER, NEWEST = "h100/vllm-0.32/0.26", "h100/vllm-0.32/0.32"
EXPERTS = "qwen3-30b-a3b-none"
Level = tuple[Row, dict[str, Any]]


def planned_before(version: str, name: str) -> int:
    """Tokens of the KV cache that were planned before a start."""
    return int(read(FOLDER / "planned.json")["kvTokens"][version][name])


def memory() -> Iterator[str]:
    for folder in (EARLIER, NEWEST):
        for name, start in started(folder).items():
            version, found = start.row["version"], start.row["actual"]["kvTokens"]
            planned = planned_before(version, name)
            cell = f"{number(planned)} ({share(planned, found)})"
            yield row(version, name, weights(start), cell, number(found))


def _by_place(folder: str) -> dict[tuple[str, int], Level]:
    return {(of.name, of.streams): (of, level) for of, level in loops(folder)}


def _cell(found: Level | None) -> str:
    if found is None:
        return "-"
    of, level = found
    return number(of.measured) + ("" if level["steady"] else ", not steady")


def _pairs() -> Iterator[tuple[Level, Level | None]]:
    """Of each level that 0.26 had: that, and the one of 0.32."""
    newest = _by_place(NEWEST)
    return ((level, newest.get(place)) for place, level in sorted(_by_place(EARLIER).items()))


def _ratio(earlier: Level, newest: Level | None) -> float | None:
    if newest is None or not (earlier[1]["steady"] and newest[1]["steady"]):
        return None
    return newest[0].measured / earlier[0].measured


def speed() -> Iterator[str]:
    for earlier, newest in _pairs():
        ratio = _ratio(earlier, newest)
        plan = number(expected(newest[0])) if newest else "-"
        if newest and newest[1]["steady"]:
            plan += f" ({share(expected(newest[0]), newest[0].measured)})"
        yield row(
            earlier[0].name,
            str(earlier[0].streams),
            _cell(earlier),
            _cell(newest),
            "-" if ratio is None else f"{ratio:.3f}",
            plan,
        )


def _most_expected(folder: str) -> float:
    """By how many percent a plan expected more than a steady loop had, at most."""
    return 100 * max(off(of) for of, level in loops(folder) if level["steady"])


def page() -> str:
    starts = started(NEWEST)
    experts = starts.pop(EXPERTS)
    again = levels(FOLDER / "again/llama-3.1-8b-fp8.json")
    rates = {each["streams"]: rate(each) for each in again if each["steady"]}
    return fill(
        "h100_newest",
        memory=memory(),
        dense=max(abs(off_now(start)) for start in (*starts.values(), *started(EARLIER).values())),
        before=share(planned_before("0.32.0", EXPERTS), experts.row["actual"]["kvTokens"]),
        share=f"{off_now(experts):+.2f} %",
        speed=speed(),
        slower=100 * (1 - min(ratio for pair in _pairs() if (ratio := _ratio(*pair)))),
        again=" and ".join(number(rates[streams]) for streams in (16, 256)),
        most=_most_expected("vllm-0.32"),
        here=_most_expected(NEWEST),
    )
