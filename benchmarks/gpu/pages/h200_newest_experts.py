"""benchmarks/lab/h200/vllm-0.32-experts.md: models with experts and two GPUs, by the default version."""

from __future__ import annotations

from benchmarks.gpu.pages.h200_newest import (
    loops,
    memory,
    off,
    off_before,
    off_now,
    speed,
    started,
    too_much_gib,
)
from benchmarks.gpu.pages.recorded import RAW, fill, number

FOLDER = RAW / "vllm-0.32-experts"


def page() -> str:
    found, before = started(FOLDER.name), off_before(FOLDER)
    experts = [name for name in found if not name.startswith("llama")]
    h100 = started("h100/vllm-0.32/0.32")["qwen3-30b-a3b-none"]
    judged = [of for of, level in loops(FOLDER.name) if level["steady"]]
    four = [of for of in judged if of.name.startswith("llama") and not of.name.endswith("-tp2")]
    first_host = [
        off(of)
        for of, level in loops("vllm-0.32")
        if of.cell["method"] in ("gptq", "bnb-nf4") and level["steady"]
    ]
    oss = {of.streams: of.measured for of, _ in loops(FOLDER.name) if of.name.startswith("gpt-oss")}
    return fill(
        "h200_newest_experts",
        memory=memory(FOLDER),
        dense=max(abs(before[name]) for name in found if name not in experts),
        low=min(before[name] for name in experts),
        high=max(before[name] for name in experts),
        gib=max(too_much_gib(found[name], before[name]) for name in experts),
        now=max(abs(off_now(found[name])) for name in experts if not name.endswith("-tp2")),
        h100=f"{off_now(h100):+.2f}",
        two=-off_now(found["qwen3-30b-a3b-none-tp2"]),
        speed=speed(FOLDER),
        four=100 * max(abs(off(of)) for of in four),
        first_host=100 * max(first_host),
        most=100 * max(abs(off(of)) for of in judged if of.name in experts),
        fewer=number(oss[256]),
        more=number(oss[64]),
    )
