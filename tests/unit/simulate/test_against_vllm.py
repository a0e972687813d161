"""Levels of vLLM on an H200 (8B, 16 bits) of which the model knows only one stream, the highest level and the
probe's open arrivals."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest
import yaml

from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.loops import Level, closed_loop
from tacho_simulate.measured_model import from_measurement, smoothed

FOLDER = Path(__file__).parents[3] / "benchmarks/gpu/h200"
PLANNED = 64
"""Requests at a time that were planned for; the engine ran four times as many."""


def measured(name: str) -> MeasurementEntry:
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return MeasurementEntry.model_validate(document["status"]["measurements"][0])


def simulated(entry: MeasurementEntry, level: int) -> Level:
    top = max(point.concurrency for point in entry.curve)
    ends = [point for point in entry.curve if point.concurrency in (1, top)]
    model = from_measurement(entry.model_copy(update={"curve": ends}), max_num_seqs=PLANNED)
    return closed_loop(
        model,
        concurrency=level,
        pause_seconds=model.step_seconds(level),
        input_tokens=512,
        output_tokens=200,
    )


@pytest.mark.parametrize(
    ("name", "level", "straight_percent"),
    [
        ("batched/batched-2048", 44, 5),
        ("batched/batched-2048", 83, 5),
        ("batched/batched-default", 136, 15),
        ("more/llama-8b-default-probe", 167, 5),
    ],
)
def test_a_level_that_was_left_out_comes_back(name: str, level: int, straight_percent: float) -> None:
    """``straight_percent``: how much slower, at least, it is on a straight line without the open arrivals."""
    entry = measured(name)
    (point,) = (point for point in entry.curve if point.concurrency == level)
    assert point.tpot_milliseconds_p50 is not None
    assert point.output_tokens_per_second is not None
    found = simulated(entry, level)
    assert 1000 * found.tpot_seconds.p50 == pytest.approx(point.tpot_milliseconds_p50, rel=0.1)
    assert found.output_tokens_per_second == pytest.approx(point.output_tokens_per_second, rel=0.1)
    print(f"{1000 * found.tpot_seconds.p50:.2f} ms, {found.output_tokens_per_second:.0f} tokens/s")
    straight = simulated(entry.model_copy(update={"latency": None, "fit": None}), level)
    assert 1000 * straight.tpot_seconds.p50 > (1 + straight_percent / 100) * point.tpot_milliseconds_p50


PROBED = (FOLDER / "probe", FOLDER.parent / "h100/probe", FOLDER.parent / "h100/goals")
"""SERVER.json and SERVER-again.json are long loops, SERVER-SEARCH.json is what a probe found."""


def long_loops(documents: dict[str, Any]) -> dict[str, dict[int, float]]:
    """TPOT in ms by streams, for each server."""
    found: dict[str, dict[int, list[float]]] = {}
    for name, document in documents.items():
        for level in document["levels"] if "command" in document else ():
            server = found.setdefault(name.removesuffix("-again"), {})
            server.setdefault(level["streams"], []).append(level["tpot_ms"]["p50"])
    return {server: {at: mean(each) for at, each in levels.items()} for server, levels in found.items()}


def test_the_line_of_all_levels_makes_searches_more_exact() -> None:
    """Medians of the errors between levels of searches beside long loops, with and without."""
    errors: tuple[list[float], list[float]] = ([], [])
    for folder in PROBED:
        documents = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
        loops = long_loops(documents)
        for name, document in documents.items():
            if "levels" in name or not document.get("fit"):
                continue
            truth = loops[max((server for server in loops if name.startswith(server)), key=len)]
            entry = MeasurementEntry.model_validate(document)
            seen = [point for point in entry.curve if point.steady]
            for curve, off in zip(
                (seen, [smoothed(point, entry.fit) for point in seen]), errors, strict=True
            ):
                gaps = sorted((point.concurrency, point.tpot_milliseconds_p50 or 0.0) for point in curve)
                for (low, first), (high, last) in pairwise(gaps):
                    off += [
                        abs((first + (at - low) / (high - low) * (last - first)) / gap - 1)
                        for at, gap in truth.items()
                        if low < at <= high
                    ]
    plain, smooth = map(median, errors)
    print(f"{100 * plain:.1f} % -> {100 * smooth:.1f} % at {len(errors[0])} levels")
    assert len(errors[0]) >= 40
    assert smooth < 0.75 * plain
