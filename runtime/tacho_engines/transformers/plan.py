"""Transformers' half of the plan."""

from __future__ import annotations

from tacho_engines.base import Context, Placement, PlanHalf
from tacho_engines.memory.account import Account
from tacho_engines.shared.simple import SimplePlan
from tacho_engines.transformers import memory
from tacho_engines.transformers.row import ROW


class TransformersPlan(SimplePlan):
    """GPUs, which take whole layers in turn, or the host."""

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)


PLAN: PlanHalf = TransformersPlan(ROW, cache_bytes=memory.CACHE_ELEMENT_BYTES)
