"""vLLM's KV cache: bytes of a block, blocks of a request, and the sizes that its log reports at start.

Layers that keep the same state form groups of equal layer counts, which share one pool of blocks. Source:
vLLM v1/core/kv_cache_utils.py (get_kv_cache_groups, get_max_concurrency_for_kv_cache_config) and
v1/kv_cache_interface.py (max_memory_usage_bytes of each spec).
"""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.model import Architecture, LayerGroup
from tacho_engines.memory import kv
from tacho_engines.memory.rounding import ceil_div, round_up
from tacho_engines.vllm.settings import VllmSettings

UNCOMPRESSED_HEAD_DIM = 256
"""Size to which vLLM padded keys and values of each head of MLA models, before it cached the latent vector.
With VLLM_MLA_DISABLE later versions do not pad them: DeepSeek's have 192.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """vLLM's pool of KV cache blocks. One block holds the same tokens in every layer of one group of
    layers."""

    block_bytes: int
    block_tokens: int
    """Tokens of a block, of the largest layers."""
    full_groups: tuple[tuple[int, int], ...]
    """(number of groups, tokens of a block) of layers whose blocks grow with the context."""
    window_groups: tuple[tuple[int, int, int], ...]
    """(number of groups, tokens of a block, window in tokens) for sliding and chunked layers, which keep only
    their window.
    """
    state_groups: int
    """Number of groups of recurrent layers."""
    states: int = 1
    """Number of blocks of each group of recurrent layers that a request needs."""

    @property
    def groups(self) -> int:
        return sum(each[0] for each in (*self.full_groups, *self.window_groups)) + self.state_groups

    def blocks_per_request(self, tokens: int, in_flight_tokens: int) -> int:
        """The most blocks that one request of ``tokens`` tokens holds."""
        blocks = self.state_groups * self.states
        blocks += sum(groups * ceil_div(tokens, each) for groups, each in self.full_groups)
        for groups, each, window in self.window_groups:
            kept = min(window - 1 + in_flight_tokens, tokens)
            blocks += groups * (ceil_div(kept, each) + 1)
        return max(1, blocks)


def _uncompressed(architecture: Architecture) -> tuple[LayerGroup, ...]:
    return (
        LayerGroup(
            kind="full",
            layers=architecture.layers,
            key_value_heads=architecture.attention_heads,
            key_head_dim=UNCOMPRESSED_HEAD_DIM,
            value_head_dim=UNCOMPRESSED_HEAD_DIM,
        ),
    )


def pool(architecture: Architecture, settings: VllmSettings) -> Pool:
    """The pool of KV cache blocks that a model has on one GPU, with these settings."""
    groups = list(kv.layer_groups(architecture))
    if not settings.rules.latent and any(g.kind == "mla" for g in groups):
        groups = list(_uncompressed(architecture))
    stage = [(g, ceil_div(g.layers, settings.pipeline)) for g in groups]
    bits = settings.cache.element_bytes
    per_token = [kv.group_bytes_per_token(architecture, g, bits, settings.tensor) / g.layers for g in groups]
    growing = [n for n, (g, _) in enumerate(stage) if g.kind in kv.PER_TOKEN_KINDS]
    whole = not settings.cache.hybrid_windows or not any(g.window_tokens for g in groups)
    if whole and len(growing) == len(groups):
        # No windows, or windows charged in full: every layer in one group.
        total = sum(per_token[n] * stage[n][1] for n in growing)
        return Pool(
            block_bytes=int(total * settings.cache.block_tokens),
            block_tokens=settings.cache.block_tokens,
            full_groups=((1, settings.cache.block_tokens),),
            window_groups=(),
            state_groups=0,
        )
    return _hybrid(settings, stage, per_token, growing)


def _hybrid(
    settings: VllmSettings, stage: list[tuple[LayerGroup, int]], per_token: list[float], growing: list[int]
) -> Pool:
    counts = [count for _, count in stage]
    fewest, most = min(counts), max(counts)
    size = most if most < 1.5 * fewest else fewest
    page = max((per_token[n] * settings.cache.block_tokens for n in growing), default=0.0)
    block_tokens = settings.cache.block_tokens
    states = [ceil_div(ceil_div(g.state_bytes, settings.tensor), g.layers) for g, _ in stage if g.state_bytes]
    if states:
        # The attention block grows until its page is as large as one layer's recurrent state.
        slowest = max((per_token[n] for n in growing), default=0.0)
        if slowest:
            block_tokens = round_up(
                max(block_tokens, int(max(states) / slowest) + 1), settings.cache.block_tokens
            )
        page = max(float(max(states)), slowest * block_tokens)
    recurrent = 0
    full: list[tuple[int, int]] = []
    sliding: list[tuple[int, int, int]] = []
    for number, (group, count) in enumerate(stage):
        groups = ceil_div(count, size)
        if number not in growing:
            if growing and settings.cache.states is None:
                full.append((groups, block_tokens))
            else:
                recurrent += groups
            continue
        # Of smaller layers a block has more tokens, or is padded (unify_kv_cache_spec_page_size).
        more = page / (per_token[number] * block_tokens)
        tokens = block_tokens * (int(more) if more.is_integer() else 1)
        if group.kind in ("sliding", "chunked") and group.window_tokens and settings.cache.hybrid_windows:
            sliding.append((groups, tokens, group.window_tokens))
        else:
            full.append((groups, tokens))
    return Pool(
        block_bytes=int(page * size),
        block_tokens=block_tokens,
        full_groups=tuple(full),
        window_groups=tuple(sliding),
        state_groups=recurrent,
        states=(settings.cache.states or 1) if growing else 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCapacity:
    """Capacity of a KV cache of a given size, as the vLLM version reports it."""

    tokens: int
    """Number of tokens, as in vLLM's log line "GPU KV cache size"."""
    concurrency: float
    """Number of requests of max_model_len tokens, as in vLLM's log line "Maximum concurrency"."""
    request_bytes: int
    """Bytes that one request of max_model_len tokens takes."""


def cache(pool: Pool, settings: VllmSettings, available_bytes: int) -> KvCapacity:
    """The number of tokens and requests for which ``available_bytes`` on each GPU suffice."""
    in_flight = settings.cache.in_flight_steps * settings.batch.tokens
    per_request = pool.blocks_per_request(settings.max_model_len, in_flight)
    blocks = max(0, available_bytes // pool.block_bytes) if pool.block_bytes else 0
    concurrency = blocks / per_request
    if settings.rules.kv_size == "concurrency":
        tokens = int(concurrency * settings.max_model_len)
    else:
        tokens = blocks // max(1, pool.groups) * pool.block_tokens
    return KvCapacity(
        tokens=tokens,
        concurrency=concurrency,
        request_bytes=per_request * pool.block_bytes,
    )
