"""What the loads come to, for people and for the series."""

from __future__ import annotations

import dataclasses

from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.need import ServiceLoad, need_of
from tacho_operator.core.autoscaling.algorithm.types import Figures, Standing


def figures_of(at: Standing, reading: Reading, load: ServiceLoad, learned: float, cold: float) -> Figures:
    """What the load comes to when every replica may be filled to what was measured."""
    trusted = at.capacity.trust * learned
    filled = need_of(
        dataclasses.replace(load, coming=0.0, silent=0), at.capacity, trusted, full=1.0, kv_full=1.0
    )
    demand = filled.amount if filled.known else None
    telling = len(at.pods) - load.silent
    rate = at.capacity.requests_per_second
    return Figures(
        demand=demand,
        utilization=demand / telling if demand is not None and telling else None,
        running=reading.running,
        waiting=reading.waiting,
        trusted_requests_per_second=rate * trusted if rate and not at.capacity.unverified else None,
        learned=learned,
        cold_start_seconds=cold,
        silent=load.silent,
    )
