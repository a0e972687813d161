"""Reads an entry of ``status.measurements`` for display, with the confidence of each value. Pure.

The cluster may run another version of tacho: values that this version cannot read are not shown.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, Capacity, CurvePoint, SingleStream
from tacho_operator.api.status.measurement import (
    ComparedQuality,
    Latency,
    MeasurementEntry,
    MeasurementHistory,
)
from tacho_operator.core.measurement.rounding import MAX_CI_PERCENT

Wire = Mapping[str, Any]
MAX_VALUE = 1e15
"""Highest value that is believed, in any unit."""


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
    def quality(self) -> ComparedQuality | None:
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
    entry = _read(copy.deepcopy(dict(wire)))
    parts: dict[str, Any] = {
        name: _known(getattr(entry, name))
        for name in ("single_stream", "capacity", "latency", "goodput", "saturation", "quality")
    }
    return MeasurementView(
        entry=entry.model_copy(update={**parts, "curve": [_known(item) for item in entry.curve]}), slo=slo
    )


def _read(document: dict[str, Any]) -> MeasurementEntry:
    """The measurement, without fields that cannot be read. A fingerprint that cannot be read is empty."""
    if document.get("fingerprint") is None:
        document["fingerprint"] = ""
    try:
        return MeasurementEntry.model_validate(document)
    except ValidationError as error:
        problems = error.errors()
    # What lacks a field goes as a whole.
    places = {item["loc"][:-1] if item["type"] == "missing" else item["loc"] for item in problems}
    for place in sorted(places, key=lambda place: [str(step).zfill(9) for step in place], reverse=True):
        if place and not any(place[:depth] in places for depth in range(len(place))):
            _drop(document, place)
    return MeasurementEntry.model_validate({"fingerprint": "", **document})


def _drop(document: Any, place: tuple[str | int, ...]) -> None:
    for step in place[:-1]:
        document = document[step]
    del document[place[-1]]


def _known(part: Any) -> Any:
    """``part`` without values that are not finite, and without rates whose interval exceeds 100 %. None stays
    None.
    """
    if part is None:
        return None
    values = {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    unknown = {
        name: None for name, value in values.items() if isinstance(value, float) and abs(value) > MAX_VALUE
    }
    for prefix in ("", "decode_"):
        if (values.get(f"{prefix}ci_percent") or 0.0) > MAX_CI_PERCENT:
            rates = (name for name in values if name.startswith(prefix) and name.endswith("_per_second"))
            unknown |= dict.fromkeys((f"{prefix}ci_percent", *rates))
    return dataclasses.replace(part, **unknown) if unknown else part
