"""benchmarks/lab/h200/vllm-0.32.md: the version that tacho starts by default, on an H200."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.loops import levels, pair, rate, row_of
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row, share
from benchmarks.planner.cases import cases, predict
from benchmarks.planner.speed import SPEED, Judged, loop_of, predicted
from benchmarks.planner.speed_rows import Row
from benchmarks.planner.starts import Start, starts
from tacho_operator.core.planner.expected_speed import timing

FOLDER = RAW / "vllm-0.32"
EARLIER = RAW / "goals/8b-bf16.json"
"""The 8B in 16 bits with vLLM 0.26, on another host."""
SET_BY, LOG = "qwen3-8b-fp8-l4-prefill", "qwen3-8b-fp8-l4-decode"


def started(folder: str) -> dict[str, Start]:
    """By their names in the folder."""
    prefix = f"{folder}/"
    return {start.name.removeprefix(prefix): start for start in starts() if start.name.startswith(prefix)}


def planned_before(folder: Path) -> dict[str, int]:
    """Tokens of the KV cache that were planned before each start."""
    found: dict[str, int] = read(folder / "planned.json")["kvTokens"]
    return found


def off_before(folder: Path) -> dict[str, float]:
    """By how many percent the tokens that were planned before each start are off."""
    before = planned_before(folder)
    return {
        name: 100 * (before[start.name] / start.row["actual"]["kvTokens"] - 1)
        for name, start in started(folder.name).items()
    }


def off_now(start: Start) -> float:
    """By how many percent today's plan is off."""
    return 100 * start.errors["kvTokens"]


def too_much_gib(start: Start, off_percent: float) -> float:
    return float(start.row["actual"]["kvGiB"] * off_percent / 100)


def planned_fits(folder: Path, far: str) -> dict[str, float]:
    """For a page, how far the plans before each start were off: ``far`` by itself, and the worst other."""
    before = off_before(folder)
    near = [abs(error) for name, error in before.items() if name != far]
    gib = too_much_gib(started(folder.name)[far], before[far])
    return {"near": len(near), "all": len(before), "most": max(near), "far": before[far], "gib": gib}


def weights(start: Start) -> str:
    """Planned / found."""
    found = start.row["actual"]["weightsGiB"]
    return f"{found * (1 + start.errors['weights']):.2f} / {found:.2f}"


def memory(folder: Path) -> Iterator[str]:
    before = planned_before(folder)
    for name, start in started(folder.name).items():
        found = start.row["actual"]["kvTokens"]
        now = round(found * (1 + start.errors["kvTokens"]))
        yield row(
            name,
            weights(start),
            f"{number(before[start.name])} ({share(before[start.name], found)})",
            f"{number(now)} ({share(now, found)})",
            number(found),
        )


def _log() -> dict[str, str]:
    by_name = {case.name: case for case in cases()}
    set_by, log = (by_name[name].row["actual"]["kvTokens"] for name in (SET_BY, LOG))
    now = predict(by_name[LOG]).cache.tokens
    assert predict(by_name[SET_BY]).cache.tokens == now
    return {
        "set_by": number(set_by),
        "log": number(log),
        "l4_before": number(planned_before(FOLDER)[LOG]),
        "l4_now": number(now),
        "set_share": share(now, set_by),
        "log_share": share(now, log),
    }


def loops(folder: str) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Of each level of each server: what the plan judges, and the level."""
    for start in started(folder).values():
        known = ("model", "method", "version", "args", "maxModelLen", "gpu", "gpus")
        cell = {key: start.row[key] for key in known}
        file = (RAW.parents[2] / start.row["source"]).with_suffix(".json")
        for level in levels(file) if file.exists() else ():
            yield row_of(file.stem, cell, level), level


def expected(of: Row) -> float:
    law, kernel, _ = timing(SPEED, of.step.placement)
    return predicted(of, law, kernel)


def off(of: Row) -> float:
    """By which share more was expected than measured."""
    return expected(of) / of.measured - 1


def _held(of: Row) -> bool:
    """Whether the plan's band holds the figure."""
    law, kernel, _ = timing(SPEED, of.step.placement)
    return Judged(of, "", predicted(of, law, kernel), loop_of(of, law, kernel)).held


def speed(folder: Path) -> Iterator[str]:
    for of, level in sorted(loops(folder.name), key=lambda pair: (pair[0].name, pair[0].streams)):
        yield row(
            of.name,
            str(of.streams),
            number(expected(of)) + (f" ({share(expected(of), of.measured)})" if level["steady"] else ""),
            number(of.measured),
            pair(level["ttft_ms"]),
            pair(level["tpot_ms"], 1),
            f"{level['streams_by_littles_law']:.0f}" + ("" if level["steady"] else ", not steady"),
        )


def page() -> str:
    judged = [of for of, level in loops(FOLDER.name) if level["steady"]]
    several = [of for of in judged if of.streams > 1]
    busy = next(level for of, level in loops(FOLDER.name) if of.name.endswith("fp8") and of.streams == 256)
    rates = [[rate(each) for each in levels(EARLIER, streams)] for streams in (16, 64, 128, 256)]
    means = [number(sum(found) / len(found)) for found in rates]
    return fill(
        "h200_newest",
        memory=memory(FOLDER),
        **_log(),
        speed=speed(FOLDER),
        alone=100 * max(abs(off(of)) for of, _ in loops(FOLDER.name) if of.streams == 1),
        plain=100 * max(abs(off(of)) for of in several if of.cell["method"] == "none"),
        most=100 * max(off(of) for of in several if of.cell["method"] == "gptq"),
        nf4=100 * max(off(of) for of in several if of.cell["method"] == "bnb-nf4"),
        held=sum(map(_held, judged)),
        all=len(judged),
        running=busy["running_mean"],
        ttft=busy["ttft_ms"]["p50"],
        engine=1e3 * busy["engine_seconds"]["time_to_first_token_seconds_mean"],
        former=f"{', '.join(means[:-1])} and {means[-1]}",
        levels=probe.page(comparison(FOLDER / "goals")),
    )
