"""lab/h200/vllm-0.32-unseen.md: models with experts that no rule had seen, and FP8 on that host."""

from __future__ import annotations

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h200_newest import (
    expected,
    loops,
    memory,
    off_before,
    off_now,
    planned_fits,
    started,
    too_much_gib,
)
from benchmarks.gpu.pages.recorded import RAW, fill, number, row, share
from benchmarks.planner.speed_rows import Row

FOLDER = RAW / "vllm-0.32-unseen"
FAR, OTHER = "glm-air-as-qwen3-fp8", "ernie-21b-as-qwen3-fp8"


def _expected(of: Row) -> str:
    return f"{number(expected(of))} ({share(expected(of), of.measured)})"


def page() -> str:
    found = started(FOLDER.name)
    other = found[OTHER]
    alone = (of for of, _ in loops(FOLDER.name) if of.streams == 1)
    levels, _ = probe.page(comparison(FOLDER / "goals")).split("\n## Edges", 1)
    return fill(
        "h200_newest_unseen",
        memory=memory(FOLDER),
        **planned_fits(FOLDER, FAR),
        far_now=off_now(found[FAR]),
        other=off_before(FOLDER)[OTHER],
        other_now=off_now(other),
        other_gib=too_much_gib(other, off_now(other)),
        alone=(row(of.name, _expected(of), number(of.measured)) for of in alone),
        levels=levels,
    )
