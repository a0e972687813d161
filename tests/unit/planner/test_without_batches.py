"""What is expected of an engine that computes each request by itself."""

from __future__ import annotations

import pytest

from benchmarks.planner.placements import placement
from tacho_contract.launch import ServiceLevel
from tacho_engines.base import Context
from tacho_engines.registry import engine_profile, planner_adapter
from tacho_operator.core.planner.expected_speed import expected_speed
from tacho_operator.core.planner.speed import DecodeStep


@pytest.mark.parametrize(("streams", "measured"), [(1, 110), (2, 166), (8, 144), (16, 114)])
def test_an_engine_without_batches_gains_nothing_by_more_streams(streams, measured):
    """The levels of benchmarks/lab/h200/checked/llama-8b-ct2; as a batch, 16 streams were 3,286 tok/s."""
    found = placement("ctranslate2", "llama-3.1-8b", "ct2-int8-float16", "H200")
    account = planner_adapter("ctranslate2").account(found, Context(4096, 16))
    step = DecodeStep(
        placement=found,
        weights_bytes=account.read_bytes,
        key_value_bytes=2.0,
        input_tokens=512,
        output_tokens=200,
    )
    told = expected_speed(
        engine_profile("ctranslate2").speed,
        step,
        concurrency=streams,
        slots=16,
        level=ServiceLevel(),
        front_ends=None,
    )
    assert told is not None
    within = 1 + told.output_within
    assert 1 / within < told.output_tokens_per_second / measured < within
    assert told.capacity_concurrency == 1
    assert told.capacity_tokens_per_second == pytest.approx(111, rel=0.05)
