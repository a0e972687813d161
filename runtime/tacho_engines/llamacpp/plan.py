"""llama.cpp's half of the plan."""

from __future__ import annotations

from tacho_engines.base import Context, Options, Placement, PlanHalf, Refusal, Splits
from tacho_engines.llamacpp import arguments, compatibility, memory, placing
from tacho_engines.llamacpp.row import ROW
from tacho_engines.memory.account import Account
from tacho_engines.shared.simple import SimplePlan


class LlamaCppPlan(SimplePlan):
    """GGUF files on the host, or with every layer on GPUs: one that does not fit is not planned in part, as a
    layer on the host costs most of the speed that the GPU was asked for."""

    def refusal(self, placement: Placement) -> Refusal | None:
        return compatibility.refusal(placement)

    def splits(self, placement: Placement) -> Splits | Refusal:
        return placing.splits(placement)

    def extends_context(self, options: Options) -> bool:
        return compatibility.extends_context(options)

    def cache_element_bytes(self, placement: Placement) -> float:
        return memory.cache_element_bytes(placement.options) or self.cache_bytes

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)

    def arguments(self, placement: Placement, _context: Context) -> tuple[str, ...]:
        return arguments.arguments(placement)

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        return placing.fallbacks(placement)


PLAN: PlanHalf = LlamaCppPlan(ROW)
