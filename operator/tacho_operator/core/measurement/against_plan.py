"""Measured speed against the speed that the plan expected."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from tacho_contract.measurement import CurvePoint, Measurement
from tacho_operator.api.status.measurement import AgainstPlan
from tacho_operator.core.measurement.rounding import rounded, too_wide
from tacho_operator.core.revisions.frozen import Revision

BOUNDED = ("Edge", "Plateau")
"""Boundaries at which a capacity is known, not only a lower limit."""


def against_plan(measurement: Measurement, revision: Revision | None) -> AgainstPlan | None:
    """None where nothing was expected, or nothing measured of what was, or the plan was made for another
    workload, service level or probe."""
    if revision is None or revision.measure_key != measurement.measure_key:
        return None
    plan, single, capacity = revision.plan, measurement.single_stream, measurement.capacity
    expected = plan.predicted
    known = capacity is not None and capacity.boundary in BOUNDED
    found = AgainstPlan(
        decode_percent=_percent(
            single.decode_tokens_per_second if single else None, expected.expected_decode_tokens_per_second
        ),
        output_percent=_percent(
            rate_at(measurement.curve, plan.concurrency), expected.expected_output_tokens_per_second
        ),
        capacity_percent=_percent(
            capacity.output_tokens_per_second if capacity and known else None,
            expected.expected_capacity_tokens_per_second,
        ),
    )
    return None if found == AgainstPlan() else found


def rate_at(curve: Iterable[CurvePoint], streams: int) -> float | None:
    """Output tokens per second of ``streams``: the time from token to token is taken to be linear between the
    levels around it. None: no level whose rate is known is at or around it."""
    gaps = {
        level.concurrency: level.concurrency / level.output_tokens_per_second
        for level in curve
        if level.output_tokens_per_second and level.steady and not too_wide(level.ci_percent)
    }
    if streams in gaps:
        return streams / gaps[streams]
    for low, high in pairwise(sorted(gaps)):
        if low < streams < high:
            part = (streams - low) / (high - low)
            return streams / (gaps[low] + part * (gaps[high] - gaps[low]))
    return None


def _percent(measured: float | None, expected: float | None) -> float | None:
    return rounded(100 * measured / expected) if measured and expected else None
