"""What PyTorch's allocator keeps beside the weights, against what it held on an H200."""

from __future__ import annotations

import pytest

from benchmarks.planner.cases import Case, predict as predicted
from benchmarks.planner.placements import placement
from tacho_contract.model import Architecture, LayerGroup
from tacho_contract.units import MIB
from tacho_engines.base import Context
from tacho_engines.memory import weights
from tacho_engines.registry import planner_adapter
from tacho_engines.vllm.weights import allocator_bytes

QWEN = Architecture(
    hidden_size=1536,
    intermediate_size=8960,
    layers=28,
    attention_heads=12,
    key_value_heads=2,
    head_dim=128,
)
LINEAR = 28 * 2.0 * (1536 * 128 * 16 + 1536 * 1536 + 3 * 1536 * 8960)
EMBEDDING = 2.0 * 151936 * 1536


def beside(shape: Architecture = QWEN, *, split: float = LINEAR, tensor: int = 1, pipeline: int = 1) -> float:
    parts = weights.Parts(split=split, embedding=EMBEDDING)
    return allocator_bytes(shape, parts, gated=True, tensor=tensor, pipeline=pipeline) / MIB


def test_large_tensors_take_whole_steps() -> None:
    """benchmarks/gpu/h200/edges/qwen-1-5b-allocations.log: 1512 MiB for 1470 in 28 tensors, 784 for 735, 446
    for 445.12; of the 3.5 beside 28 tensors of 4.5 MiB, 2.5 follow."""
    assert beside() == pytest.approx(42 + 49 + 0.875 + 2.5)


def test_each_gpu_has_its_part() -> None:
    """Halves of 26.25, 13.125 and 222.56 MiB; the second are in blocks that smaller tensors began."""
    assert beside(tensor=2) == pytest.approx(28 * 1.75 + 1.4375)
    assert beside(pipeline=2) == pytest.approx(14 * (1.5 + 1.75) + 0.875 + 1.5)


def test_a_head_of_its_own_is_on_the_last_stage() -> None:
    parts = weights.Parts(split=LINEAR, embedding=EMBEDDING, head=EMBEDDING)
    both = allocator_bytes(QWEN, parts, gated=True, tensor=1, pipeline=1) / MIB
    assert both == pytest.approx(42 + 49 + 2 * 0.875 + 2.5)
    assert allocator_bytes(QWEN, parts, gated=True, tensor=1, pipeline=2) / MIB == pytest.approx(
        14 * 3.25 + 0.875 + 1.5
    )
    assert allocator_bytes(QWEN, parts, gated=True, tensor=1, pipeline=3) / MIB == pytest.approx(
        10 * 3.25 + 0.875 + 1
    )


def test_an_mlp_without_a_gate_has_one_tensor_up() -> None:
    """Phi-2: 37.5 MiB of queries, keys and values take 38, 50 takes 50; embedding and head 250 each."""
    phi = Architecture(
        hidden_size=2560,
        intermediate_size=10240,
        layers=32,
        attention_heads=32,
        key_value_heads=32,
        head_dim=80,
    )
    split = 32 * 2.0 * (4 * 2560 * 2560 + 2 * 2560 * 10240)
    parts = weights.Parts(split=split)
    assert allocator_bytes(phi, parts, gated=False, tensor=1, pipeline=1) == 16 * MIB


def test_packed_weights_are_smaller_tensors() -> None:
    """4.25 bits an element: 4 in the tensor, scales in another. 13.125 MiB of 14, but for the first few,
    which share a block with 6.5625."""
    assert beside(split=LINEAR * 4.25 / 16) == pytest.approx(28 * 0.875 - 1 + 0.875)


@pytest.mark.parametrize(
    "shape",
    [
        Architecture(),
        Architecture(hidden_size=1536, layers=28, kv_lora_rank=512, attention_heads=12, head_dim=128),
        Architecture(
            hidden_size=1536,
            layers=28,
            attention_heads=12,
            head_dim=128,
            layer_groups=(LayerGroup(kind="mamba", layers=28),),
        ),
    ],
)
def test_nothing_is_said_of_shapes_that_do_not_follow(shape: Architecture) -> None:
    assert beside(shape) == 0


def test_experts_are_two_tensors_of_a_layer() -> None:
    shape = Architecture(
        hidden_size=2049, layers=1, attention_heads=1, head_dim=1, experts=8, moe_intermediate_size=768
    )
    experts = 2.0 * 8 * 3 * 2049 * 768
    whole = weights.Parts(split=2.0 * 2 * 2049, experts=experts)
    left = allocator_bytes(shape, whole, gated=True, tensor=1, pipeline=1)
    assert left == -(2 * 8 * 2 * 2049 * 768) % (2 * MIB) + -(2 * 8 * 2049 * 768) % (2 * MIB) > 0
    packed = weights.Parts(split=2.0 * 2 * 2049, experts=experts / 4)
    assert allocator_bytes(shape, packed, gated=True, tensor=1, pipeline=1) == 0


@pytest.mark.parametrize(("version", "more"), [("0.20.2", False), ("0.21.0", True), ("0.29.0", True)])
def test_since_the_version_that_keeps_blocks_whole(version: str, more: bool) -> None:
    row = {"model": "qwen2.5-1.5b", "method": "none", "gpu": "NVIDIA-H200", "gpus": 1, "tensor": 1}
    row |= {"pipeline": 1, "maxModelLen": 8192, "args": [], "version": version}
    tensors = 2 * 1_543_714_304
    assert (predicted(Case(row, False)).weights_bytes - tensors > 90 * MIB) is more


def test_no_step_reads_it() -> None:
    asked = placement("vllm", "qwen2.5-1.5b", "none", "H200", version="0.26.0")
    account = planner_adapter("vllm").account(asked, Context(8192, 1))
    assert account is not None
    assert account.unread_bytes / MIB == pytest.approx(94.375)
