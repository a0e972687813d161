"""One replica's latency curve is that of the llama.cpp that it was measured of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.autoscaling.curves import rows
from tacho_operator.api.status.measurement import MeasurementEntry

MEASURED = sorted((Path(__file__).parents[3] / "benchmarks/llamacpp/h200").glob("*.yaml"))
CPU = Path(__file__).parents[3] / "benchmarks/llamacpp/cpu/streams.json"
AGREES_PERCENT, EXACT_PERCENT = 5.0, 1.0


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_first_tokens_gaps_and_throughput_agree_at_every_level(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    entry = MeasurementEntry.model_validate(document["status"]["measurements"][0])
    found = [row for row in rows(path.stem, entry, None) if row["law"] == "all"]
    assert [row["streams"] for row in found] == [point.concurrency for point in entry.curve]
    for row in found:
        for what in ("ttftMs", "tpotMs", "tokensPerSecond"):
            assert abs(row[what]["offPercent"]) <= AGREES_PERCENT, (row["streams"], what)
        assert abs(row["tpotMs"]["offPercent"]) <= EXACT_PERCENT, row["streams"]
        # As its own figures have it: of a few seconds the whole requests are the short ones.
        tokens = entry.workload.output_tokens if entry.workload else None
        whole = row["ttftMs"]["measured"] + ((tokens or 1) - 1) * row["tpotMs"]["measured"]
        assert row["endToEndMs"]["simulated"] == pytest.approx(whole, rel=AGREES_PERCENT / 100), row[
            "streams"
        ]


def test_long_windows_on_a_cpu_agree_from_end_to_end() -> None:
    """But for one time to a first token: what else ran there slowed prompts alone by a tenth."""
    document = json.loads(CPU.read_text())
    (item,) = document["status"]["measurements"]
    slots = document["spec"]["context"]["concurrency"]
    found = [row for row in rows("cpu", MeasurementEntry.model_validate(item), slots) if row["law"] == "all"]
    assert [row["streams"] for row in found] == [1, 2, 4, 8]
    for row in found:
        for what in ("tpotMs", "endToEndMs", "tokensPerSecond"):
            assert abs(row[what]["offPercent"]) <= AGREES_PERCENT, (row["streams"], what)
    assert sum(abs(row["ttftMs"]["offPercent"]) <= AGREES_PERCENT for row in found) == 3
