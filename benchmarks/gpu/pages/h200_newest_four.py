"""lab/h200/vllm-0.32-four.md: memory over several GPUs, the probe's goals, and slower revisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h200_graphs import by_law, span
from benchmarks.gpu.pages.h200_newest import memory, planned_fits, speed, started
from benchmarks.gpu.pages.loops import levels, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row
from benchmarks.planner.cases import predict
from tacho_contract.launch import ServiceLevel
from tacho_contract.units import GIB
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.judge import Kind, judge
from tacho_operator.core.measurement.states import STALE

FOLDER = RAW / "vllm-0.32-four"
FAR = "glm-air-as-qwen3-fp8-tp2"
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
    return MeasurementEntry.model_validate(read(file) | {"state": STALE})


def too_fast(model: str) -> list[float]:
    """By how many percent more the plan's law expects than each steady loop of this model in 16 bits had."""
    return [
        100 * (by_law(f"qwen3-{model}", "none", "0.32.0", level["streams"], None) / rate(level) - 1)
        for level in levels(FOLDER / f"goals/{model}.json")
        if level["steady"]
    ]


def page() -> str:
    far = started(FOLDER.name)[FAR]
    return fill(
        "h200_newest_four",
        memory=memory(FOLDER),
        **planned_fits(FOLDER, FAR),
        held=far.row["actual"]["nonTorchGiB"],
        held_planned=predict(far.case).non_torch_bytes / GIB,
        speed=(cells for cells in speed(FOLDER) if "-tp" in cells),
        levels=probe.page(comparison(FOLDER / "goals")),
        small=span(too_fast("0.6b")),
        revisions=_revisions(),
    )
