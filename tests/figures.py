"""Figures of a machine that may have other work too: clean, provisional, or absent with the flags why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tacho_contract.measurement import INVALIDATING, NOT_STEADY

THERE = ("MeasurementComplete", "MeasurementPartial", "CapacityFloor")
BUSY = INVALIDATING | {"BudgetExhausted"}
"""Flags of a machine with too little time for the engine."""
INCOMPLETE = "Incomplete"


def there(measured: Mapping[str, Any]) -> bool:
    """Whether the condition Measured says that there are figures, clean or not."""
    return measured.get("status") == "True" or measured.get("reason") == "MeasurementProvisional"


def moved_by(measured: Mapping[str, Any]) -> frozenset[str]:
    """The flags that make them provisional, none where they are clean; a rate that is not known is NotSteady.
    AssertionError where the condition does not say which, or names one that makes none provisional."""
    if measured["status"] == "True":
        assert measured["reason"] in THERE, measured
        assert "provisional" not in measured["message"].lower(), measured
        return frozenset()
    assert (measured["status"], measured["reason"]) == ("Unknown", "MeasurementProvisional"), measured
    if "its interval exceeds 100 %" in measured["message"]:
        return frozenset({NOT_STEADY})
    named = re.search(r"[Pp]rovisional \(([\w, ]+)\)[.:…]", measured["message"])
    assert named, measured
    flags = frozenset(named[1].split(", "))
    assert flags <= INVALIDATING, measured
    return flags


def throughput(status: Mapping[str, Any]) -> float | None:
    """Output tokens per second in status.summary, with the TTFT that belongs to it. None where a busy machine
    prevented the measured value; AssertionError where the measurement's flags do not say so."""
    (entry,) = [item for item in status["measurements"] if item["state"] != "Stale"]
    summary, flags = status["summary"], frozenset(entry.get("flags") or ())
    capacity = entry.get("capacity")
    if capacity is None or "outputTokensPerSecond" not in capacity:
        expected = INCOMPLETE if capacity is None else NOT_STEADY
        assert expected in flags, entry
        assert flags & BUSY, entry
        assert "outputTokensPerSecond" not in summary, status
        print(f"no throughput: {', '.join(sorted(flags))}")
        return None
    assert float(summary["ttftMilliseconds"]) > 0
    found = float(summary["outputTokensPerSecond"])
    assert found > 0
    return found


def decode_rate(measurement: Mapping[str, Any]) -> float | None:
    """Output tokens per second of a single stream, in a report or in status.measurements. None and
    AssertionError as of ``throughput``."""
    single, flags = measurement.get("singleStream"), frozenset(measurement.get("flags") or ())
    if single is None or single.get("decodeTokensPerSecond") is None:
        assert flags & BUSY, measurement
        print(f"no rate of a single stream: {', '.join(sorted(flags))}")
        return None
    found = float(single["decodeTokensPerSecond"])
    assert found > 0
    return found


IDLE_SHARE = 0.5
"""Of the CPU time: a machine that idles so much has room for a measurement."""


class Idleness:
    """How much of this machine's CPU time nobody used since a moment: a witness beside the probe's flags."""

    def __init__(self) -> None:
        self._before = self._times()

    @staticmethod
    def _times() -> tuple[int, int]:
        """(idle, all) ticks since the machine's start, of all CPUs."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)

    def share(self) -> float:
        """Idle CPU time over all CPU time, 0 to 1."""
        (idle, every), (idle_before, every_before) = self._times(), self._before
        return (idle - idle_before) / max(1, every - every_before)
