"""vLLM's KV cache: bytes of a block, blocks of a request, and the sizes that its log reports at start.

Layers that keep the same state form groups of equal layer counts, which share one pool of blocks. Source:
vLLM v1/core/kv_cache_utils.py (get_kv_cache_groups, get_max_concurrency_for_kv_cache_config),
v1/kv_cache_interface.py (max_memory_usage_bytes of each spec), and of running requests
v1/core/single_type_kv_cache_manager.py (remove_skipped_blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tacho_contract.model import Architecture, LayerGroup
from tacho_engines.memory import kv
from tacho_engines.memory.rounding import ceil_div, round_up
from tacho_engines.vllm.settings import VllmSettings

UNCOMPRESSED_HEAD_DIM = 256
"""Size to which vLLM padded keys and values of each head of MLA models, before it cached the latent vector.
With VLLM_MLA_DISABLE later versions do not pad them: DeepSeek's have 192.
"""


class WindowGroups(NamedTuple):
    """Groups of sliding or chunked layers, which keep only their window."""

    groups: int
    block_tokens: int
    window_tokens: int
    chunked: bool = False
    """Whether windows begin at multiples of their size, so that none has parts of two more blocks."""

    def held(self, tokens: int) -> int:
        """Blocks of a running request of ``tokens`` tokens."""
        whole = ceil_div(min(self.window_tokens, tokens), self.block_tokens)
        return self.groups * (whole if self.chunked else whole + 1)

    def most(self, tokens: int, in_flight_tokens: int) -> int:
        """The most blocks of one request, with all tokens that are in flight."""
        before = self.window_tokens if self.chunked else self.window_tokens - 1
        return self._replace(window_tokens=before + in_flight_tokens).held(tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """vLLM's pool of KV cache blocks. One block holds the same tokens in every layer of one group of
    layers."""

    block_bytes: int
    block_tokens: int
    """Tokens of a block, of the largest layers."""
    full_groups: tuple[tuple[int, int], ...]
    """(number of groups, tokens of a block) of layers whose blocks grow with the context."""
    window_groups: tuple[WindowGroups, ...]
    state_groups: int
    """Number of groups of recurrent layers."""
    states: int = 1
    """Number of blocks of each group of recurrent layers that a request needs."""

    @property
    def groups(self) -> int:
        return sum(each[0] for each in (*self.full_groups, *self.window_groups)) + self.state_groups

    def blocks_per_request(self, tokens: int, in_flight_tokens: int) -> int:
        """The most blocks that one request of ``tokens`` tokens holds, which vLLM charges to each that it
        counts, and to the one that it admits."""
        windows = sum(each.most(tokens, in_flight_tokens) for each in self.window_groups)
        return max(1, self._growing(tokens) + windows)

    def blocks_while_running(self, tokens: int) -> int:
        """Blocks of one of several running requests. Of its windows it keeps no more than it reads: tokens in
        flight are those of the one that is admitted."""
        return max(1, self._growing(tokens) + sum(each.held(tokens) for each in self.window_groups))

    def requests(self, blocks: int, tokens: int, in_flight_tokens: int) -> float:
        """How many requests of ``tokens`` tokens run at the same time with ``blocks`` blocks."""
        first, further = self.blocks_per_request(tokens, in_flight_tokens), self.blocks_while_running(tokens)
        return blocks / first if blocks < first else 1 + (blocks - first) / further

    def _growing(self, tokens: int) -> int:
        grown = sum(groups * ceil_div(tokens, each) for groups, each in self.full_groups)
        return self.state_groups * self.states + grown


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
    windows: list[WindowGroups] = []
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
            windows.append(WindowGroups(groups, tokens, group.window_tokens, group.kind == "chunked"))
        else:
            full.append((groups, tokens))
    return Pool(
        block_bytes=int(page * size),
        block_tokens=block_tokens,
        full_groups=tuple(full),
        window_groups=tuple(windows),
        state_groups=recurrent,
        states=(settings.cache.states or 1) if growing else 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCapacity:
    """Capacity of a KV cache of a given size."""

    tokens: int
    """Number of tokens, as in vLLM's log line "GPU KV cache size"."""
    logged_concurrency: float
    """Number of requests of max_model_len tokens, as in vLLM's log line "Maximum concurrency"."""
    concurrency: float
    """Number of requests of max_model_len tokens that run at the same time; more than vLLM logs, where layers
    have windows."""
    request_bytes: int
    """Bytes that one request of max_model_len tokens takes."""
    in_flight_bytes: int
    """Bytes of those that only the request that is admitted needs."""


def cache(pool: Pool, settings: VllmSettings, available_bytes: int) -> KvCapacity:
    """The number of tokens and requests for which ``available_bytes`` on each GPU suffice."""
    in_flight, length = settings.in_flight_tokens, settings.max_model_len
    per_request = pool.blocks_per_request(length, in_flight)
    blocks = max(0, available_bytes // pool.block_bytes) if pool.block_bytes else 0
    logged = blocks / per_request
    if settings.rules.kv_size == "concurrency":
        tokens = int(logged * length)
    else:
        tokens = blocks // max(1, pool.groups) * pool.block_tokens
    return KvCapacity(
        tokens=tokens,
        logged_concurrency=logged,
        concurrency=pool.requests(blocks, length, in_flight),
        request_bytes=per_request * pool.block_bytes,
        in_flight_bytes=(per_request - pool.blocks_while_running(length)) * pool.block_bytes,
    )
