"""Expected speed of a plan: of one stream, at the planned concurrency, and at the capacity within the SLO."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from tacho_contract.launch import ServiceLevel
from tacho_engines.base import Placement
from tacho_engines.hardware.gpus import guessed_rates
from tacho_engines.memory.account import CapturedSteps
from tacho_engines.profile import GRAPH_TOKENS, EngineSpeed, KernelTiming, SplitTiming, StepLaw
from tacho_engines.shared.images import version_key
from tacho_operator.core.planner.speed import DecodeStep, special_rate
from tacho_operator.core.planner.timed_setups import SUCH_GPU, covers, unlike_timed, why_untimed

UNTIMED_WITHIN = 1.0
"""Expected error of a speed where no step was timed on such hardware: 9 of 10 measurements lie within a
factor of two (1.0 = 100 %).

Where only version or GPU model differ from what was timed, half of that, on a logarithmic scale.
"""
ON_HOST_WITHIN = 0.90
"""The same of steps that may wait for the host. A Llama-3.2-1B was expected 65 % too fast, and 20 % too slow
(benchmarks/lab/h200/vllm-0.32-dense.md).
"""
MORE_STREAMS, MORE_TOKENS = 1.25, 1.02
"""Defines the knee, the capacity without an SLO: from there, 1.25 times the streams give less than 1.02 times
the throughput.
"""
KNEE_WITHIN = 0.65
"""Expected error of the throughput at the knee: measured curves flatten earlier than expected ones. Of 26
undisturbed pods with timed steps, 25 found 61 to 123 % of it (benchmarks/lab/planner.md). With experts, one
pod found 30 %: there it is UNTIMED_WITHIN.
"""
FEW_STREAMS = 8
"""Fewest streams for which the speed is predicted from timings. With fewer, fixed costs dominate, and one
stream may use a faster kernel.
"""
SEARCH_STEP = 1.03
"""Factor between the numbers of streams that are tried; 3 % is finer than the error of the prediction."""


def _tried(first: int, slots: int) -> Iterator[int]:
    """The numbers of streams that are tried as the capacity, from ``first`` to ``slots``."""
    streams = first
    while streams <= slots:
        yield streams
        streams = max(streams + 1, min(slots, int(SEARCH_STEP * streams)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedSpeed:
    """Expected output tokens per second of one replica."""

    decode_tokens_per_second: float
    """Output tokens per second of one stream."""
    output_tokens_per_second: float
    """Output tokens per second of all streams at the planned concurrency."""
    capacity_concurrency: int
    """Highest number of streams within the SLO; 0: one stream already misses it."""
    capacity_tokens_per_second: float
    decode_within: float
    output_within: float
    capacity_within: float
    """Expected error of ``capacity_tokens_per_second``: more than ``output_within`` where the SLO's number of
    streams depends much on the step time.
    """
    ran: str
    """A clause on the measurement behind the prediction; "": none, so the error may be a factor of two."""
    unlike: str
    """How the setup differs from all that were timed, as the end of a sentence; "" beside ``ran``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A closed loop on one replica: each stream sends its next request when the last one has ended."""

    step: DecodeStep
    law: StepLaw
    kernel: KernelTiming
    ceiling: float
    """Highest throughput of the engine's HTTP front ends, in tokens per second."""
    batching: bool = True
    """Whether one step computes a token of every stream; False: each stream has steps of its own."""
    _steps: dict[int, float] = field(init=False, default_factory=dict, compare=False, repr=False)
    """Seconds of a step by the number of streams: a search asks for each several times."""

    def gap(self, streams: int) -> float:
        """Seconds between two tokens of a stream: one step, or one for each stream without batching. Some of
        the steps compute prompts of other streams too.
        """
        if not self.batching:
            return streams * self._step(1) + self._prompts(streams - 1)
        others = (streams - 1) / self.step.output_tokens
        mixed, step = -math.expm1(-others), self._step(streams)
        return step + mixed * (self._with_prompts(streams, others / mixed) - step) if mixed else step

    def first_token(self, streams: int) -> float:
        """Seconds until the first token of a request: its prompt waits for the step in progress."""
        waiting = self.gap(streams) if self.batching and streams > 1 else 0.0
        return waiting + self._with_prompts(streams if self.batching else 1, 1)

    def _step(self, streams: int) -> float:
        if streams not in self._steps:
            self._steps[streams] = self.step.seconds(streams, self.law, self.kernel)
        return self._steps[streams]

    def _with_prompts(self, streams: int, prompts: float) -> float:
        """Seconds of a step of ``streams`` requests that computes ``prompts`` of their prompts too: its host
        launches kernels one by one while the GPU computes.
        """
        computed = self._step(streams) + prompts * self.step.prompt_seconds(self.law, self.kernel)
        launching, overlap = self.step.launch_seconds(streams, prompts, self.kernel), self.kernel.overlap
        return float((computed**overlap + launching**overlap) ** (1 / overlap))

    @property
    def most(self) -> float:
        """Highest throughput of the server's processes, in tokens per second."""
        return min(self.ceiling, self.kernel.server_tokens_per_second)

    def _prompts(self, streams: int) -> float:
        """Seconds per step that the prompts of ``streams`` streams take."""
        return streams * self.step.prompt_seconds(self.law, self.kernel) / self.step.output_tokens

    def tokens_per_second(self, streams: int) -> float:
        """Output tokens per second of ``streams`` streams together, the time for their prompts included."""
        tokens = self.step.output_tokens
        request = self.first_token(streams) + (tokens - 1) * self.gap(streams)
        return min(self.most, streams * tokens / request)

    def keeps(self, streams: int, level: ServiceLevel, slower: float = 1.0) -> bool:
        """Whether ``streams`` streams are expected to meet the SLO at its percentile, if everything takes
        ``slower`` times as long.

        The prompts that delay a request are Poisson distributed, ``streams`` on average. Its own prompt waits
        for one step and is computed in the next. The delay in the engine's HTTP front ends is unknown and
        left out.
        """
        gap = max(self.gap(streams), streams / self.most)
        late = NormalDist().inv_cdf(level.percentile / 100) * self._prompts(streams) / streams**0.5
        first = max(self.first_token(streams), 2 * streams / self.most)
        milliseconds = 1e3 * slower
        return (not level.tpot_milliseconds or milliseconds * (gap + late) <= level.tpot_milliseconds) and (
            not level.ttft_milliseconds or milliseconds * first <= level.ttft_milliseconds
        )

    def capacity(self, slots: int, level: ServiceLevel, slower: float = 1.0) -> int:
        """The most concurrent streams, up to ``slots``, that meet the SLO; 0 where one misses it. ``slower``
        as for ``keeps``.

        Without an SLO, the knee: MORE_STREAMS times as many streams would give less than MORE_TOKENS times
        the tokens.
        """
        if level.has_target:
            # By halves, as each further stream makes all wait longer: plans have a time limit.
            tried = tuple(_tried(1, slots))
            kept = bisect_left(tried, True, key=lambda streams: not self.keeps(streams, level, slower))
            return tried[kept - 1] if kept else 0
        last = 0
        for last in _tried(min(slots, FEW_STREAMS) if self.batching else 1, slots):
            if not self._gains(last, slots):
                break
        return last

    def _gains(self, streams: int, slots: int) -> bool:
        """Whether MORE_STREAMS times as many streams give MORE_TOKENS times the tokens, once or more often.

        Throughput falls where steps outgrow the CUDA graphs, and may rise again beyond.
        """
        found, times = self.tokens_per_second(streams), 1
        while (more := round(MORE_STREAMS**times * streams)) <= slots or times == 1:
            if self.tokens_per_second(more) >= MORE_TOKENS**times * found:
                return True
            times += 1
        return False

    def capacity_within(self, slots: int, level: ServiceLevel, within: float) -> float:
        """Expected error of the throughput at the capacity, where that of all times is ``within``.

        Slower steps allow fewer streams within the SLO: many fewer where a step takes hardly longer for more
        streams.
        """
        if not level.has_target:
            return max(within, UNTIMED_WITHIN if self.kernel.experts else KNEE_WITHIN)
        slow, expected, fast = (
            self.tokens_per_second(max(1, self.capacity(slots, level, slower))) / slower
            for slower in (1 + within, 1.0, 1 / (1 + within))
        )
        return max(fast / expected, expected / slow) - 1


def expected_speed(
    speed: EngineSpeed,
    step: DecodeStep,
    *,
    concurrency: int,
    slots: int,
    level: ServiceLevel,
    front_ends: int | None,
    captured: CapturedSteps | None = None,
) -> ExpectedSpeed | None:
    """The expected speed of one replica; None where the GPU's bandwidth and generation, or the engine's
    speed, are unknown.

    ``front_ends``: HTTP front ends of the engine; None: enough for any load. ``captured``: the steps
    that have a CUDA graph; None: the engine's default.
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
    timed = timed and rates is None and (captured is None or captured.usual)
    if captured is not None:
        kernel = replace(kernel, graph_tokens=captured.tokens)
    elif kernel.graph_tokens == GRAPH_TOKENS:
        kernel = replace(kernel, graph_tokens=min(GRAPH_TOKENS, 2 * slots))
    ceiling = law.front_end_tokens_per_second * front_ends if front_ends else float("inf")
    loop = Loop(step=step, law=law, kernel=kernel, ceiling=ceiling, batching=speed.batching)
    kernel = on_host(kernel, loop.gap(1))
    capacity = loop.capacity(slots, level)
    output_within = kernel.output_within if timed else guessed
    return ExpectedSpeed(
        decode_tokens_per_second=1 / loop.gap(1),
        output_tokens_per_second=loop.tokens_per_second(concurrency),
        capacity_concurrency=capacity,
        capacity_tokens_per_second=loop.tokens_per_second(capacity) if capacity else 0.0,
        decode_within=kernel.decode_within if timed else guessed,
        output_within=output_within,
        capacity_within=loop.capacity_within(slots, level, output_within),
        ran=kernel.ran if timed else "",
        unlike=""
        if timed
        else SUCH_GPU
        if rates
        else why_untimed(speed.law, kernel, step.placement, captured),
    )


def timing(speed: EngineSpeed, placement: Placement) -> tuple[StepLaw, KernelTiming, bool]:
    """(constants of the step time, constants of the kernel, whether both were timed on such hardware).

    One property that differs from the timed setup widens the expected error, but still counts as timed.
    """
    law = speed.law or _untimed_law(speed.efficiency)
    plain = law.kernels[0]
    experts = bool(placement.architecture.experts)
    rows = [row for row in law.kernels if covers(row, placement)]
    own = [row for row in rows if row.experts == experts]
    kernel = next(iter((*own, *rows)), None)
    if kernel is None:
        return replace(law, traffic=1 / speed.efficiency), plain, False
    if kernel.arithmetic > plain.arithmetic and not special_rate(placement):
        kernel = _weights_only(kernel, plain)
    if placement.tensor > 1 and law.split:
        kernel = _split(kernel, law.split)
    untimed = _untimed(law, kernel, placement)
    if len(untimed) == 1:
        kernel = replace(
            kernel,
            decode_within=_halfway(kernel.decode_within),
            output_within=_halfway(kernel.output_within),
            ran=f"{kernel.ran}; {untimed[0]} was not measured",
        )
    timed = bool(own) and speed.law is not None and len(untimed) <= 1 and not unlike_timed(law, placement)
    return law, kernel, timed


def _weights_only(kernel: KernelTiming, plain: KernelTiming) -> KernelTiming:
    """``kernel`` on a GPU without units of 8 bits: products run in 16 bits, no activation is quantized."""
    return replace(
        kernel,
        arithmetic=plain.arithmetic,
        layer_microseconds=0.0,
        batch_layer_microseconds=0.0,
        launch_microseconds=plain.launch_microseconds if kernel.launch_microseconds else 0.0,
    )


def _split(kernel: KernelTiming, split: SplitTiming) -> KernelTiming:
    """``kernel`` on GPUs that split each layer."""
    return replace(
        kernel,
        version="",
        products=split.products,
        layer_microseconds=kernel.layer_microseconds + split.layer_microseconds,
        batch_layer_microseconds=kernel.batch_layer_microseconds + split.batch_layer_microseconds,
        launch_microseconds=max(kernel.launch_microseconds, split.launch_microseconds),
        prompt_step_microseconds=0.0,
        host_step_microseconds=0.0,
        server_tokens_per_second=math.inf,
        decode_within=max(kernel.decode_within, split.decode_within),
        output_within=max(kernel.output_within, split.output_within),
        ran=split.ran,
    )


def on_host(kernel: KernelTiming, gap: float) -> KernelTiming:
    """``kernel`` for steps of one stream of ``gap`` seconds: so short ones may wait for the host."""
    if gap >= kernel.host_step_microseconds / 1e6:
        return kernel
    limit = f"; steps of under {kernel.host_step_microseconds / 1e3:g} ms may wait for the host"
    return replace(kernel, decode_within=ON_HOST_WITHIN, output_within=ON_HOST_WITHIN, ran=kernel.ran + limit)


def _halfway(within: float) -> float:
    """The expected error half way between ``within`` and UNTIMED_WITHIN, on a logarithmic scale."""
    return math.sqrt((1 + within) * (1 + UNTIMED_WITHIN)) - 1


def _untimed(law: StepLaw, kernel: KernelTiming, placement: Placement) -> list[str]:
    """How the setup differs from the timed one in ways that change the speed little: a later version, another
    GPU of the same generation.
    """
    version, product = placement.version, placement.device.product
    timed = version_key(kernel.version or law.version)
    found = [] if version_key(version)[: len(timed)] == timed else [f"version {version}"]
    if placement.version_assumed:
        found = ["the image's version"]
    return found if product in (kernel.products or law.products) else [*found, product]


def _untimed_law(efficiency: float) -> StepLaw:
    """Constants for an engine without timed steps: its usual share of the hardware's limit."""
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
