"""What one stream is expected to decode, where the engine was timed with this method on such a GPU.

The roofline is a bound; how near to it an engine comes differs from 0.65 (16 bits) to 0.22 (NF4) on one GPU:
a figure without a measurement behind it would be a guess, and none is made here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.model import Architecture
from tacho_engines.base import Placement
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import parse_arguments
from tacho_engines.step import StepRow
from tacho_operator.core.planner.roofline import Roofline

TIMED_LAYERS = ("full", "sliding")
"""Kinds of attention of the models that were timed; a window that holds the whole request is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One stream's rate, and what it is known from."""

    tokens_per_second: float
    ran: str
    """As part of a sentence."""


def expected(steps: tuple[StepRow, ...], placement: Placement, bound: Roofline | None) -> Expected | None:
    """Of one stream; None where no step of that kind was timed."""
    if bound is None or not _like_the_timed(placement):
        return None
    row = next((row for row in steps if _covers(row, placement)), None)
    if row is None:
        return None
    reading_seconds = 1 / bound.decode_tokens_per_second
    seconds = row.seconds(reading_seconds, placement.architecture.layers)
    return Expected(tokens_per_second=1 / seconds, ran=row.ran)


def _like_the_timed(placement: Placement) -> bool:
    """A dense model of text on one whole GPU."""
    whole = placement.count == 1 and placement.tensor == placement.pipeline == 1
    return whole and not is_slice(placement.device) and _dense(placement.architecture)


def _dense(architecture: Architecture) -> bool:
    kinds = {group.kind for group in architecture.layer_groups}
    plain = not architecture.experts and not architecture.multimodal
    return plain and architecture.layers > 0 and kinds <= set(TIMED_LAYERS)


def _covers(row: StepRow, placement: Placement) -> bool:
    options = placement.options
    said = {*parse_arguments(options.arguments), *options.env}
    return (
        placement.method.method in row.methods
        and placement.facts.quantization.scheme in row.schemes
        and placement.device.capability == row.capability
        and version_key(placement.version) >= version_key(row.since)
        and said <= set(row.alike)
    )
