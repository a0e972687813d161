"""The section of docs/results/h200/goals.md on models with experts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row

FOLDER = RAW / "goals-experts"
MODELS = {"moe-bf16": "Qwen3-30B-A3B, 16 bits", "gpt-oss-20b": "gpt-oss-20b, MXFP4"}
SEARCH = FOLDER / "second/moe-bf16-tpot-25ms.json"
APART = 1.1
"""Loops of one level that differ by more are no truth."""
GOAL = 3


@dataclass(frozen=True)
class Level:
    model: str
    streams: int
    loops: list[dict[str, Any]]
    measured: dict[str, Any]

    @property
    def rates(self) -> list[float]:
        return [rate(each) for each in self.loops]

    @property
    def true(self) -> float | None:
        """Tokens/s, where the loops are steady and agree; else None."""
        steady = all(each["steady"] for each in self.loops)
        return mean(self.rates) if steady and max(self.rates) <= APART * min(self.rates) else None

    @property
    def found(self) -> float:
        return float(self.measured["curve"][-1]["outputTokensPerSecond"])

    @property
    def off(self) -> float | None:
        """Percent by which the probe is off; None where there is no truth."""
        return None if self.true is None else percent(self.found, self.true)


def percent(found: float, true: float) -> float:
    return 100 * (found / true - 1)


def recorded(folder: Path = FOLDER, models: Iterable[str] = MODELS) -> Iterator[Level]:
    """The levels of ``models`` in a ``folder`` of one folder for each host."""
    for model in models:
        files = folder.glob(f"*/{model}-levels-*.json")
        for file in sorted(files, key=lambda each: int(each.stem.rpartition("-")[2])):
            streams = int(file.stem.rpartition("-")[2])
            yield Level(model, streams, levels(file.with_name(f"{model}.json"), streams), read(file))


def cells(level: Level, models: Mapping[str, str] = MODELS) -> str:
    """The row of a ``level``. ``models``: what the page calls each."""
    loops = ", ".join(number(rate(each)) + ("" if each["steady"] else " not steady") for each in level.loops)
    last, flags = level.measured["curve"][-1], level.measured.get("flags", ())
    found = f"{number(level.found)} ± {float(last['ciPercent']):.1f} %"
    off = f"{level.off:+.1f} %" if level.off is not None else "-"
    return row(models[level.model], str(level.streams), loops, ", ".join((found, *flags)), off)


def section() -> str:
    found = list(recorded())
    judged = [(off, level.measured.get("flags")) for level in found if (off := level.off) is not None]
    errors = [off for off, flags in judged if not flags]
    (flagged,) = (off for off, flags in judged if flags)
    apart = max(found, key=lambda level: max(level.rates) / min(level.rates))
    capacity = read(SEARCH)["capacity"]
    (loop,) = levels(FOLDER / "second/moe-bf16.json", int(capacity["concurrency"]))
    return fill(
        "h200_goals_experts",
        rows=map(cells, found),
        within=sum(abs(error) <= GOAL for error in errors),
        levels=str(len(found)),
        judged=len(judged),
        goal=GOAL,
        worst=max(errors, key=abs),
        flagged=flagged,
        apart_streams=str(apart.streams),
        apart=percent(max(apart.rates), min(apart.rates)),
        boundary=capacity["boundary"],
        streams=str(capacity["concurrency"]),
        rate=number(capacity["outputTokensPerSecond"]),
        loop=number(rate(loop)),
        off=percent(float(capacity["outputTokensPerSecond"]), rate(loop)),
        tpot=loop["tpot_ms"]["p95"],
    )
