"""Levels of vLLM on an H200 (8B, 16 bits) of which the model knows only one stream, the highest level and the
probe's open arrivals."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.loops import Level, closed_loop
from tacho_simulate.measured_model import from_measurement

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
    straight = simulated(entry.model_copy(update={"latency": None}), level)
    assert 1000 * straight.tpot_seconds.p50 > (1 + straight_percent / 100) * point.tpot_milliseconds_p50
