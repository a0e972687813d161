"""Which simulated replica suits a performance model."""

from __future__ import annotations

from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.replica.base import Ledger, Replica, Timed
from tacho_simulate.replica.chunked_prefill import ChunkedPrefill
from tacho_simulate.replica.concurrent_prefill import ConcurrentPrefill


def replica_of(model: PerformanceModel, timed: Timed, ledger: Ledger, begins: float) -> Replica:
    """The simulated replica that suits ``model``: prompts in chunks, or beside each other. Its lookup tables
    ``timed`` are shared by many replicas."""
    return (ConcurrentPrefill if model.step_tokens is None else ChunkedPrefill)(timed, ledger, begins)
