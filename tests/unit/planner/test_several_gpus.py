"""What a plan expects of GPUs that split each layer, and what it may not."""

from typing import Any

import pytest

from tests.unit.planner.test_expected_speed import expect


@pytest.mark.parametrize("gpus", [2, 4])
def test_several_gpus_that_were_timed_have_bands_of_their_own(gpus: int) -> None:
    found = expect(count=gpus, tensor=gpus)
    assert (found.decode_within, found.output_within) == (0.09, 0.3)
    assert found.ran == "as vLLM 0.26 ran models of 7B to 70B over 2 and 4 H200s"
    later = expect(count=gpus, tensor=gpus, version="0.32.0")
    assert (round(later.decode_within, 2), round(later.output_within, 2)) == (0.48, 0.61)
    assert later.ran.endswith("; version 0.32.0 was not measured")


@pytest.mark.parametrize(
    "other",
    [
        {"count": 8, "tensor": 8},
        {"count": 2, "tensor": 2, "device": "H100"},
        {"count": 2, "tensor": 2, "method": "bnb-nf4"},
        {"count": 2, "tensor": 2, "model": "qwen3-moe-12-layers"},
        {"count": 4, "tensor": 2, "pipeline": 2},
    ],
    ids=str,
)
def test_of_others_a_factor_of_two_is_said(other: dict[str, Any]) -> None:
    found = expect(**other)
    assert (found.decode_within, found.output_within, found.ran) == (1.0, 1.0, "")
