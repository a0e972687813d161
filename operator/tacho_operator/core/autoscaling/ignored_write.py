"""Writes of spec.replicas while the scaler decides: they have no effect, and who made them may not know.

An autoscaler compares what it wants with spec.replicas, so that it is content. The API server does not say
who made a write of /scale: its record of it has no time, and the next apply drops it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tacho_operator.api.defaults import scaling_mode
from tacho_operator.core.types import Observed

SHOWN_FOR = timedelta(days=1)
"""How long a write is shown: the writer may be gone."""


def ignored_write(observed: Observed, now: datetime) -> tuple[str, str] | None:
    """(what was written to no effect, what to do); None: nothing lately, or replicas follow it."""
    when, spec = observed.replicas_written, observed.resource.spec
    if when is None or now - when >= SHOWN_FOR or scaling_mode(spec) != "Enforce":
        return None
    what = f"spec.replicas was changed to {spec.replicas}, to no effect: spec.autoscaling sets the replicas."
    return what, "If a HorizontalPodAutoscaler or KEDA scales it too, delete that."
