"""What one replica does: how long a step takes, how fast prompts are computed, how many requests have room.

The law is that of continuous batching. Every step brings each request of the batch one token; a step's time
grows with the batch and with the tokens in the KV cache. Prompts are computed in chunks, in the same steps
(``step_tokens``), or beside them.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass, field

LEAST_STEP_SECONDS = 1e-6
UNKNOWN_KV_TOKENS = 10**9
STEP_TOKENS = 2048
"""Of a step, where nobody says: vLLM's default for a server."""
MOST_REQUESTS = 256


class LawError(ValueError):
    """Figures that make no law."""


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
    ttft_late: tuple[tuple[int, float], ...] = ()
    """(other requests that run, seconds that they add to it beside that, on the mean), by rising number:
    linear in between and from none at all, constant beyond the last."""
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

    def late_seconds(self, others: int) -> float:
        """What so many others that run add to the time to a first token on the mean, without holding up the
        engine."""
        seconds, (from_others, from_seconds) = 0.0, (0, 0.0)
        for to_others, to_seconds in self.ttft_late:
            share = min(1.0, (others - from_others) / (to_others - from_others))
            seconds = from_seconds + share * (to_seconds - from_seconds)
            if others <= to_others:
                break
            from_others, from_seconds = to_others, to_seconds
        return seconds + self.ttft_per_running_seconds * others
