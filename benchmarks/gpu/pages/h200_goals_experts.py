"""The section of benchmarks/lab/h200/goals.md on models with experts."""

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
CACHED = "cached"
"""What a table calls a loop that may have met its prompts in the engine's prefix cache. It is no truth."""


@dataclass(frozen=True)
class Level:
    model: str
    streams: int
    loops: list[dict[str, Any]]
    measured: dict[str, Any]

    @property
    def fresh(self) -> list[dict[str, Any]]:
        """The loops with prompts of their own."""
        return [each for each in self.loops if not each.get(CACHED)]

    @property
    def rates(self) -> list[float]:
        return [rate(each) for each in self.fresh]

    @property
    def true(self) -> float | None:
        """Tokens/s, where the loops are steady and agree; else None."""
        steady = bool(self.fresh) and all(each["steady"] for each in self.fresh)
        return mean(self.rates) if steady and max(self.rates) <= APART * min(self.rates) else None

    @property
    def found(self) -> float | None:
        """Tokens/s by the probe; None where it says that it does not know them."""
        last = self.measured["curve"][-1]
        return float(last["outputTokensPerSecond"]) if last["concurrency"] == self.streams else None

    @property
    def off(self) -> float | None:
        """Percent by which the probe is off; None where it or the loops have no figure."""
        return None if self.true is None or self.found is None else percent(self.found, self.true)


def percent(found: float, true: float) -> float:
    return 100 * (found / true - 1)


def recorded(folder: Path = FOLDER, models: Iterable[str] = MODELS, host: str = "*") -> Iterator[Level]:
    """The levels of ``models`` in a ``folder`` of one folder for each host.

    A server's first loop has the seed of the loop that warmed it up, so it sends the same prompts.
    """
    for model in models:
        files = folder.glob(f"{host}/{model}-levels-*.json")
        for file in sorted(files, key=lambda each: int(each.stem.rpartition("-")[2])):
            streams = int(file.stem.rpartition("-")[2])
            first, *later = levels(file.with_name(f"{model}.json"))
            loops = [{**first, CACHED: True}, *later]
            yield Level(model, streams, [each for each in loops if each["streams"] == streams], read(file))


def described(loop: Mapping[str, Any]) -> str:
    said = "" if loop["steady"] else " not steady"
    return number(loop["output_tokens_per_second"]["server"]) + (" cached" if loop.get(CACHED) else said)


def cells(level: Level, models: Mapping[str, str] = MODELS) -> str:
    """The row of a ``level``. ``models``: what the page calls each."""
    last, flags = level.measured["curve"][-1], level.measured.get("flags", ())
    found = "-" if level.found is None else f"{number(level.found)} ± {float(last['ciPercent']):.1f} %"
    off = f"{level.off:+.1f} %" if level.off is not None else "-"
    loops = ", ".join(map(described, level.loops))
    return row(models[level.model], str(level.streams), loops, ", ".join((found, *flags)), off)


def section() -> str:
    found = list(recorded())
    moved = next(level for level in found if level.model == "moe-bf16" and level.streams == 128)
    met, own = moved.loops
    judged = [(off, level.measured.get("flags")) for level in found if (off := level.off) is not None]
    errors = [off for off, flags in judged if not flags]
    (flagged,) = (off for off, flags in judged if flags)
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
        unflagged=len(errors),
        cached_streams=str(moved.streams),
        more=percent(rate(met), rate(own)),
        met=1e3 * met["engine_seconds"]["request_prefill_time_seconds_mean"],
        own=1e3 * own["engine_seconds"]["request_prefill_time_seconds_mean"],
        boundary=capacity["boundary"],
        streams=str(capacity["concurrency"]),
        rate=number(capacity["outputTokensPerSecond"]),
        loop=number(rate(loop)),
        off=percent(float(capacity["outputTokensPerSecond"]), rate(loop)),
        tpot=loop["tpot_ms"]["p95"],
    )
