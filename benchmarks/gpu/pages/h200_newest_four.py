"""docs/results/h200/vllm-0.32-four.md: memory over several GPUs, the probe's goals, and slower revisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h200_newest import memory, planned_before, speed, started
from benchmarks.gpu.pages.recorded import RAW, number, row
from benchmarks.planner.cases import predict
from tacho_contract.launch import ServiceLevel
from tacho_contract.units import GIB
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.judge import Kind, judge
from tacho_operator.core.measurement.states import STALE

FOLDER = RAW / "vllm-0.32-four"
FAR = "glm-air-as-qwen3-fp8-tp2"
HEAD = """# vLLM 0.32 on four H200s

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/vllm-0.32-four),
where the commands are. 2026-11-28, by hand on one host: four servers at a time, one on each GPU with 16 of
the cores, then one over two GPUs and one over all four.

## Memory

KV-cache tokens. All were planned by the code of before the starts, and no rule was changed by them:

| start | weights GiB | planned before | planned now | found |
| --- | --- | --- | --- | --- |
"""
MEMORY = """
- **{near} of {all}** starts were within {most:.2f} %. This version had not run over four GPUs, nor with the
  three switches of `gate`.
- **One was {far:+.2f} % off**, {gib:.2f} GiB too much: the sizes of GLM-4.5-Air in FP8 over two GPUs. Its
  process held {held:.2f} GiB outside weights and cache, and {held_planned:.2f} were planned. Over one GPU
  [it held what was planned](vllm-0.32-unseen.md), so we do not know why.

## Speed over several GPUs

Loops of 8 s, in tok/s; of one stream by its TPOT. Expected is what the plan says, from timings of 0.26:

| server | streams | expected | loop | TTFT p50, p95 ms | TPOT p50, p95 ms | by Little's law |
| --- | --- | --- | --- | --- | --- | --- |
"""
SPEED = """
No tuned table for Triton's kernel was in vLLM's wheel for these shapes, and vLLM says so in its log. A loop
that is not steady is no truth.

## The probe beside loops

Each level by the probe stands between two loops of it, of 16 s here, as [with vLLM 0.26](goals.md). The
server of the 0.6B had four front ends.

"""
END = """
- **In 16 bits** the probe meets its goal for tok/s at all four levels.
- **In FP8** it meets it at three of four. Where it does not, its two loops differ by more than the goal.
- **The 0.6B**: four front ends, the engine, and the probe or eight clients of the loop had 16 cores. From 128
  streams on the probe found more than the loop did, and flags both levels. At 16 it told no rate.
"""

REVISIONS = """
## Revisions of one server, as a gate sees them

Two searches of each in turn: a TTFT of 1 s and a TPOT of 25 ms for 95 of 100 requests. [The
gate](../../how-to/gate.md) compares each with the first of `default`, at its default tolerances, and
rejects what two measurements find worse.

| revision | requests at once | tok/s | TPOT, TTFT alone, ms | the gate's judgement |
| --- | --- | --- | --- | --- |
"""
GATE = """
- **`--enforce-eager`** is rejected by three figures in both.
- **`--max-num-seqs 64`** carries 29 % fewer tokens a second at this level. The interval of that is so wide
  that throughput decides nothing, and its TPOT is shorter under load. Its first search is not steady. In the
  second a TTFT is worse, and another measurement would have to agree. The interval counted how TPOT varies,
  though TTFT sets this edge; since this run it does not.
- **`--max-num-batched-tokens 512`** is admitted: its lower bound is within the tolerance. Beyond its service
  level it is up to 20 % slower.
"""
LEVEL = ServiceLevel(ttft_milliseconds=1000, tpot_milliseconds=25)
ORDER = ("default", "eager", "64-sequences", "512-batched")


def _revisions() -> Iterator[str]:
    found = {
        (name, time): _entry(FOLDER / f"gate/{name}-ttft-1s-tpot-25ms-{time}.json")
        for name in ORDER
        for time in (1, 2)
    }
    baseline = found["default", 1]
    for (name, time), entry in found.items():
        said = "the baseline"
        if entry is not baseline:
            verdict = judge(entry, baseline, GateSpec(), LEVEL, like_for_like=True)
            why = verdict.what if verdict.kind is Kind.UNJUDGED else ", ".join(verdict.figures)
            said = f"{verdict.kind.value}: {why}" if why else verdict.kind.value
        capacity, alone = entry.capacity, entry.single_stream
        assert capacity is not None
        assert alone is not None
        rate, floor = capacity.output_tokens_per_second, "≥ " if capacity.boundary == "Floor" else ""
        yield row(
            f"{name}, {time}",
            f"{floor}{capacity.concurrency}",
            f"{floor}{number(rate)} ± {capacity.ci_percent:.0f} %" if rate else "-",
            f"{alone.tpot_milliseconds_p50:.1f}, {alone.ttft_milliseconds_p50:.0f}",
            said,
        )


def _entry(file: Path) -> MeasurementEntry:
    return MeasurementEntry.model_validate(json.loads(file.read_text()) | {"state": STALE})


def _off(tokens: int, found: int) -> float:
    return 100 * (tokens / found - 1)


def page() -> str:
    found = {start.name.removeprefix(f"{FOLDER.name}/"): start for start in started(FOLDER.name)}
    tokens = planned_before(FOLDER)
    before = {name: _off(tokens[s.name], s.row["actual"]["kvTokens"]) for name, s in found.items()}
    near = [abs(error) for name, error in before.items() if name != FAR]
    far = found[FAR].row["actual"]
    levels = probe.page(comparison(FOLDER / "goals"))
    return "".join(
        (
            *(HEAD, *memory(FOLDER)),
            MEMORY.format(
                near=len(near),
                all=len(before),
                most=max(near),
                far=before[FAR],
                gib=far["kvGiB"] * before[FAR] / 100,
                held=far["nonTorchGiB"],
                held_planned=predict(found[FAR].case).non_torch_bytes / GIB,
            ),
            *(cells for cells in speed(FOLDER) if "-tp" in cells),
            *(SPEED, levels, END),
            *(REVISIONS, *_revisions(), GATE),
        )
    )
