"""CTranslate2 for the planner: what it cannot run, its switches, and its memory."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_contract.units import gib
from tacho_engines.base import Context, EngineRefusal, Placement, PlannerAdapter
from tacho_engines.ctranslate2 import memory
from tacho_engines.ctranslate2.profile import PROFILE
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import cuda_13_refusal, plain_refusal, refused


class CTranslate2Plan(PlannerAdapter):
    """The planner adapter of CTranslate2: it runs on one GPU or on the host's CPUs."""

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        found = None if placement.options.own_image else cuda_13_refusal(PROFILE, placement)
        if found := found or plain_refusal(PROFILE, placement, self.cache_type(placement)):
            return found
        if placement.count > 1:
            return refused(FailureClass.UNSUPPORTED_GPU, "ctranslate2 runs on one GPU", "Set gpu.count to 1")
        return conversion_refusal(placement)

    def cache_type(self, placement: Placement) -> str:
        """The type of the KV cache, which is the type it computes in; "" for a converted model, as its loader
        chooses."""
        if placement.facts.format == "ct2":
            return ""
        return memory.quantization(placement).rpartition("_")[2]

    def cache_element_bytes(self, placement: Placement) -> float:
        return memory.element_bytes(placement)

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)

    def arguments(self, placement: Placement, _context: Context) -> tuple[str, ...]:
        """Switches for the device, and for the type that a checkpoint is converted to. A converted model
        needs no type."""
        device = ("--device", "cpu" if placement.device.on_host else "cuda")
        trusted = ("--trust-remote-code",) if placement.options.trust_remote_code else ()
        if placement.facts.format == "ct2":
            return (*device, *trusted)
        return (*device, "--quantization", memory.quantization(placement), *trusted)


def conversion_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal where memory is too small for the converter, which runs before the model is served; else
    None.

    The limit is the container's memory limit; on the host without a limit, the plan's share of the node's
    memory.
    """
    device, needed = placement.device, memory.conversion_bytes(placement)
    limit, source = placement.options.memory_limit_bytes, "memory limit"
    if limit is None and device.on_host:
        limit, source = device.part_bytes, "share of the node"
    if limit is None or needed <= limit:
        return None
    return refused(
        FailureClass.DOES_NOT_FIT,
        f"converting the checkpoint needs {gib(needed)} of memory; {gib(limit)} is allowed ({source})",
        f"Raise engine.resources.limits.memory to {gib(needed)}, on a node that has as much, or point "
        "spec.model at a converted model",
    )


PLAN: PlannerAdapter = CTranslate2Plan(PROFILE)
