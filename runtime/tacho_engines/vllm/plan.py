"""vLLM for the planner: what it cannot run, its switches, and its memory."""

from __future__ import annotations

from tacho_engines.base import Context, EngineOptions, EngineRefusal, Placement, PlanHalf, Splits, Tuning
from tacho_engines.memory.account import Account
from tacho_engines.vllm import arguments, compatibility, host, memory, parallel, recorded
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.settings import planned_settings


class VllmPlan(PlanHalf):
    """The planner's half of vLLM: several GPUs, or the host. Switches and memory follow from the same
    settings."""

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        return compatibility.refusal(placement)

    def splits(self, placement: Placement) -> Splits | EngineRefusal:
        return parallel.splits(placement)

    def settings_refusal(self, placement: Placement) -> EngineRefusal | None:
        return compatibility.settings_refusal(placement)

    def extends_context(self, options: EngineOptions) -> bool:
        return compatibility.extends_context(options)

    def cache_element_bytes(self, placement: Placement) -> float:
        if placement.device.on_host:
            return host.settings(placement, compatibility.SMALLEST).cache.element_bytes
        return planned_settings(placement, compatibility.SMALLEST).cache.element_bytes

    def account(self, placement: Placement, context: Context) -> Account:
        if placement.device.on_host:
            return host.account(placement, context)
        return memory.account(placement, planned_settings(placement, context))

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        return arguments.arguments(placement, context)

    def tuned(self, placement: Placement, streamed_tokens_per_second: float | None) -> Tuning:
        return arguments.tuned(placement, streamed_tokens_per_second)

    def warnings(self, placement: Placement) -> tuple[str, ...]:
        return recorded.warnings(placement)

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        return compatibility.fallbacks(placement)


PLAN: PlanHalf = VllmPlan(PROFILE)
