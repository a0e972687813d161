"""llama.cpp for the planner: what it cannot run, its switches, and its memory."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, EngineOptions, EngineRefusal, Placement, PlannerAdapter, Splits
from tacho_engines.llamacpp import gpu_split, memory
from tacho_engines.llamacpp.gpu_split import LAYER, TENSOR
from tacho_engines.llamacpp.memory import QUANTIZED_BLOCK, cache_element_bytes
from tacho_engines.llamacpp.profile import PROFILE
from tacho_engines.memory import kv
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import (
    cache_refusal,
    capability_refusal,
    device_refusal,
    least_capability,
    model_refusal,
    refused,
)
from tacho_engines.shared.switches import parse_arguments

STRETCHING = ("rope-", "yarn-")
"""Prefixes of arguments that change the positions of tokens, and so may extend the context."""


def _cache_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of cache types that llama.cpp lacks, or refuses for this model. Source: llama.cpp b11549
    src/llama-context.cpp llama_init_from_model.
    """
    options, groups = placement.options, kv.layer_groups(placement.architecture)
    if cache_element_bytes(options) is None:
        return cache_refusal(PROFILE, options.kv_cache_dtype)
    key, value = memory.cache_types(options)
    without_flash = memory.without_flash_attention(options)
    if without_flash and memory.is_quantized_cache(value):
        message = f"a V cache of type {value} needs flash attention, which --flash-attn switches off"
        return refused(FailureClass.INVALID_CONFIG, message, "Remove --flash-attn from engine.extraArgs")
    widths = {(key, g.key_head_dim) for g in groups} | {(value, g.value_head_dim) for g in groups}
    odd = [(kind, n) for kind, n in sorted(widths) if memory.is_quantized_cache(kind) and n % QUANTIZED_BLOCK]
    if odd and not without_flash:
        message = f"llama.cpp has no KV cache of type {odd[0][0]} for heads of {odd[0][1]} elements"
        step = "Remove quantization.kvCacheDtype, or --cache-type-k and --cache-type-v from engine.extraArgs"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message, step)
    return None


TEMPLATE = "chat-template"
STAND_IN_TEMPLATE = (f"--{TEMPLATE}", "chatml")
"""Argument for the template that llama.cpp uses by default for a model without one
(common_chat_templates_init). It is set so that the plan shows it.
"""
ON_GPUS = ("--n-gpu-layers", "999", "--fit", "off")
"""Arguments that put every layer on GPUs and stop llama.cpp from lowering planned values, so that a lack of
memory is a classified failure.
"""


def _split(placement: Placement) -> tuple[str, ...]:
    if placement.count < 2:
        return ()
    return ("--split-mode", TENSOR if placement.tensor > 1 else LAYER)


def lacks_chat_template(placement: Placement) -> bool:
    """Whether chats would be formatted by a template that is not the model's."""
    given = parse_arguments(placement.options.arguments)
    return placement.facts.chat_template is False and not any(name.startswith(TEMPLATE) for name in given)


class LlamaCppPlan(PlannerAdapter):
    """The planner adapter of llama.cpp: GGUF files on the host, or with all layers on GPUs.

    No plan leaves some layers on the host, as that costs most of the GPU's speed.
    """

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        """Why llama.cpp cannot run this placement at all; None when only memory decides."""
        if placement.facts.format not in PROFILE.formats:
            return refused(
                FailureClass.UNSUPPORTED_QUANTIZATION,
                f"llama.cpp loads GGUF files, not {placement.facts.format}",
                "Use a GGUF repository of the same model, or another engine",
            )
        least, method = least_capability(placement.method, placement.version), placement.method.method
        return (
            model_refusal(PROFILE, placement)
            or capability_refusal(PROFILE, placement, least, method)
            or device_refusal(PROFILE, placement)
            or _cache_refusal(placement)
            or gpu_split.refusal(placement)
        )

    def splits(self, placement: Placement) -> Splits | EngineRefusal:
        return gpu_split.splits(placement)

    def extends_context(self, options: EngineOptions) -> bool:
        """Whether the user's switches extend the model's context beyond the length it was trained for."""
        return any(name.startswith(STRETCHING) for name in parse_arguments(options.arguments))

    def cache_element_bytes(self, placement: Placement) -> float:
        return memory.cache_element_bytes(placement.options) or self.cache_bytes

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)

    def arguments(self, placement: Placement, _context: Context) -> tuple[str, ...]:
        """Switches of the plan: on GPUs all layers are offloaded, as the memory account assumes; on the host
        none."""
        switches = () if placement.device.on_host else (*ON_GPUS, *_split(placement))
        return (*switches, *STAND_IN_TEMPLATE) if lacks_chat_template(placement) else switches

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        return gpu_split.fallbacks(placement)


PLAN: PlannerAdapter = LlamaCppPlan(PROFILE)
