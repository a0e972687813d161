"""One replica in virtual time."""

from __future__ import annotations

from tacho_operator.simulate.engine_law import EngineLaw
from tacho_operator.simulate.replica.base import Replica, Timed
from tacho_operator.simulate.replica.beside import Beside
from tacho_operator.simulate.replica.ledger import Ledger
from tacho_operator.simulate.replica.stepped import Stepped

__all__ = ["Ledger", "Replica", "Timed", "replica_of"]


def replica_of(law: EngineLaw, timed: Timed, ledger: Ledger, begins: float) -> Replica:
    """``timed``: of ``law``; it is made once for many replicas."""
    return (Beside if law.step_tokens is None else Stepped)(timed, ledger, begins)
