"""Fields of a stored spec that this version does not know: those of a newer CRD, under an older operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tacho_contract.text import visible
from tacho_contract.units import clipped
from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.types import ResourceEvent

UNKNOWN_FIELD = "UnknownField"
"""Reason of the event."""
FIELD_CHARS = 36


def unknown_fields(stored: Any, spec: LLMDeploymentSpec) -> tuple[str, ...]:
    """Places in the stored spec that ``spec``, which was read from it, does not have."""
    return tuple(_left_out(stored, spec.model_dump(by_alias=True, exclude_unset=True), "spec"))


def _left_out(stored: Any, known: Any, place: str) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(known, dict):
        for key, value in stored.items():
            if key in known:
                yield from _left_out(value, known[key], f"{place}.{key}")
            elif value is not None:
                yield f"{place}.{key}"
    elif isinstance(stored, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(stored, known, strict=False)):
            yield from _left_out(value, other, f"{place}[{index}]")


def unknown_note(stored: Any, spec: LLMDeploymentSpec) -> str:
    """A sentence on the fields that are ignored; "": there is none. It is short enough for a next step."""
    found = unknown_fields(stored, spec)
    if not found:
        return ""
    place = " ".join(visible(found[0]).split())  # as the stored message has it, or the event would repeat
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"This operator's version does not know {clipped(place, FIELD_CHARS)}{more}: upgrade it."


def unknown_field_events(note: str, former: LLMDeploymentStatus) -> tuple[ResourceEvent, ...]:
    """A warning where the stored status does not have ``note`` yet."""
    planned = find_condition(former.conditions, ConditionType.PLANNED)
    if not note or (planned is not None and note in planned.message):
        return ()
    return (ResourceEvent(type="Warning", reason=UNKNOWN_FIELD, message=note),)
