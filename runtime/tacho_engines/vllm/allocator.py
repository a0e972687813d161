"""What PyTorch's CUDA allocator keeps in addition to a model's tensors, while vLLM loads them.

The GPU gives memory in steps of 2 MiB, and 20 MiB for a tensor of less than 10. A block is split where more
than 1 MiB is left. While loading, vLLM forbids that for blocks of 20 MiB and more (max_split_size_mb): a
tensor of 20 MiB or more takes a free block that has less than 20 MiB more, and keeps all of it. Source:
c10/core/AllocatorConfig.h; c10/cuda/CUDACachingAllocator.cpp get_free_block, should_split (PyTorch 2.11);
vLLM 0.26 v1/worker/gpu_worker.py.

FP8 in flight frees each tensor in 16 bits, and the next ones take its block. A Qwen2.5-32B keeps 1,072 MiB on
an H100 so (1,074 by this module), a Llama-2-7B 194 on an H200 (192), a Llama 8B none.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal

from tacho_contract.units import MIB
from tacho_engines.memory.rounding import round_up

STEP_BYTES = 2 * MIB
LARGE_BYTES, WHOLE_BYTES = 10 * MIB, 20 * MIB
LEFT_BYTES = MIB
"""Rest of a block that is not used for another tensor. Tensors up to this size have blocks of their own."""
Anew = Literal["", "each", "afterwards"]
"""Whether tensors are made anew: each from 16 bits in twice its bytes, once it is loaded (FP8 in flight), or
all after loading in the same bytes (Machete and Marlin lay 4 bits out anew).
"""
MOST_LAYERS = 128
"""More are taken to keep as much each: what a layer leaves free soon repeats."""


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A part of what the GPU gave at once."""

    size: int
    given: int
    """Number of the piece of memory that it is a part of."""
    start: int


@dataclass(slots=True)
class Allocator:
    """Free blocks of PyTorch's pool for tensors of more than 1 MiB."""

    free: list[Block] = field(default_factory=list)
    pieces: int = 0

    def take(self, size: int) -> Block:
        """The smallest free block that may be used, or new memory."""
        most = WHOLE_BYTES if size < WHOLE_BYTES else size + WHOLE_BYTES
        block = min((one for one in self.free if size <= one.size < most), default=None)
        if block is None:
            self.pieces += 1
            given = WHOLE_BYTES if size < LARGE_BYTES else round_up(size, STEP_BYTES)
            block = Block(given, self.pieces, 0)
        else:
            self.free.remove(block)
        if size < WHOLE_BYTES and block.size - size > LEFT_BYTES:
            self.free.append(Block(block.size - size, block.given, block.start + size))
            block = Block(size, block.given, block.start)
        return block

    def give_back(self, block: Block) -> None:
        """Frees a block, which becomes one with its free neighbours."""
        for other in [one for one in self.free if one.given == block.given]:
            if block.start + block.size == other.start or other.start + other.size == block.start:
                self.free.remove(other)
                block = Block(block.size + other.size, block.given, min(block.start, other.start))
        self.free.append(block)


@functools.lru_cache(1024)
def kept_bytes(ends: tuple[int, ...], sizes: tuple[int, ...], *, layers: int, anew: Anew = "") -> int:
    """Bytes of blocks beyond the tensors in them. A plan asks for the same ones for each context.

    ``ends``: tensors outside the layers. ``sizes``: of each layer, in the order of loading.
    """
    allocator, simulated = Allocator(), min(layers, MOST_LAYERS)
    outside = sum(allocator.take(size).size - size for size in ends if size > LEFT_BYTES)
    tensors = [size for size in sizes if size > LEFT_BYTES] * simulated
    blocks = [_quantized(allocator, size) if anew == "each" else allocator.take(size) for size in tensors]
    if anew == "afterwards":
        blocks = [_moved(allocator, block, size) for block, size in zip(blocks, tensors, strict=True)]
    inside = sum(block.size for block in blocks) - sum(tensors)
    return outside + (round(inside * layers / simulated) if simulated else 0)


def _quantized(allocator: Allocator, size: int) -> Block:
    loaded = allocator.take(2 * size)
    return _moved(allocator, loaded, size)


def _moved(allocator: Allocator, block: Block, size: int) -> Block:
    anew = allocator.take(size)
    allocator.give_back(block)
    return anew
