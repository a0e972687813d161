"""docs/results/h200/vllm-0.32-unseen.md: models with experts that no rule had seen, and FP8 on that host."""

from __future__ import annotations

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h200_newest import expected, loops, memory, planned_before, started
from benchmarks.gpu.pages.recorded import RAW, number, row, share
from benchmarks.planner.speed_rows import Row

FOLDER = RAW / "vllm-0.32-unseen"
FAR = ("glm-air-as-qwen3-fp8", "ernie-21b-as-qwen3-fp8")
HEAD = """# vLLM 0.32 on an H200: experts that no rule had seen

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/vllm-0.32-unseen),
where the commands are. 2026-11-28, by hand, one server at a time on one H200 with 16 cores.
[Earlier starts](vllm-0.32-experts.md) had set the rules.

## Memory

KV-cache tokens, planned before the start, and with the rules that were changed after it:

| start | weights GiB | planned before | planned now | found |
| --- | --- | --- | --- | --- |
"""
MEMORY = """
- **Before**, {near} of {all} starts were within {most:.2f} %.
- **One was {far:+.1f} % off**, {gib:.2f} GiB too much: the sizes of GLM-4.5-Air, whose attention is three
  times as wide as its hidden state. vLLM estimated its graphs at 2.78 GiB, and 1.31 were planned; its
  activations took 0.89, and 0.35 were planned.
- **Now** graphs grow with the width of queries, keys and values in each layer, and attention can be the peak.
  That start is {far_now:+.2f} % off, and two GPUs are nearer too ([earlier starts](vllm-0.32-experts.md)).
- **ERNIE's sizes** got worse, from {other:+.2f} to {other_now:+.2f} %: {other_gib:.2f} GiB too much. It has
  five queries to a key, and vLLM estimated 0.2 GiB more for its graphs than the rule.

## One stream

By its TPOT, in tok/s. Expected is what the plan says, from timings of 0.26:

| server | expected | loop |
| --- | --- | --- |
"""
GOALS = """
No tuned table for Triton's kernel was in vLLM's wheel for these shapes, and vLLM says so in its log.

## The probe beside loops, in FP8

The shape of Llama-3.1-8B. Each level by the probe stands between two loops of it, of 16 s here, as [with vLLM
0.26](goals.md).

"""
END = """
This host was not steady: loops of one level, some minutes apart, differ by more than 3 % at three levels of
four. So they are no truth for a goal of 3 %. At 128 streams they agree, and the probe misses its goal. No
service level was searched.
"""


def _off(tokens: int, found: int) -> float:
    return 100 * (tokens / found - 1)


def _expected(of: Row) -> str:
    return f"{number(expected(of))} ({share(expected(of), of.measured)})"


def page() -> str:
    found = {start.name.rsplit("/", 1)[1]: start for start in started(FOLDER.name)}
    tokens = planned_before(FOLDER)
    before = {name: _off(tokens[s.name], s.row["actual"]["kvTokens"]) for name, s in found.items()}
    now = {name: 100 * start.errors["kvTokens"] for name, start in found.items()}
    far, other = FAR
    near = [abs(error) for name, error in before.items() if name != far]
    alone = (of for of, _ in loops(FOLDER.name) if of.streams == 1)
    levels, _ = probe.page(comparison(FOLDER / "goals")).split("\n## Edges", 1)
    return "".join(
        (
            *(HEAD, *memory(FOLDER)),
            MEMORY.format(
                near=len(near),
                all=len(before),
                most=max(near),
                far=before[far],
                gib=found[far].row["actual"]["kvGiB"] * before[far] / 100,
                far_now=now[far],
                other=before[other],
                other_now=now[other],
                other_gib=found[other].row["actual"]["kvGiB"] * now[other] / 100,
            ),
            *(row(of.name, _expected(of), number(of.measured)) for of in alone),
            *(GOALS, levels, END),
        )
    )
