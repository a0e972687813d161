"""Expected speed of a plan: of one stream, at the planned concurrency, and at the capacity within the SLO."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

from tacho_contract.launch import ServiceLevel
from tacho_contract.model import Architecture
from tacho_engines.base import Placement
from tacho_engines.hardware.gpus import guessed_rates, is_slice
from tacho_engines.profile import EngineSpeed, KernelTiming, StepLaw
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import parse_arguments
from tacho_operator.core.planner.speed import DecodeStep

UNTIMED_WITHIN = 1.0
"""Where steps were not timed, 9 of 10 measurements are taken to stay within a factor of two. With one step
to what was timed, another version or another GPU of that generation, half as far on a scale of factors."""
MORE_STREAMS, MORE_TOKENS = 1.25, 1.02
"""Without a service level the capacity is where this many times the streams give less than this many times
the tokens."""
FEW_STREAMS = 8
"""Below, steps cost more than what they serve, and one stream may have a faster kernel than several."""
SEARCH_STEP = 1.03
"""Streams are tried in steps of three percent, finer than any claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedSpeed:
    """Expected output tokens per second of a replica."""

    decode_tokens_per_second: float
    """Of one stream."""
    output_tokens_per_second: float
    """Of the plan's concurrency."""
    capacity_concurrency: int
    """Streams that keep the service level; 0: not even one does."""
    capacity_tokens_per_second: float
    decode_within: float
    output_within: float
    ran: str
    """The measurement behind it, as a clause; "": none, a factor of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A closed loop on one replica: each stream sends its next request when the last one has ended."""

    step: DecodeStep
    law: StepLaw
    kernel: KernelTiming
    ceiling: float
    """Tokens per second that the engine's front ends carry."""

    def gap(self, streams: int) -> float:
        """Seconds between two tokens of a stream: one step, and the prompts that other streams begin in that
        time."""
        return self.step.seconds(streams, self.law, self.kernel) + self._prompts(streams - 1)

    def _prompts(self, streams: int) -> float:
        """Seconds of a step that go to the prompts of ``streams``."""
        return streams * self.step.prompt_seconds(self.law, self.kernel) / self.step.output_tokens

    def tokens_per_second(self, streams: int) -> float:
        """Output tokens per second of all ``streams`` together, the time for their own prompts included."""
        return min(self.ceiling, streams / (self.gap(streams) + self._prompts(1)))

    def keeps(self, streams: int, level: ServiceLevel) -> bool:
        """Whether ``streams`` streams are expected to meet the SLO at its percentile.

        The prompts that delay a request are Poisson distributed, ``streams`` on average. Its own prompt waits
        for one step and is computed in the next. The delay in the engine's HTTP front ends is unknown and
        left out.
        """
        gap = max(self.gap(streams), streams / self.ceiling)
        late = NormalDist().inv_cdf(level.percentile / 100) * self._prompts(streams) / streams**0.5
        first = 2 * gap + self.step.prompt_seconds(self.law, self.kernel)
        return (not level.tpot_milliseconds or 1e3 * (gap + late) <= level.tpot_milliseconds) and (
            not level.ttft_milliseconds or 1e3 * first <= level.ttft_milliseconds
        )

    def capacity(self, slots: int, level: ServiceLevel) -> int:
        """The most concurrent streams, up to ``slots``, that meet the SLO; 0 where one misses it.

        Without an SLO, the knee: MORE_STREAMS times as many streams would give less than MORE_TOKENS times
        the tokens.
        """
        bounded = level.tpot_milliseconds or level.ttft_milliseconds
        streams, kept = 1 if bounded else min(slots, FEW_STREAMS), 0
        while streams <= slots:
            if bounded and not self.keeps(streams, level):
                break
            kept = streams
            more = self.tokens_per_second(round(MORE_STREAMS * streams))
            if not bounded and more < MORE_TOKENS * self.tokens_per_second(streams):
                break
            streams = max(streams + 1, min(slots, int(SEARCH_STEP * streams)))
        return kept


def expected_speed(
    speed: EngineSpeed,
    step: DecodeStep,
    *,
    concurrency: int,
    slots: int,
    level: ServiceLevel,
    front_ends: int | None,
) -> ExpectedSpeed | None:
    """The expected speed of one replica; None where the GPU's bandwidth and generation, or the engine's
    speed, are unknown.

    ``front_ends``: HTTP front ends of the engine; None: enough for any load.
    """
    device = step.placement.device
    guessed = UNTIMED_WITHIN
    rates = None if device.bandwidth_bytes else guessed_rates(device)
    if rates:
        step = replace(step, placement=replace(step.placement, device=rates[0]))
        guessed = (1 + UNTIMED_WITHIN) * rates[1] - 1
    if step.bound() is None or not speed.efficiency:
        return None
    law, kernel, timed = timing(speed, step.placement)
    timed = timed and rates is None
    ceiling = law.front_end_tokens_per_second * front_ends if front_ends else float("inf")
    loop = Loop(step=step, law=law, kernel=kernel, ceiling=ceiling)
    capacity = loop.capacity(slots, level)
    return ExpectedSpeed(
        decode_tokens_per_second=1 / loop.gap(1),
        output_tokens_per_second=loop.tokens_per_second(concurrency),
        capacity_concurrency=capacity,
        capacity_tokens_per_second=loop.tokens_per_second(capacity) if capacity else 0.0,
        decode_within=kernel.decode_within if timed else guessed,
        output_within=kernel.output_within if timed else guessed,
        ran=kernel.ran if timed else "",
    )


def timing(speed: EngineSpeed, placement: Placement) -> tuple[StepLaw, KernelTiming, bool]:
    """(constants of the step time, constants of the kernel, whether they were timed on such hardware).

    Where only one property was not timed, the expected error is wider, and the last value is still true.
    """
    law = speed.law or _whole(speed.efficiency)
    plain = law.kernels[0]
    kernel = next((row for row in law.kernels if _covers(row, placement)), None)
    if kernel is None:
        return replace(law, traffic=1 / speed.efficiency), plain, False
    if kernel.arithmetic > plain.arithmetic and not placement.device.fp8_flops:
        kernel = replace(kernel, arithmetic=plain.arithmetic)
    untimed = _untimed(law, placement)
    if len(untimed) == 1:
        kernel = replace(
            kernel,
            decode_within=_halfway(kernel.decode_within),
            output_within=_halfway(kernel.output_within),
            ran=f"{kernel.ran}; {untimed[0]} was not measured",
        )
    return law, kernel, speed.law is not None and len(untimed) <= 1 and _is_alike(law, placement)


def _halfway(within: float) -> float:
    """Between a band and that of what was not timed, on a scale of factors."""
    return math.sqrt((1 + within) * (1 + UNTIMED_WITHIN)) - 1


def _untimed(law: StepLaw, placement: Placement) -> list[str]:
    """What differs from the setup that was timed, and may still be like it: a later version, another GPU of
    that generation."""
    version, product = placement.version, placement.device.product
    timed = version_key(law.version)
    found = [] if version_key(version)[: len(timed)] == timed else [f"version {version}"]
    return found if product in law.products else [*found, product]


def _whole(efficiency: float) -> StepLaw:
    """Of an engine whose steps were not timed: its usual share of the bound."""
    usual = KernelTiming(
        arithmetic=efficiency,
        decode_within=UNTIMED_WITHIN,
        output_within=UNTIMED_WITHIN,
        ran="",
    )
    return StepLaw(
        capability=(0, 0),
        version="",
        products=(),
        traffic=1 / efficiency,
        layer_microseconds=0.0,
        attention_nanoseconds=0.0,
        odd_head=1.0,
        prompt_attention=1.0,
        kernels=(usual,),
        front_end_tokens_per_second=float("inf"),
    )


def _covers(row: KernelTiming, placement: Placement) -> bool:
    schemes = placement.facts.quantization.schemes
    return placement.method.method in row.methods and set(schemes) <= set(row.schemes)


TIMED_LAYERS = ("full", "sliding")
"""Kinds of attention of the models that were timed; a window that holds the whole request is none."""


def _is_alike(law: StepLaw, placement: Placement) -> bool:
    """Whether a placement is like those that were timed: a dense model of text on one whole GPU of that
    generation and no earlier version, run as the engine runs by itself."""
    options, device = placement.options, placement.device
    whole = placement.count == 1 and placement.tensor == placement.pipeline == 1
    return (
        whole
        and not is_slice(device)
        and _dense(placement.architecture)
        and device.capability == law.capability
        and version_key(placement.version) >= version_key(law.version)
        and {*parse_arguments(options.arguments), *options.env} <= set(law.alike)
    )


def _dense(architecture: Architecture) -> bool:
    kinds = {group.kind for group in architecture.layer_groups}
    plain = not architecture.experts and not architecture.multimodal
    return plain and architecture.layers > 0 and kinds <= set(TIMED_LAYERS)
