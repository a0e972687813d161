"""vLLM's half of the plan."""

from __future__ import annotations

from tacho_engines.base import Context, Options, Placement, PlanHalf, Refusal, Splits, Tuning
from tacho_engines.memory.account import Account
from tacho_engines.row import EngineRow
from tacho_engines.vllm import arguments, compatibility, fallbacks, front_end, host, memory, parallel
from tacho_engines.vllm.row import ROW
from tacho_engines.vllm.settings import planned_settings


class VllmPlan:
    """GPUs, over which it splits layers and stages, or the host; flags and account come from the same
    settings."""

    @property
    def row(self) -> EngineRow:
        return ROW

    def refusal(self, placement: Placement) -> Refusal | None:
        return compatibility.refusal(placement)

    def splits(self, placement: Placement) -> Splits | Refusal:
        return parallel.splits(placement)

    def settings_refusal(self, placement: Placement) -> Refusal | None:
        return compatibility.settings_refusal(placement)

    def extends_context(self, options: Options) -> bool:
        return compatibility.extends_context(options)

    def cache_element_bytes(self, placement: Placement) -> float:
        if placement.device.on_host:
            return host.settings(placement, compatibility.SMALLEST).kv_element_bytes
        return planned_settings(placement, compatibility.SMALLEST).kv_element_bytes

    def account(self, placement: Placement, context: Context) -> Account:
        if placement.device.on_host:
            return host.account(placement, context)
        return memory.account(placement, planned_settings(placement, context))

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        return arguments.arguments(placement, context)

    def tuned(self, placement: Placement, streamed_tokens_per_second: float | None) -> Tuning:
        return front_end.tuned(placement, streamed_tokens_per_second)

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        return fallbacks.fallbacks(placement)


PLAN: PlanHalf = VllmPlan()
