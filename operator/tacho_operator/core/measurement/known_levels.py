"""The levels that a probe measured before its time ended. The next probe pod continues its search from them.

They are read from the stored measurement of the same plan and workload.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacho_contract.measurement import INVALIDATING, CurvePoint, KnownLevels, Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.measurement.runs import machine_of
from tacho_operator.core.measurement.states import INCOMPLETE, clean

FLOOR = "Floor"
MAX_LEVELS = 8
"""Most levels that are passed to the next probe pod; status has room for these and for the new ones."""
WIDEST_PERCENT = 10.0
"""Widest interval in percent (half width) of a level that is passed on. A wider one comes from a window that
was too short for the requests.
"""
COHORT, PLAIN_RATIO = 59, 1.15
"""Requests that a 95th percentile needs, and the SLO ratio above which fewer requests suffice. With fewer
requests, a level just above the SLO may be chance, and would wrongly bound the search.
"""


def unfinished(entry: MeasurementEntry) -> bool:
    """Whether the measurement is clean but its capacity only a lower bound because the search ended early.

    Then levels are missing, or a level below one that misses the SLO has no known rate.
    """
    bounded = entry.capacity is not None and entry.capacity.boundary == FLOOR
    missed = any(item.slo_met is False for item in entry.curve)
    return bounded and clean(entry) and (missed or INCOMPLETE in entry.flags)


def known_levels(entry: MeasurementEntry) -> KnownLevels | None:
    """The known levels for the next probe pod; None where the search came to its end, or too few levels are
    usable."""
    single, shape, machine = entry.single_stream, entry.workload, machine_of(entry)
    if not unfinished(entry) or single is None or not single.decode_tokens_per_second:
        return None
    levels = sorted((item for item in entry.curve if _usable(item)), key=lambda item: item.concurrency)
    if shape is None or machine is None or not levels or levels[0].concurrency != 1:
        return None
    return KnownLevels(
        plan_key=entry.plan_key or "",
        measure_key=entry.measure_key or "",
        environment=machine,
        observed_time=entry.observed_time or "",
        workload=Workload(input_tokens=shape.input_tokens, output_tokens=shape.output_tokens),
        single_stream=single,
        levels=_chosen(levels, entry.capacity.concurrency if entry.capacity else None),
    )


def _usable(point: CurvePoint) -> bool:
    """Whether the level is complete, precise, clean and steady, and its stored SLO ratios agree with its
    ``slo_met``.

    Rounded ratios near 1 may not agree, and earlier versions of the runtime report none.
    """
    figures = (point.output_tokens_per_second, point.requests_per_second, point.window_seconds)
    latencies = (point.requests, point.ttft_milliseconds_p50, point.tpot_milliseconds_p50)
    if None in figures or None in latencies or not point.output_tokens_per_second:
        return False
    if point.concurrency > 1 and (point.ci_percent is None or point.ci_percent > WIDEST_PERCENT):
        return False
    if not point.steady or not INVALIDATING.isdisjoint(point.flags):
        return False
    ratio = _slo_ratio(point)
    if ratio is not None and 1 < ratio < PLAIN_RATIO and (point.requests or 0) < COHORT:
        return False
    return point.slo_met == (None if ratio is None else ratio <= 1)


def _slo_ratio(point: CurvePoint) -> float | None:
    return max((one for one in (point.ttft_slo_ratio, point.tpot_slo_ratio) if one is not None), default=None)


def _chosen(levels: Sequence[CurvePoint], kept: int | None) -> tuple[CurvePoint, ...]:
    """The levels to pass on: one stream, the highest throughput, the lowest that misses the SLO, and those
    next to ``kept``, the concurrency of the capacity.
    """
    needed = [levels[0], max(levels, key=lambda item: item.output_tokens_per_second or 0.0)]
    needed += [item for item in levels if item.slo_met is False][:1]
    near = sorted(levels, key=lambda item: abs(math.log(item.concurrency / max(1, kept or 1))))
    ranked = list({item.concurrency: item for item in (*needed, *near)}.values())
    return tuple(sorted(ranked[:MAX_LEVELS], key=lambda item: item.concurrency))
