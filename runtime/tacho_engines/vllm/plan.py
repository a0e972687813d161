"""vLLM for the planner: what it cannot run, its switches, and its memory."""

from __future__ import annotations

from tacho_engines.base import Context, Placement, PlannerAdapter
from tacho_engines.memory.account import Account
from tacho_engines.vllm import (
    arguments,
    compatibility,
    host,
    kernels,
    kv_blocks,
    memory,
    parallel,
    prompt_graphs,
    recorded,
)
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.settings import SMALLEST, planned_settings


class VllmPlan(PlannerAdapter):
    """The planner adapter of vLLM: several GPUs, or the host. Switches and memory follow from the same
    settings."""

    spelled_out = staticmethod(recorded.spelled_out)
    partial_groups = staticmethod(kernels.partial_groups)
    refusal = staticmethod(compatibility.refusal)
    settings_refusal = staticmethod(compatibility.settings_refusal)
    pool_refusal = staticmethod(compatibility.pool_refusal)
    extends_context = staticmethod(compatibility.extends_context)
    fallbacks = staticmethod(compatibility.fallbacks)
    splits = staticmethod(parallel.splits)
    tuned = staticmethod(arguments.tuned)
    larger_graphs = staticmethod(prompt_graphs.larger_graphs)
    arguments = staticmethod(arguments.arguments)
    warnings = staticmethod(recorded.warnings)

    def cache_element_bytes(self, placement: Placement) -> float:
        if placement.device.on_host:
            return host.settings(placement, SMALLEST).cache.element_bytes
        return planned_settings(placement, SMALLEST).cache.element_bytes

    def account(self, placement: Placement, context: Context) -> Account:
        if placement.device.on_host:
            return host.account(placement, context)
        return memory.account(placement, planned_settings(placement, context))

    def cached_tokens(self, placement: Placement, context: Context, account: Account, each: int, /) -> int:
        on_host = placement.device.on_host
        settings = host.settings(placement, context) if on_host else planned_settings(placement, context)
        pool = kv_blocks.pool(placement.architecture, settings)
        if not pool.window_groups:
            return account.cache_tokens
        blocks = account.cache_bytes // pool.block_bytes
        return int(each * pool.requests(blocks, each, settings.in_flight_tokens))


PLAN: PlannerAdapter = VllmPlan(PROFILE)
