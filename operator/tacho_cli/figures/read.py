"""Reads an entry of ``status.measurements`` for display, with the confidence of each value. Pure.

The cluster may run another version of tacho: an entry that this version cannot read has no figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, Capacity, CurvePoint, Quality, SingleStream
from tacho_operator.api.status.measurement import (
    Latency,
    MeasurementEntry,
    MeasurementHistory,
)

Wire = Mapping[str, Any]


def moved(point: CurvePoint) -> bool:
    """Whether something other than the engine changed the values of a level."""
    return not point.steady or bool(INVALIDATING & set(point.flags))


def flags_of(point: CurvePoint) -> tuple[str, ...]:
    """The flags of a level or measurement that need an explanation."""
    return tuple(sorted({*point.flags, *([] if point.steady else ["NotSteady"])}))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementView:
    """One measurement for display. A part whose main value is unknown is None."""

    entry: MeasurementEntry
    slo: ServiceLevel = ServiceLevel()
    """The resource's SLO; its targets are 0 where none are set."""

    @property
    def single(self) -> SingleStream | None:
        return self.entry.single_stream

    @property
    def capacity(self) -> Capacity | None:
        found = self.entry.capacity
        return found if found and found.concurrency is not None else None

    @property
    def arrivals(self) -> Latency | None:
        """Latencies of open-loop requests, which are sent at a fixed rate; None where not measured."""
        found = self.entry.latency
        return found if found and found.open_loop and found.offered_requests_per_second is not None else None

    @property
    def quality(self) -> Quality | None:
        found = self.entry.quality
        return found if found and found.perplexity is not None else None

    @property
    def history(self) -> MeasurementHistory | None:
        """Agreement of clean runs of the same fingerprint. None where only one run is clean."""
        found = self.entry.history
        return found if found and (found.clean_runs or 0) > 1 else None

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """Levels with a throughput, by rising concurrency."""
        known = (point for point in self.entry.curve if point.output_tokens_per_second is not None)
        return tuple(sorted(known, key=lambda point: point.concurrency))

    @property
    def provisional(self) -> bool:
        """Whether something other than the engine changed the values."""
        return bool(INVALIDATING & set(self.entry.flags))

    def doubts(self, point: CurvePoint) -> bool:
        """Whether a level is provisional: a disturbance of the whole measurement may have affected any
        level."""
        return moved(point) or self.provisional

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag of the measurement and of its levels, each once."""
        return tuple(
            sorted({*self.entry.flags, *(flag for point in self.points for flag in flags_of(point))})
        )


def measurement_view(wire: Wire, slo: ServiceLevel) -> MeasurementView:
    """The view of one entry of ``status.measurements``, beside the resource's ``spec.slo``."""
    try:
        entry = MeasurementEntry.model_validate({"fingerprint": "", **wire})
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        message = f"this version of tacho cannot read the measurement: {where}"
        entry = MeasurementEntry(fingerprint="", message=message)
    return MeasurementView(entry=entry, slo=slo)
