"""The section of docs/results/h200/goals.md on models over two GPUs."""

from __future__ import annotations

from benchmarks.gpu.pages.h200_goals_experts import GOAL, Level, cells, percent, recorded
from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read

FOLDER = RAW / "goals-tensor"
HOST = FOLDER / "first"
MODELS = {"8b-bf16-tp2": "Llama-3.1-8B, 16 bits", "32b-bf16-tp2": "Qwen2.5-32B, 16 bits"}


def over_two() -> list[Level]:
    return list(recorded(FOLDER, MODELS))


def section() -> str:
    found = over_two()
    errors = [off for level in found if (off := level.off) is not None]
    singly = [percent(level.found, each) for level in found for each in level.rates]
    search = read(HOST / "8b-bf16-tp2-tpot-10ms.json")
    capacity, arrivals = search["capacity"], search["goodput"]
    (loop,) = levels(HOST / "8b-bf16-tp2.json", int(capacity["concurrency"]))
    return fill(
        "h200_goals_tensor",
        rows=(cells(level, MODELS) for level in found),
        judged=len(errors),
        levels=str(len(found)),
        within=sum(abs(error) <= GOAL for error in errors),
        goal=GOAL,
        errors=" and ".join(f"{error:+.1f} %" for error in sorted(errors)),
        apart=percent(max(max(level.rates) / min(level.rates) for level in found), 1),
        lowest=min(singly),
        highest=max(singly),
        streams=str(capacity["concurrency"]),
        boundary=capacity["boundary"],
        rate=number(capacity["outputTokensPerSecond"]),
        interval=float(capacity["ciPercent"]),
        kept=float(arrivals["compliancePercent"]),
        loop=number(rate(loop)),
        off=percent(float(capacity["outputTokensPerSecond"]), rate(loop)),
        tpot=loop["tpot_ms"]["p95"],
        others=max(
            float(each["tokens_per_event"]) for level in found for each in level.loops if each is not loop
        ),
        per_event=float(loop["tokens_per_event"]),
    )
