"""One simulated replica, in virtual time."""

from __future__ import annotations

from tacho_simulate.replica.base import Ledger, Replica, Timed
from tacho_simulate.replica.selection import replica_of

__all__ = ["Ledger", "Replica", "Timed", "replica_of"]
