"""The section of benchmarks/lab/h200/goals.md on models over two GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.pages.h200_goals_experts import GOAL, Level, cells, percent, recorded
from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row

FOLDER = RAW / "goals-tensor"
MODELS = {
    "8b-bf16-tp2": "Llama-3.1-8B, 16 bits",
    "8b-fp8-tp2": "Llama-3.1-8B, FP8",
    "32b-bf16-tp2": "Qwen2.5-32B, 16 bits",
}
FRONT_ENDS = {"first": "one", "second": "four"}
"""Of each host's servers."""
SEARCHES = {
    "first/8b-bf16-tp2-tpot-10ms": "TPOT 10 ms",
    "second/8b-bf16-tp2-tpot-10ms": "TPOT 10 ms",
    "second/32b-bf16-tp2-tpot-25ms": "TPOT 25 ms",
}


def over_two(host: str = "*") -> list[Level]:
    return list(recorded(FOLDER, MODELS, host))


def search(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a search found, and the loop of its streams."""
    found = read(FOLDER / f"{name}.json")
    model = name.rpartition("-tpot")[0]
    (loop,) = levels(FOLDER / f"{model}.json", int(found["capacity"]["concurrency"]))
    return found, loop


def searched(name: str) -> str:
    found, loop = search(name)
    capacity = found["capacity"]
    claimed = float(capacity["outputTokensPerSecond"])
    model = MODELS[Path(name).name.rpartition("-tpot")[0]]
    return row(
        f"{model}, {FRONT_ENDS[Path(name).parent.name]}",
        SEARCHES[name],
        f"{capacity['concurrency']} ({capacity['boundary']})",
        f"{number(claimed)} ± {float(capacity['ciPercent']):.0f} %",
        f"{number(rate(loop))} ({percent(claimed, rate(loop)):+.1f} %)",
        f"{loop['tpot_ms']['p95']:.1f}",
        f"{float(found['goodput']['compliancePercent']):.0f} %",
        "yes" if capacity.get("verified") else "**no**",
    )


def section() -> str:
    found = over_two()
    errors = [off for level in found if (off := level.off) is not None]
    apart = [max(level.rates) / min(level.rates) for level in found if len(level.rates) > 1]
    _, behind = search("first/8b-bf16-tp2-tpot-10ms")
    _, more = search("second/8b-bf16-tp2-tpot-10ms")
    _, fewer = levels(FOLDER / "second/8b-bf16-tp2.json", 64)
    most = [rate(loop) for host in FRONT_ENDS for loop in levels(FOLDER / host / "8b-bf16-tp2.json", 256)]
    return fill(
        "h200_goals_tensor",
        rows=(
            cells(level, {name: f"{model}, {ends}" for name, model in MODELS.items()})
            for host, ends in FRONT_ENDS.items()
            for level in over_two(host)
        ),
        searches=map(searched, SEARCHES),
        judged=len(errors),
        levels=str(len(found)),
        within=sum(abs(error) <= GOAL for error in errors),
        goal=GOAL,
        lowest=min(errors),
        highest=max(errors),
        apart=percent(max(apart), 1),
        more=str(more["streams"]),
        fewer=str(fewer["streams"]),
        sooner=more["tpot_ms"]["p50"],
        later=fewer["tpot_ms"]["p50"],
        per_event=float(behind["tokens_per_event"]),
        four=max(
            float(loop["tokens_per_event"])
            for name in MODELS
            for loop in levels(FOLDER / "second" / f"{name}.json")
        ),
        one_front_end=number(max(most[:2])),
        four_front_ends=number(min(most[2:])),
    )
