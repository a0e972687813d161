"""Which of an engine's counters show that it works for other clients, while it does not answer the probe."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.probe.load.first_answer import serves_others


@pytest.mark.parametrize(
    ("before", "now", "serves"),
    [
        ({"generated_tokens": 5.0}, {"generated_tokens": 6.0, "running": 2.0}, True),
        ({"ttft_seconds_count": 5.0}, {"ttft_seconds_count": 6.0, "running": 2.0}, True),
        ({"steps": 5.0}, {"steps": 6.0, "running": 2.0}, True),
        ({}, {"generated_tokens": 6.0, "running": 2.0}, True),
        ({}, {"generated_tokens": 6.0, "running": 1.0, "waiting": 1.0}, True),
        ({}, {"generated_tokens": 6.0, "unfinished": 2.0}, True),
        ({}, {"generated_tokens": 6.0, "unfinished": 1.0}, False),
        ({}, {"generated_tokens": 6.0, "running": 0.0, "unfinished": 2.0}, False),
        ({}, {"generated_tokens": 6.0}, False),
        ({}, {"generated_tokens": 0.0, "running": 9.0}, False),
        ({}, {"running": 9.0}, False),
        ({"generated_tokens": 5.0}, {"generated_tokens": 4.0, "running": 9.0}, False),
        ({"generated_tokens": 5.0}, {"running": 9.0}, False),
    ],
)
def test_work_since_and_more_requests_than_the_probes(
    before: dict[str, Any], now: dict[str, Any], *, serves: bool
) -> None:
    assert serves_others(EngineCounters(**before), EngineCounters(**now)) is serves
