"""Whether a measurement is current, and whether it is clean or provisional."""

from __future__ import annotations

from collections.abc import Iterable

from tacho_contract.measurement import INVALIDATING
from tacho_operator.api.status.measurement import MeasurementEntry

FULL, CHECK = "Full", "Check"

COMPLETE, PARTIAL, STALE = "Complete", "Partial", "Stale"
USABLE = (COMPLETE, PARTIAL)
CLEAN, PROVISIONAL = "Clean", "Provisional"
INCOMPLETE = "Incomplete"
"""Flag of a Partial measurement while it is Stale. It becomes Partial again with its workload."""

FLOOR = "Floor"
"""Boundary of a capacity that is only a lower bound."""


def confidence_of(flags: Iterable[str]) -> str:
    """Provisional where a flag says that something other than the engine changed the figures, else Clean."""
    return CLEAN if INVALIDATING.isdisjoint(flags) else PROVISIONAL


def clean(measurement: MeasurementEntry) -> bool:
    """Whether nothing but the engine changed the values. Entries of earlier versions have flags alone."""
    return measurement.confidence != PROVISIONAL and INVALIDATING.isdisjoint(measurement.flags)


def unfinished(entry: MeasurementEntry) -> bool:
    """Whether the measurement is clean but its capacity only a lower bound because the search ended early.

    Then levels are missing, or a level below one that misses the SLO has no known rate.
    """
    bounded = entry.capacity is not None and entry.capacity.boundary == FLOOR
    missed = any(item.slo_met is False for item in entry.curve)
    return bounded and clean(entry) and (missed or INCOMPLETE in entry.flags)


def current(measurements: Iterable[MeasurementEntry]) -> MeasurementEntry | None:
    """The newest measurement that is not stale; None where there is none."""
    return next((item for item in measurements if item.state in USABLE), None)
