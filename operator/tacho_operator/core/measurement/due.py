"""Why a full measurement is due, beside the one that each first pod takes of itself."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from tacho_contract.launch import LiveConfig
from tacho_operator.api.types import MeasuredRun, Measurement
from tacho_operator.core.measurement.records import clean, current
from tacho_operator.core.revisions.frozen import Revision

DISRUPT = "disrupt"
"""The beginning of a request that a serving pod is to answer, and not a throwaway pod."""


class Cause(StrEnum):
    """Why a throwaway pod measures."""

    MISSING = "Missing"
    """This plan was not measured with this workload."""
    REQUESTED = "Requested"
    """A person asked for it."""
    PROVISIONAL = "Provisional"
    """Something else moved the figures there are."""
    DEVIATES = "Deviates"
    """A pod that was checked since then does not do what they say."""


def cause(
    measurements: Iterable[Measurement],
    active: Revision,
    live: LiveConfig,
    *,
    request: str,
    checked: bool = False,
    deviating: MeasuredRun | None = None,
) -> Cause | None:
    """The most pressing one.

    ``request``: what was asked of a throwaway pod and is not answered yet. ``checked``: the pods that serve
    were only checked. ``deviating``: the check of one of them that is off.
    """
    found = tuple(measurements)
    entry = current(found)
    asked = (active.plan_key, live.measure_key)
    # On whatever hardware the cluster gave it.
    known = any((item.plan_key, item.measure_key) == asked for item in found)
    if not known or (checked and entry is None):
        return Cause.MISSING
    if request:
        return Cause.REQUESTED
    if entry is not None and not clean(entry):
        return Cause.PROVISIONAL
    if entry is not None and deviating is not None and deviating.time > (entry.observed_time or ""):
        return Cause.DEVIATES
    return None
