"""Entries of ``status.measurements``, as an operator writes them."""

from __future__ import annotations

from typing import Any

from tacho_contract.launch import ServiceLevel

SLO = ServiceLevel(ttft_milliseconds=500, tpot_milliseconds=50)


def level(streams: int, rate: str, ttft: str, tpot: str, **more: Any) -> dict[str, Any]:
    return {
        "concurrency": streams,
        "outputTokensPerSecond": rate,
        "ttftMillisecondsP50": ttft,
        "tpotMillisecondsP50": tpot,
        "steady": True,
        **more,
    }


def entry(**changes: Any) -> dict[str, Any]:
    """A whole measurement under a service level, one of its levels disturbed."""
    whole = {
        "state": "Complete",
        "observedTime": "2026-11-20T12:00:00Z",
        "probeSeconds": 43,
        "workload": {"inputTokens": 512, "outputTokens": 200},
        "singleStream": {
            "decodeTokensPerSecond": "85.31",
            "decodeCiPercent": "1.1",
            "ttftMillisecondsP50": "31.2",
            "prefillTokensPerSecond": "16400.1",
            "stalls": 2,
            "stalledPercent": "3.2",
        },
        "capacity": {
            "concurrency": 24,
            "outputTokensPerSecond": "1841.2",
            "requestsPerSecond": "9.21",
            "ciPercent": "1.8",
            "boundary": "Edge",
            "basis": "SLO",
            "verified": True,
        },
        "saturation": {"concurrency": 64, "outputTokensPerSecond": "2110.7"},
        "curve": [
            level(1, "85.3", "31.2", "11.7", ciPercent="1.1", requests=9, sloMet=True),
            level(
                8, "610", "60", "13", ciPercent="2", requests=61, sloMet=True,
                ttftMillisecondsP95="84", tpotMillisecondsP95="13.8",
            ),
            level(16, "1100.4", "150", "14.5", ciPercent="6", requests=40, sloMet=True, flags=["NotSteady"]),
            level(
                24, "1841.2", "260", "17", ciPercent="1.8", requests=73, sloMet=True,
                ttftMillisecondsP95="410", tpotMillisecondsP95="19.2",
            ),
            level(
                30, "2003", "390", "22", ciPercent="2.6", requests=80, sloMet=False,
                ttftMillisecondsP95="720", tpotMillisecondsP95="24.4",
            ),
            level(
                64, "2110.7", "1900", "40.2", ciPercent="3.1", requests=88, sloMet=False,
                ttftMillisecondsP95="3300", tpotMillisecondsP95="47",
            ),
        ],
        "flags": ["BudgetExhausted"],
    }  # fmt: skip
    return {**whole, **changes}
