"""CTranslate2's half of the plan."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, Placement, PlanHalf, Refusal
from tacho_engines.ctranslate2 import memory
from tacho_engines.ctranslate2.row import ROW
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.simple import SimplePlan


class CTranslate2Plan(SimplePlan):
    """One GPU or the host."""

    def refusal(self, placement: Placement) -> Refusal | None:
        if found := super().refusal(placement):
            return found
        several = placement.count > 1
        return refused(FailureClass.UNSUPPORTED_GPU, "ctranslate2 runs on one GPU") if several else None

    def cache_element_bytes(self, placement: Placement) -> float:
        return memory.ELEMENT_BYTES.get(placement.method.method, self.cache_bytes)

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)


PLAN: PlanHalf = CTranslate2Plan(ROW)
