"""Performance model of one replica: step times, prefill throughput, batch and KV cache limits.

The model describes continuous batching. Each step generates one token per running request. The step time
grows with the batch. Prompts are computed in chunks within the same steps (``step_tokens``).
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tacho_simulate.replica import Replica

MIN_STEP_SECONDS = 1e-6
UNKNOWN_KV_TOKENS = 10**9
STEP_TOKENS = 2048
"""Default token budget of a step: vLLM's default for a server."""
DEFAULT_MAX_NUM_SEQS = 256


class PerformanceModelError(ValueError):
    """The values do not define a performance model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceModel:
    steps: tuple[tuple[int, float], ...]
    """(requests in the batch, seconds per step), ascending. Linear in between and constant below the first.
    Beyond the last it continues with the last slope, if that is not negative.
    """
    prefill_tokens_per_second: float
    step_tokens: int = STEP_TOKENS
    """Token budget of a step: chunks of prompts and one token per running request."""
    max_num_seqs: int = DEFAULT_MAX_NUM_SEQS
    kv_cache_tokens: int = UNKNOWN_KV_TOKENS
    """A request is admitted if its prompt fits. A full cache preempts the youngest request, which is
    recomputed first."""
    prompt_step_seconds: float = 0.0
    """Seconds of a step that completes prompts alone, beyond those of its prompt tokens."""
    ttft_fixed_seconds: float = 0.0
    """Constant part of TTFT, outside the engine steps."""
    ttft_late: tuple[tuple[int, float], ...] = ()
    """(other running requests, mean additional TTFT in seconds), ascending: linear in between and from 0,
    constant beyond the last."""
    replica: type[Replica] | None = None
    """Another simulated replica, for an engine with other rules; None: Replica."""
    _batches: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        batches = tuple(batch for batch, _ in self.steps)
        if not batches or any(later <= earlier for earlier, later in itertools.pairwise(batches)):
            raise PerformanceModelError("steps: at least one batch size is required, in ascending order")
        if min(seconds for _, seconds in self.steps) <= 0 or self.prefill_tokens_per_second <= 0:
            raise PerformanceModelError("step times and prefill throughput must be positive")
        object.__setattr__(self, "_batches", batches)

    def step_seconds(self, batch: int) -> float:
        """Seconds that one step takes with ``batch`` running requests."""
        above = bisect.bisect_right(self._batches, batch)
        if above == 0 or len(self.steps) == 1:
            seconds = self.steps[0][1]
        else:
            low = min(above, len(self.steps) - 1) - 1
            (from_batch, from_seconds), (to_batch, to_seconds) = self.steps[low], self.steps[low + 1]
            share, more = (batch - from_batch) / (to_batch - from_batch), to_seconds - from_seconds
            seconds = from_seconds + share * more if share <= 1 else to_seconds + (share - 1) * max(0.0, more)
        return max(MIN_STEP_SECONDS, seconds)

    def late_seconds(self, others: int) -> float:
        """Mean additional TTFT with ``others`` running requests, outside the engine steps."""
        seconds, (from_others, from_seconds) = 0.0, (0, 0.0)
        for to_others, to_seconds in self.ttft_late:
            share = min(1.0, (others - from_others) / (to_others - from_others))
            seconds = from_seconds + share * (to_seconds - from_seconds)
            if others <= to_others:
                break
            from_others, from_seconds = to_others, to_seconds
        return seconds
