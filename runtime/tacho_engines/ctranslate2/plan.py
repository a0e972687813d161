"""CTranslate2's half of the plan."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_contract.units import gib
from tacho_engines.base import Context, Placement, PlanHalf, Refusal
from tacho_engines.ctranslate2 import arguments, memory
from tacho_engines.ctranslate2.row import ROW
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.simple import SimplePlan


class CTranslate2Plan(SimplePlan):
    """One GPU or the host."""

    def refusal(self, placement: Placement) -> Refusal | None:
        if found := super().refusal(placement):
            return found
        if placement.count > 1:
            return refused(FailureClass.UNSUPPORTED_GPU, "ctranslate2 runs on one GPU", "Set gpu.count to 1")
        return conversion_refusal(placement)

    def cache_type(self, placement: Placement) -> str:
        """It computes and caches in one type; of a converted model, the loader chooses it."""
        if placement.facts.format == "ct2":
            return ""
        return arguments.quantization(placement).rpartition("_")[2]

    def cache_element_bytes(self, placement: Placement) -> float:
        return memory.element_bytes(placement)

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)

    def arguments(self, placement: Placement, _context: Context) -> tuple[str, ...]:
        return arguments.arguments(placement)


def conversion_refusal(placement: Placement) -> Refusal | None:
    """The container's memory must hold the converter, which runs before the model is served; without a limit,
    the host's must."""
    device, needed = placement.device, memory.conversion_bytes(placement)
    limit = placement.options.memory_limit_bytes
    if limit is None and device.on_host:
        limit = device.part_bytes
    if limit is None or needed <= limit:
        return None
    return refused(
        FailureClass.DOES_NOT_FIT,
        f"converting the checkpoint takes {gib(needed)} of memory, and the container may have {gib(limit)}",
        f"Raise engine.resources.limits.memory to {gib(needed)}, on a node that has as much, or point "
        "spec.model at a converted model",
    )


PLAN: PlanHalf = CTranslate2Plan(ROW)
