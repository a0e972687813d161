"""A figure may be absent only with the flags of a busy machine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.figures import decode_rate, throughput


def status(flags: list[str], capacity: dict[str, Any] | None, **summary: str) -> dict[str, Any]:
    entry = {"state": "Partial", "flags": flags, "capacity": capacity}
    return {"summary": summary, "measurements": [entry, {"state": "Stale"}]}


def test_a_figure_that_is_there_is_returned() -> None:
    shown = {"outputTokensPerSecond": "12.5", "ttftMilliseconds": "80"}
    assert throughput(status([], {"outputTokensPerSecond": "12.5"}, **shown)) == 12.5
    assert decode_rate({"singleStream": {"decodeTokensPerSecond": 20.0}}) == 20.0


@pytest.mark.parametrize(
    ("flags", "capacity"),
    [(["BudgetExhausted", "Incomplete"], None), (["Contended", "Incomplete"], None), (["NotSteady"], {})],
)
def test_a_busy_machine_explains_why_there_is_none(flags: list[str], capacity: dict[str, Any] | None) -> None:
    assert throughput(status(flags, capacity)) is None
    assert decode_rate({"flags": flags}) is None


@pytest.mark.parametrize(
    ("flags", "capacity"),
    [([], None), (["Incomplete"], None), (["Contended"], None), (["Contended"], {}), (["Incomplete"], {})],
)
def test_a_broken_probe_is_no_busy_machine(flags: list[str], capacity: dict[str, Any] | None) -> None:
    with pytest.raises(AssertionError):
        throughput(status(flags, capacity))


def test_a_single_stream_without_a_rate_needs_a_flag() -> None:
    with pytest.raises(AssertionError):
        decode_rate({"singleStream": {}, "flags": ["Incomplete"]})
