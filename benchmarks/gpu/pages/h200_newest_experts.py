"""docs/results/h200/vllm-0.32-experts.md: models with experts and two GPUs, by the default version."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.pages.h200_newest import expected, loops, memory, planned_before, speed, started
from benchmarks.gpu.pages.recorded import RAW, number
from benchmarks.planner.speed_rows import Row

FOLDER = RAW / "vllm-0.32-experts"
HEAD = """# vLLM 0.32 on H200s: experts, and two GPUs

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/vllm-0.32-experts),
where the commands are. 2026-11-28, by hand: two servers at a time, one on each GPU with 16 of the cores,
then one over both. [The first host](vllm-0.32.md) ran dense models alone.

## Memory

KV-cache tokens, planned before the start, and with the rules for experts that were read from vLLM's source
after it:

| start | weights GiB | planned before | planned now | found |
| --- | --- | --- | --- | --- |
"""
MEMORY = """
- **Dense models**, also over two GPUs, were planned within {dense:.2f} % before.
- **With experts** plans were {low:+.2f} to {high:+.2f} % off before, {gib:.2f} GiB too much at most. Their
  parts were wrong: 0.32 compiles these models with copies of their inputs too, counts the experts' workspace
  as held, and estimates their graphs from two of them.
- **Now** one GPU is within {now:.2f} %, and a start [on an H100](../h100/vllm-0.32.md) went from +0.55 to
  {h100} %. Two constants, of the graphs, are fitted to these and to [five later starts](vllm-0.32-unseen.md),
  which were planned with other ones before.
- **Two GPUs with experts** are planned {two:.2f} % too low.

## Speed

Loops of 8 s, in tok/s; of one stream by its TPOT. Expected is what the plan says, from timings of 0.26:

| server | streams | expected | loop | TTFT p50, p95 ms | TPOT p50, p95 ms | by Little's law |
| --- | --- | --- | --- | --- | --- | --- |
"""
NOTES = """
- **NF4 and GPTQ of an 8B** are within {dense:.0f} % of what is expected here. On the first host up to
  {first:.0f} % more was expected than the same version gave: the rest is the host.
- **Experts** differ by up to {most:.0f} %, mostly faster than expected. No tuned table for Triton's kernel
  was in vLLM's wheel for these shapes but for the one over two GPUs, and vLLM says so in its log.
- **gpt-oss-20b** has {fewer} tok/s with 256 streams and {more} with 64. A 0.26 fell likewise on two of
  three hosts, and the plan expects it.
- The last server was stopped after its loop of one stream, as the machine's time was over.
"""


def _too_fast(found: tuple[Row, dict[str, Any]]) -> float:
    of, level = found
    four = of.cell["method"] in ("gptq", "bnb-nf4") and level["steady"]
    return expected(of) / of.measured - 1 if four else 0.0


def page() -> str:
    found = {start.name.rsplit("/", 1)[1]: start for start in started(FOLDER.name)}
    tokens = planned_before(FOLDER)
    before = {
        name: 100 * (tokens[start.name] / start.row["actual"]["kvTokens"] - 1)
        for name, start in found.items()
    }
    experts = [name for name in found if not name.startswith("llama")]
    too_much = max(found[name].row["actual"]["kvGiB"] * before[name] / 100 for name in experts)
    alone = [name for name in experts if not name.endswith("-tp2")]
    h100 = next(s for s in started("h100/vllm-0.32/0.32") if s.name.endswith("qwen3-30b-a3b-none"))
    judged = [(of, expected(of) / of.measured - 1) for of, level in loops(FOLDER.name) if level["steady"]]
    dense = [error for of, error in judged if of.name.startswith("llama") and not of.name.endswith("-tp2")]
    oss = {of.streams: of.measured for of, _ in loops(FOLDER.name) if of.name.startswith("gpt-oss")}
    return "".join(
        (
            *(HEAD, *memory(FOLDER)),
            MEMORY.format(
                dense=max(abs(before[name]) for name in found if name not in experts),
                low=min(before[name] for name in experts),
                high=max(before[name] for name in experts),
                gib=too_much,
                now=100 * max(abs(found[name].errors["kvTokens"]) for name in alone),
                h100=f"{100 * h100.errors['kvTokens']:+.2f}",
                two=-100 * found["qwen3-30b-a3b-none-tp2"].errors["kvTokens"],
            ),
            *speed(FOLDER),
            NOTES.format(
                dense=100 * max(map(abs, dense)),
                first=100 * max(map(_too_fast, loops("vllm-0.32"))),
                most=100 * max(abs(error) for of, error in judged if of.name in experts),
                fewer=number(oss[256]),
                more=number(oss[64]),
            ),
        )
    )
