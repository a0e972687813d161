"""docs/results/h200/vllm-0.32-four.md: memory over several GPUs, the probe's goals, and slower revisions."""

from __future__ import annotations

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h200_newest import memory, planned_before, speed, started
from benchmarks.gpu.pages.recorded import RAW
from benchmarks.planner.cases import predict
from tacho_contract.units import GIB

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
        )
    )
