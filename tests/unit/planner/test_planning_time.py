"""A plan ends within its 10 s of CPU time on a cluster with every kind of GPU, whatever is asked of it."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner.models import facts
from tacho_engines.hardware.gpu_table import GPUS
from tacho_engines.vllm.allocator import Allocator, kept_bytes
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.speed import DecodeStep
from tests.unit.planner.test_expected_speed import loop
from tools.mock.specs import CONFIG, gpu_node, spec

NODES = tuple(
    gpu_node(f"n{at}", gpu.label, 8, memory_mib=int(gpu.memory_mib[0]), compute=gpu.compute)
    for at, gpu in enumerate(GPUS[::3])
)


@pytest.mark.parametrize("slo", [None, {"ttftMilliseconds": 1_800_000}], ids=["knee", "service level"])
def test_nothing_long_is_computed_twice(slo, monkeypatch):
    """Each attempt had simulated the allocator for every context, and timed a step again and again."""
    kept_bytes.cache_clear()
    looks, times = [], []
    take, seconds = Allocator.take, DecodeStep.seconds
    monkeypatch.setattr(Allocator, "take", lambda *asked: looks.append(1) or take(*asked))
    monkeypatch.setattr(DecodeStep, "seconds", lambda *asked: times.append(1) or seconds(*asked))
    asks = {"engine": {"name": "vllm"}, "gpu": None, "context": {"concurrency": 4096}, "slo": slo}
    plan_model(spec(**asks), facts("qwen2.5-72b"), nodes=NODES, history=(), config=CONFIG)
    assert 0 < len(looks) < 20_000, "of 3.5 million"
    assert 0 < len(times) < 200_000, "of 479,000 at the knee"


def test_a_changed_step_is_timed_anew():
    found = loop()
    before = found.gap(8)
    twice = dataclasses.replace(found.step, weights_bytes=2 * found.step.weights_bytes)
    assert dataclasses.replace(found, step=twice).gap(8) > before == found.gap(8)
