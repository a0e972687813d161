"""What PyTorch's allocator keeps of weights, by its rules and as starts on GPUs told."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tacho_contract.units import MIB
from tacho_engines.vllm.allocator import MOST_LAYERS, WHOLE_BYTES, Allocator, kept_bytes

SIZES = st.lists(st.integers(2 * MIB, 300 * MIB), min_size=1, max_size=6)


def mebibytes(*sizes: float, layers: int, anew: str = "") -> float:
    return kept_bytes((), tuple(round(size * MIB) for size in sizes), layers=layers, anew=anew) / MIB


@pytest.mark.parametrize(
    ("sizes", "layers", "found"),
    [
        ((35, 25, 270, 135), 64, 1072),
        ((48, 16, 86, 43), 32, 194),
        ((24, 16, 112, 56), 32, 0),
        ((5, 4, 43, 21.5), 36, 59),
        ((15.75, 12.25, 129.5, 64.75), 28, 55),
        ((18.75, 6.25, 25, 25), 32, 78),
    ],
    ids=["qwen2.5-32b", "llama-2-7b", "llama-3.1-8b", "qwen2.5-3b", "qwen2.5-7b", "phi-2"],
)
def test_fp8_in_flight_keeps_what_gpus_told(sizes, layers, found):
    """Sizes in 8 bits. What a start loaded beyond its tensors, of up to 33 GiB."""
    assert mebibytes(*sizes, layers=layers, anew="each") == pytest.approx(found, abs=6)


def test_a_tensor_of_20_mib_keeps_its_last_step_and_a_smaller_one_shares_it():
    assert mebibytes(21, layers=10) == 10
    assert mebibytes(15.5, layers=10) == 5
    assert mebibytes(12.5, 1.5, layers=1) == 0
    assert mebibytes(1, layers=10) == 0


def test_a_larger_block_is_taken_whole_below_20_mib_more():
    allocator = Allocator()
    allocator.give_back(allocator.take(60 * MIB))
    assert allocator.take(41 * MIB).size == 60 * MIB
    allocator.give_back(allocator.take(60 * MIB))
    assert allocator.take(40 * MIB).size == 40 * MIB


def test_free_neighbours_become_one_block():
    allocator = Allocator()
    first, second = allocator.take(6 * MIB), allocator.take(6 * MIB)
    allocator.give_back(first)
    allocator.give_back(second)
    assert [block.size for block in allocator.free] == [WHOLE_BYTES]


@given(SIZES, st.integers(1, MOST_LAYERS // 4), st.sampled_from(["", "each", "afterwards"]))
def test_never_less_than_nothing_nor_more_than_a_block_a_tensor(sizes, layers, anew):
    kept = kept_bytes((), tuple(sizes), layers=layers, anew=anew)
    assert 0 <= kept <= layers * len(sizes) * WHOLE_BYTES


@given(SIZES)
def test_more_layers_than_are_simulated_keep_as_much_each(sizes):
    whole = kept_bytes((), tuple(sizes), layers=MOST_LAYERS)
    assert kept_bytes((), tuple(sizes), layers=3 * MOST_LAYERS) == pytest.approx(3 * whole, abs=2)
    assert kept_bytes((5 * MIB,), tuple(sizes), layers=0) == 0
