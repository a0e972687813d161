"""What one replica does: how long a step takes, how fast prompts are computed, how many requests have room.

The law is that of continuous batching. Every step brings each request of the batch one token; a step's time
grows with the batch and with the tokens in the KV cache. Prompts are computed in chunks, in the same steps
(``step_tokens``), or beside them.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field
from statistics import median

from tacho_operator.api.types import Measurement

LEAST_STEP_SECONDS = 1e-6
UNKNOWN_KV_TOKENS = 10**9
STEP_TOKENS = 2048
"""Of a step, where nobody says: vLLM's default for a server."""
MOST_REQUESTS = 256


class LawError(ValueError):
    """A measurement that makes no law."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLaw:
    steps: tuple[tuple[int, float], ...]
    """(requests in the batch, seconds of a step), by rising batch: linear in between, constant below the
    first, and beyond the last as steep as before it, but never falling."""
    prefill_tokens_per_second: float
    seconds_per_kv_token: float = 0.0
    """What each token in the KV cache adds to a step."""
    step_tokens: int | None = STEP_TOKENS
    """Tokens of a step, prompts' chunks and one for each request that is answered. None: prompts are computed
    beside the steps, delay nobody, and their requests count in the batch."""
    max_num_seqs: int = MOST_REQUESTS
    kv_cache_tokens: int = UNKNOWN_KV_TOKENS
    reserves: bool = False
    """A request is admitted once all its tokens have room. Else once its prompt has: when the cache is full
    the youngest gives way, waits first in line and is computed again."""
    ttft_fixed_seconds: float = 0.0
    """What a first token takes whatever the prompt, without holding up the engine."""
    ttft_per_running_seconds: float = 0.0
    """What each other request that runs adds to it: a front end that is busy."""
    _batches: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        batches = tuple(batch for batch, _ in self.steps)
        if not batches or any(later <= earlier for earlier, later in itertools.pairwise(batches)):
            raise LawError("steps: batches must rise, and there must be one")
        if min(seconds for _, seconds in self.steps) <= 0 or self.prefill_tokens_per_second <= 0:
            raise LawError("a step takes time, and so does a prompt")
        object.__setattr__(self, "_batches", batches)

    def step_seconds(self, batch: int, kv_tokens: float = 0.0) -> float:
        """Of a step that brings each of ``batch`` requests a token."""
        above = bisect.bisect_right(self._batches, batch)
        if above == 0 or len(self.steps) == 1:
            seconds = self.steps[0][1]
        else:
            low = min(above, len(self.steps) - 1) - 1
            (from_batch, from_seconds), (to_batch, to_seconds) = self.steps[low], self.steps[low + 1]
            share, more = (batch - from_batch) / (to_batch - from_batch), to_seconds - from_seconds
            seconds = from_seconds + share * more if share <= 1 else to_seconds + (share - 1) * max(0.0, more)
        return max(LEAST_STEP_SECONDS, seconds + self.seconds_per_kv_token * kv_tokens)


def from_measurement(entry: Measurement, *, max_num_seqs: int | None = None) -> EngineLaw:
    """The law that an entry of status.measurements shows. Raises LawError where it says too little.

    The gap between tokens at each level of the curve holds what the prompts of the others cost: with C
    streams, C - 1 prompts are computed while one is answered. That is taken out, as the steps of the law do
    not hold it.
    """
    alone, shape = entry.single_stream, entry.workload
    prefill = _number(alone.prefill_tokens_per_second if alone else None)
    if shape is None or not shape.input_tokens or not shape.output_tokens or not prefill:
        raise LawError("the measurement lacks its workload or the speed of prompts")
    gaps = {}
    if alone and (gap := _number(alone.tpot_milliseconds_p50)):
        gaps[1] = gap / 1000
    for point in entry.curve:
        if (gap := _number(point.tpot_milliseconds_p50)) is not None and point.steady is not False:
            others = (point.concurrency - 1) * shape.input_tokens / (shape.output_tokens * prefill)
            gaps[point.concurrency] = max(LEAST_STEP_SECONDS, gap / 1000 - others)
    if not gaps:
        raise LawError("the measurement has no level with a time per token")
    tokens = entry.kv_cache.capacity_tokens if entry.kv_cache else None
    fixed, busy = _first_tokens(entry, gaps, shape.input_tokens / prefill)
    return EngineLaw(
        steps=tuple(sorted(gaps.items())),
        prefill_tokens_per_second=prefill,
        kv_cache_tokens=tokens or UNKNOWN_KV_TOKENS,
        max_num_seqs=max_num_seqs or MOST_REQUESTS,
        ttft_fixed_seconds=fixed,
        ttft_per_running_seconds=busy,
    )


def _first_tokens(entry: Measurement, steps: dict[int, float], prompt_seconds: float) -> tuple[float, float]:
    """What first tokens take beside their prompt: alone, and for each other request.

    Among others a prompt waits for the step that goes on, for half of it on the mean, and is then computed in
    one that brings the others their tokens, too.
    """
    alone = entry.single_stream
    overhead = _number(alone.ttft_overhead_milliseconds if alone else None) or 0.0
    first = _number(alone.ttft_milliseconds_p50 if alone else None)
    fixed = max(0.0, overhead / 1000 if first is None else first / 1000 - prompt_seconds)
    each = []
    for point in entry.curve:
        seen = _number(point.ttft_milliseconds_p50)
        if seen is not None and point.concurrency > 1 and point.concurrency in steps:
            known = fixed + prompt_seconds + 1.5 * steps[point.concurrency]
            each.append((seen / 1000 - known) / (point.concurrency - 1))
    return fixed, max(0.0, median(each)) if each else 0.0


def _number(text: str | None) -> float | None:
    value = None if text is None else float(text)
    return value if value is not None and math.isfinite(value) else None
