"""A world whose model serves and is measured."""

from __future__ import annotations

import dataclasses
from typing import Any

from tacho_contract.measurement import Capacity, CurvePoint, SingleStream
from tools.harness.figures import point
from tools.harness.resources import changed
from tools.harness.world import MOCK_SPEC, World

NEW_WORKLOAD = {"inputTokens": 900, "outputTokens": 10}


def measured_world(spec: dict[str, Any] | None = None) -> World:
    world = World(spec)
    world.come_up()
    return world


SPEC = changed(MOCK_SPEC, slo={"tpotMilliseconds": 30})


def level(streams: int, tokens: float, ratio: float, **changes: Any) -> CurvePoint:
    figures = {"ci_percent": 2.0, "tpot_slo_ratio": ratio, "slo_met": ratio <= 1, **changes}
    return dataclasses.replace(point(streams, tokens), **figures)


CURVE = (level(1, 120, 0.3), level(4, 400, 0.5), level(24, 1400, 1.4))
SINGLE = SingleStream(
    requests=20,
    decode_tokens_per_second=137.4,
    decode_ci_percent=1.0,
    tpot_milliseconds_p50=7.28,
    ttft_milliseconds_p50=101.0,
)


def floor(**changes: Any) -> dict[str, Any]:
    """Figures of a probe that ran out of its time."""
    return {
        "state": "Partial",
        "flags": ("BudgetExhausted",),
        "message": "no time was left",
        "single_stream": SINGLE,
        "curve": CURVE,
        "capacity": Capacity(
            concurrency=4,
            requests_per_second=6.2,
            output_tokens_per_second=400.0,
            total_tokens_per_second=1200.0,
            ci_percent=2.0,
            boundary="Floor",
            basis="SLO",
        ),
        **changes,
    }


def edge() -> dict[str, Any]:
    found = floor()["capacity"]
    capacity = dataclasses.replace(found, concurrency=16, output_tokens_per_second=1100.0, boundary="Edge")
    return floor(state="Complete", flags=(), message="", capacity=capacity)


def unfinished_world(**fields: Any) -> World:
    """A resource whose first pod ran out of its time."""
    world = World(changed(SPEC, **fields))
    world.first_pods()
    world.serves(world.pods("server")[0], **floor())
    world.reconcile(3)
    return world
