"""A measurement beside the truth: errors, intervals and flags."""

from __future__ import annotations

from typing import Any

from tacho_contract.measurement import INVALIDATING, Measurement
from tools.mock.engine_truth import Truth


def error_percent(found: float | None, true: float) -> float | None:
    return None if found is None else 100 * (found / true - 1)


def covers(found: float | None, ci_percent: float | None, true: float) -> bool | None:
    """Whether the interval holds the truth; None without one."""
    if found is None or ci_percent is None:
        return None
    return abs(found - true) <= ci_percent / 100 * found


def judged(measurement: Measurement, truth: Truth) -> dict[str, Any]:
    single, capacity = measurement.single_stream, measurement.capacity
    decode = single.decode_tokens_per_second if single else None
    rate = capacity.output_tokens_per_second if capacity else None
    at_levels = {flag for point in measurement.curve for flag in point.flags}
    raised = {*measurement.flags, *at_levels} | ({"Stalls"} if single and single.stalls else set())
    asked_for = set().union(*truth.required)
    return {
        "state": measurement.state,
        "seconds": round(measurement.probe_seconds, 1),
        "decode": decode,
        "decodeTruth": truth.decode_tokens_per_second,
        "decodeErrorPercent": error_percent(decode, truth.decode_tokens_per_second),
        "decodeCiPercent": single.decode_ci_percent if single else None,
        "decodeCovered": covers(
            decode, single.decode_ci_percent if single else None, truth.decode_tokens_per_second
        ),
        "capacity": rate,
        "capacityTruth": truth.capacity.output_tokens_per_second,
        "capacityErrorPercent": error_percent(rate, truth.capacity.output_tokens_per_second),
        "capacityCiPercent": capacity.ci_percent if capacity else None,
        "capacityCovered": covers(
            rate, capacity.ci_percent if capacity else None, truth.capacity.output_tokens_per_second
        ),
        "streams": capacity.concurrency if capacity else None,
        "streamsTruth": truth.capacity.concurrency,
        "boundary": capacity.boundary if capacity else None,
        "boundaryTruth": truth.capacity.boundary,
        "verified": capacity.verified if capacity else None,
        "raised": sorted(raised),
        "missing": sorted("|".join(sorted(words)) for words in truth.required if not words & raised),
        "false": sorted((raised - truth.allowed - asked_for) & INVALIDATING),
        "clean": not INVALIDATING & set(measurement.flags),
        "message": measurement.message,
    }
