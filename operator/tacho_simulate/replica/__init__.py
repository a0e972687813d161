"""One replica in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.replica.base import Ledger, Replica, Timed
from tacho_simulate.replica.chunked_prefill import ChunkedPrefill
from tacho_simulate.replica.concurrent_prefill import ConcurrentPrefill

__all__ = ["Ledger", "Replica", "Timed", "answered", "replica_of"]

DRAIN_SECONDS = 3600.0


def replica_of(model: PerformanceModel, timed: Timed, ledger: Ledger, begins: float) -> Replica:
    """``timed``: lookup tables of ``model``, shared by many replicas."""
    return (ConcurrentPrefill if model.step_tokens is None else ChunkedPrefill)(timed, ledger, begins)


def answered(
    model: PerformanceModel,
    arrived: Sequence[float],
    input_tokens: Sequence[int],
    output_tokens: Sequence[int],
) -> Ledger:
    """Open arrivals (rising seconds) at one replica, until DRAIN_SECONDS after the last."""
    ledger = Ledger(arrived, input_tokens, output_tokens)
    replica = replica_of(model, Timed.of(model), ledger, 0.0)
    replica.incoming.extend((when + replica.entry_seconds, request) for request, when in enumerate(arrived))
    replica.advance((arrived[-1] if arrived else 0.0) + DRAIN_SECONDS)
    return ledger
