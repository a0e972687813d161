"""docs/results/h200/vllm-0.32.md: the version that tacho starts by default, on an H200."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.recorded import RAW, number, row, share
from benchmarks.planner.cases import cases, predict
from benchmarks.planner.speed import SPEED, Judged, loop_of, predicted
from benchmarks.planner.speed_rows import Row
from benchmarks.planner.starts import Start, starts
from tacho_operator.core.planner.expected_speed import timing

FOLDER = RAW / "vllm-0.32"
FORMER = RAW / "goals"
"""The 8B in 16 bits with vLLM 0.26, on another host."""
SET_BY, LOG = "qwen3-8b-fp8-l4-prefill", "qwen3-8b-fp8-l4-decode"
HEAD = """# vLLM 0.32 on an H200

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/vllm-0.32), where the
commands are. The shape of Llama-3.1-8B, 2026-11-28, by hand on one host: vLLM's wheel with its bitsandbytes
plugin, as in the default image, which itself was not run. The host's CUDA libraries are older by a patch,
and FlashInfer was not there. The other pages of this folder are of vLLM 0.26.

## Memory

KV-cache tokens, planned before the start and with the rules that were read from vLLM's source after it:

| start | weights GiB | planned before | planned now | found |
| --- | --- | --- | --- | --- |
"""
MEMORY = """
- **Before**, 0.4 to 0.7 % too many tokens were planned, up to 0.84 GiB. Since 0.27 vLLM counts all memory
  that the process holds after its profile run: the sampler's tables (0.54 GiB for 1,024 sequences),
  cuBLAS's workspace, and in NF4 the matrix that bitsandbytes expands.
- **A published log** of vLLM 0.29 has two starts of a Qwen3-8B on L4s with the same switches. The first set
  what is outside PyTorch on GPUs before Hopper, and had {set_by} tokens; the second had {log}.
  For each, {l4_before} were planned before, and {l4_now} now: {set_share} and {log_share}.
- The start in 16 bits found compiled code, which a plan cannot count on: it takes 0.23 GiB less.

## Speed

Loops of 8 s and more. Expected is what a plan says, from timings of vLLM 0.26:

| server | streams | expected, tok/s | loop, tok/s | TTFT p50, p95 ms | TPOT p50, p95 ms | by Little's law |
| --- | --- | --- | --- | --- | --- | --- |
"""
SPEED_NOTES = """
- **One stream** is within {alone:.1f} % of what is expected. Rates of one stream are by its TPOT.
- **Several streams** in 16 bits are within {plain:.0f} %. In FP8 and 4 bits they were expected up to
  {most:.0f} % too fast: this version and this host take longer for a step with a prompt. [Beside
  0.26](../h100/vllm-0.32.md), on one host of H100s, the version is the smaller part. {held} of {all}
  figures are in the band of the plan, which is wide for a version that was not timed. Two loops are not
  steady, and are no truth.
- **With 256 streams** one front end limits this version: in FP8 the engine had {running:.0f} requests at a
  time, and a first token took {ttft:,.0f} ms, {engine:,.0f} of them by the engine's own count. `tacho
  probe` says `FrontendBound`, and names `--api-server-count`.
- Of 0.26 on another host the 8B in 16 bits had {former} tok/s at 16, 64, 128 and 256 streams.

## The probe beside loops

Each level by the probe stands between two loops of it, as [with vLLM 0.26](goals.md).

"""
END = """
Both levels that miss the goal of tokens a second say so themselves: `NotSteady` at 64 streams, and
`FrontendBound` at 256. Nothing acts on a figure with such a flag.
"""


def started(folder: str) -> list[Start]:
    return [start for start in starts() if start.name.startswith(f"{folder}/")]


def planned_before(folder: Path) -> dict[str, int]:
    """Tokens of the KV cache that were planned before each start."""
    found: dict[str, int] = json.loads((folder / "planned.json").read_text())["kvTokens"]
    return found


def memory(folder: Path) -> Iterator[str]:
    before = planned_before(folder)
    for start in started(folder.name):
        told, errors = start.row["actual"], start.errors
        found = told["kvTokens"]
        now = round(found * (1 + errors["kvTokens"]))
        yield row(
            start.name.removeprefix(f"{folder.name}/"),
            f"{told['weightsGiB'] * (1 + errors['weights']):.2f} / {told['weightsGiB']:.2f}",
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
    for start in started(folder):
        told = ("model", "method", "version", "args", "maxModelLen", "gpu", "gpus")
        cell = {key: start.row[key] for key in told}
        file = (RAW.parents[2] / start.row["source"]).with_suffix(".json")
        for level in json.loads(file.read_text())["levels"] if file.exists() else ():
            alone = level["streams"] == 1
            rate = level["output_tokens_per_second"]["server"]
            yield (
                Row(
                    name=Path(start.row["source"]).stem,
                    figure="one stream" if alone else "load",
                    kind="loop",
                    cell=cell,
                    measured=1e3 / level["tpot_ms"]["p50"] if alone else rate,
                    streams=level["streams"],
                    input_tokens=512,
                    output_tokens=200,
                ),
                level,
            )


def expected(of: Row) -> float:
    law, kernel, _ = timing(SPEED, of.step.placement)
    return predicted(of, law, kernel)


def _held(of: Row) -> bool:
    """Whether the plan's band holds the figure."""
    law, kernel, _ = timing(SPEED, of.step.placement)
    return Judged(of, "", predicted(of, law, kernel), loop_of(of, law, kernel)).held


def speed(folder: Path) -> Iterator[str]:
    for of, level in sorted(loops(folder.name), key=lambda pair: (pair[0].name, pair[0].streams)):
        said = (f"{level[name]['p50']:,.{digits}f}, {level[name]['p95']:,.{digits}f}" for name, digits in
                (("ttft_ms", 0), ("tpot_ms", 1)))  # fmt: skip
        yield row(
            of.name,
            str(of.streams),
            number(expected(of)) + (f" ({share(expected(of), of.measured)})" if level["steady"] else ""),
            number(of.measured),
            *said,
            f"{level['streams_by_littles_law']:.0f}" + ("" if level["steady"] else ", not steady"),
        )


def page() -> str:
    alone = [abs(expected(of) / of.measured - 1) for of, _ in loops(FOLDER.name) if of.streams == 1]
    judged = [of for of, level in loops(FOLDER.name) if level["steady"]]
    several = [(of, abs(expected(of) / of.measured - 1)) for of in judged if of.streams > 1]
    busy = next(level for of, level in loops(FOLDER.name) if of.name.endswith("fp8") and of.streams == 256)
    former = json.loads((FORMER / "8b-bf16.json").read_text())["levels"]
    rates = {
        streams: [each["output_tokens_per_second"]["server"] for each in former if each["streams"] == streams]
        for streams in (16, 64, 128, 256)
    }
    means = [number(sum(found) / len(found)) for found in rates.values()]
    return "".join(
        (
            *(HEAD, *memory(FOLDER), MEMORY.format(**_log()), *speed(FOLDER)),
            SPEED_NOTES.format(
                alone=100 * max(alone),
                plain=100 * max(error for of, error in several if of.cell["method"] == "none"),
                most=100 * max(error for _, error in several),
                held=sum(map(_held, judged)),
                all=len(judged),
                running=busy["running_mean"],
                ttft=busy["ttft_ms"]["p50"],
                engine=1e3 * busy["engine_seconds"]["time_to_first_token_seconds_mean"],
                former=f"{', '.join(means[:-1])} and {means[-1]}",
            ),
            *(probe.page(comparison(FOLDER / "goals")), END),
        )
    )
