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
"""Flag by which a Partial measurement is known again when it was Stale and its workload comes back."""


def confidence_of(flags: Iterable[str]) -> str:
    """Provisional where a flag says that something other than the engine changed the figures, else Clean."""
    return CLEAN if INVALIDATING.isdisjoint(flags) else PROVISIONAL


def clean(measurement: MeasurementEntry) -> bool:
    """Whether nothing but the engine changed the figures. Entries of earlier versions say so by their flags
    alone."""
    return measurement.confidence != PROVISIONAL and INVALIDATING.isdisjoint(measurement.flags)


def current(measurements: Iterable[MeasurementEntry]) -> MeasurementEntry | None:
    """The newest measurement that is not stale; None where there is none."""
    return next((item for item in measurements if item.state in USABLE), None)
