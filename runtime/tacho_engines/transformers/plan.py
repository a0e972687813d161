"""Transformers' half of the plan."""

from __future__ import annotations

from tacho_engines.base import Context, Placement, PlanHalf, Refusal
from tacho_engines.memory.account import Account
from tacho_engines.shared.simple import SimplePlan
from tacho_engines.transformers import arguments, compatibility, memory
from tacho_engines.transformers.row import ROW


class TransformersPlan(SimplePlan):
    """GPUs, which take whole layers in turn, or the host."""

    def refusal(self, placement: Placement) -> Refusal | None:
        return compatibility.refusal(placement)

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)

    def arguments(self, placement: Placement, _context: Context) -> tuple[str, ...]:
        return arguments.arguments(placement)

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        return memory.fallbacks(placement)


PLAN: PlanHalf = TransformersPlan(ROW, cache_bytes=memory.CACHE_ELEMENT_BYTES)
