"""docs/results/h100/vllm-0.32.md: the version that tacho starts by default and 0.26, on GPUs of one host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.pages.h200_newest import expected, loops, started
from benchmarks.gpu.pages.recorded import ROOT, number, row, share
from benchmarks.planner.speed_rows import Row

FOLDER = ROOT / "benchmarks/gpu/h100/vllm-0.32"
FORMER, NEWEST = "h100/vllm-0.32/0.26", "h100/vllm-0.32/0.32"
HEAD = """# vLLM 0.32 and 0.26 on one host of H100s

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h100/vllm-0.32), where the
commands are. 2026-11-28, by hand: four servers at a time, one on each GPU with 16 of the cores. The shape of
Llama-3.1-8B but for one start. FlashInfer was not there. [On an H200](../h200/vllm-0.32.md) 0.32 ran alone.

## Memory

KV-cache tokens. All were planned before, by rules that no start on an H100 set:

| vLLM | start | weights GiB | planned before | found |
| --- | --- | --- | --- | --- |
"""
MEMORY = """
- **Dense models** are within {dense:.2f} %, of both versions.
- **With experts** the plan was {before} off before, and is {share} off since [starts on
  H200s](../h200/vllm-0.32-experts.md) changed the rules of experts. The server began to answer as its 240 s
  were over, and was not timed.

## Speed

Loops of 8 s, in tok/s; of one stream by its TPOT. Expected is what the plan of 0.32 says, from timings of
0.26 on H200s. A loop that is not steady has no error.

| server | streams | 0.26 | 0.32 | 0.32 / 0.26 | expected |
| --- | --- | --- | --- | --- | --- |
"""
SPEED = """
- **In 16 bits** 0.32 is as fast as 0.26.
- **In FP8 and AWQ** it is as fast with one stream, and up to {slower:.0f} % slower with several. Another FP8
  server on this host had {again} tok/s at 16 and 256 streams.
- **The plan** was up to {most:.0f} % too fast [on the H200](../h200/vllm-0.32.md), and is up to {here:.0f} %
  here. The version explains {slower:.0f} % of it at most: 0.26 was slower here than where it was timed.
- NF4 with 0.32 had no time for a loop.
"""


def memory() -> Iterator[str]:
    before = json.loads((FOLDER / "planned.json").read_text())["kvTokens"]
    for start in (*started(FORMER), *started(NEWEST)):
        told, name = start.row["actual"], start.name.rsplit("/", 1)[1]
        found, planned = told["kvTokens"], before[start.row["version"]][name]
        yield row(
            start.row["version"],
            name,
            f"{told['weightsGiB'] * (1 + start.errors['weights']):.2f} / {told['weightsGiB']:.2f}",
            f"{number(planned)} ({share(planned, found)})",
            number(found),
        )


Level = tuple[Row, dict[str, Any]]


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
    return ((level, newest.get(place)) for place, level in sorted(_by_place(FORMER).items()))


def _ratio(former: Level, newest: Level | None) -> float | None:
    if newest is None or not (former[1]["steady"] and newest[1]["steady"]):
        return None
    return newest[0].measured / former[0].measured


def speed() -> Iterator[str]:
    for former, newest in _pairs():
        of = former[0]
        ratio = _ratio(former, newest)
        plan = number(expected(newest[0])) if newest else "-"
        error = (
            f" ({share(expected(newest[0]), newest[0].measured)})" if newest and newest[1]["steady"] else ""
        )
        yield row(
            of.name,
            str(of.streams),
            _cell(former),
            _cell(newest),
            "-" if ratio is None else f"{ratio:.3f}",
            plan + error,
        )


def page() -> str:
    starts = {start.name.rsplit("/", 1)[1]: start for start in started(NEWEST)}
    experts = starts.pop("qwen3-30b-a3b-none")
    before = json.loads((FOLDER / "planned.json").read_text())["kvTokens"]
    dense = [*starts.values(), *started(FORMER)]
    newest = [of for of, level in loops(NEWEST) if level["steady"]]
    on_h200 = [of for of, level in loops("vllm-0.32") if level["steady"]]
    ratios = [ratio for pair in _pairs() if (ratio := _ratio(*pair))]
    again = json.loads((FOLDER / "again/llama-3.1-8b-fp8.json").read_text())["levels"]
    rates = {each["streams"]: each["output_tokens_per_second"]["server"] for each in again if each["steady"]}
    return "".join(
        (
            *(HEAD, *memory()),
            MEMORY.format(
                dense=100 * max(abs(start.errors["kvTokens"]) for start in dense),
                before=share(before["0.32.0"]["qwen3-30b-a3b-none"], experts.row["actual"]["kvTokens"]),
                share=f"{100 * experts.errors['kvTokens']:+.2f} %",
            ),
            *speed(),
            SPEED.format(
                slower=100 * (1 - min(ratios)),
                again=" and ".join(number(rates[streams]) for streams in (16, 256)),
                most=100 * max(expected(of) / of.measured - 1 for of in on_h200),
                here=100 * max(expected(of) / of.measured - 1 for of in newest),
            ),
        )
    )
