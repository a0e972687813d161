"""The mock engine's law: when which token comes, in numbers that can be set while it runs.

TTFT = a + b x computed prompt tokens + c x others running, from admission; a step takes
ITL(B) = alpha + beta x B (+ gamma x what B exceeds a knee by) with B the admitted sequences, prefilling ones
included.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    ttft_base_ms: float = 20.0
    ttft_per_token_ms: float = 0.05
    ttft_per_running_ms: float = 0.0
    """Milliseconds added to the time to first token for each sequence that already runs."""
    ttft_tail: float = 0.0
    """Sigma of the lognormal factor on ``ttft_per_running_ms``, of median 1. 0: none."""
    ttft_slow_share: float = 0.0
    """Share of prompts that wait ``ttft_slow_ms`` more once ``ttft_slow_from`` others run."""
    ttft_slow_ms: float = 0.0
    ttft_slow_from: int = 0
    prefill_blocks: bool = False
    """Prompts are computed one after the other, and no sequence gets a token meanwhile."""
    itl_base_ms: float = 10.0
    itl_per_seq_ms: float = 0.5
    itl_knee: int = 0
    """Above so many sequences each further one costs ``itl_per_seq_above_ms`` more. 0: no knee."""
    itl_per_seq_above_ms: float = 0.0
    tokens_per_chunk: int = 1
    """The first chunk holds the prefill's one token, later ones at least this many (vLLM's
    --stream-interval)."""
    hidden_tokens: int = 0
    """So many tokens of each answer have no event of their own: they come with the next one."""
    tokens_per_step: float = 1.0
    """Mean tokens that a step brings a sequence after its first (speculative decoding): 1 and a binomial
    number of accepted ones."""
    eos_after: int = 0
    """Output ends after this many tokens unless the request says ignore_eos. 0: never by itself."""
    stubborn_eos: bool = False
    """Ends there even when told to ignore it."""
    max_num_seqs: int = 256
    kv_tokens: int = 100_000
    kv_policy: str = "reserve"
    """reserve: a sequence is admitted once all its tokens have room. preempt: once its prompt has; when the
    cache is full the youngest gives way, waits first in line and computes its tokens again."""
    prefix_caching: bool = True
    """Equal prompts of equal salt are computed once."""
    shared_tokens: int = 0
    """Tokens with which every prompt begins, found again by a cache that compares token by token."""
    cached_share: float = 0.0
    """Share of every prompt that counts as cached, whichever client sends it: simulates a faulty prefix
    cache."""
    jitter_cv: float = 0.0
    """Coefficient of variation of a step's time. Lognormal, the mean is kept."""
    stall_every_ms: float = 0.0
    """Mean time between stalls, in which nothing happens for ``stall_ms``; drawn evenly from half to one and
    a half of it. 0: none."""
    stall_ms: float = 0.0
    cold_ms: float = 0.0
    """Milliseconds that the engine halts when the number of running sequences first reaches a power of two: a
    new batch size is compiled."""
    frontend_us: float = 0.0
    """Microseconds that each streamed chunk costs a front end that serves one chunk at a time. 0, and for
    answers in one piece: no cost."""
    foreign_streams: int = 0
    """Number of other clients' streams, each with one request after the other, from ``foreign_from_s`` after
    the start for ``foreign_seconds``."""
    foreign_from_s: float = 0.0
    foreign_seconds: float = 0.0
    foreign_input_tokens: int = 128
    foreign_output_tokens: int = 128
    seed: int = 0
    """Seed of all random draws."""

    def __post_init__(self) -> None:
        if self.kv_policy not in ("reserve", "preempt"):
            raise ValueError(f"kv_policy: reserve or preempt, got {self.kv_policy!r}")
        if self.tokens_per_step < 1:
            raise ValueError("tokens_per_step: at least 1")
        if not 0 <= self.cached_share <= 1:
            raise ValueError("cached_share: 0 to 1")

    def changed(self, **values: object) -> Law:
        """Raises TypeError for an unknown name or a value of another kind, ValueError for one that is no
        law."""
        for name, value in values.items():
            text = name == "kv_policy"
            if not isinstance(value, str if text else int | float):
                raise TypeError(f"{name}: a {'word' if text else 'number'} is wanted")
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]  # checked above

    def itl_seconds(self, running: int) -> float:
        """The mean of a step with ``running`` sequences."""
        above = max(0, running - self.itl_knee) if self.itl_knee else 0
        return (self.itl_base_ms + self.itl_per_seq_ms * running + self.itl_per_seq_above_ms * above) / 1000

    def ttft_seconds(self, computed_tokens: int, others: float, rng: Random | None = None) -> float:
        """Seconds from admission to the first token, without stalls and cold starts: one drawn from ``rng``,
        else the mean."""
        slow = self.ttft_slow_share if others >= self.ttft_slow_from else 0.0
        factor = math.exp(self.ttft_tail**2 / 2)
        if rng and slow:
            slow = float(rng.random() < slow)
        if rng and self.ttft_tail:
            factor = rng.lognormvariate(0.0, self.ttft_tail)
        added_ms = self.ttft_per_running_ms * others * factor + self.ttft_slow_ms * slow
        return (self.ttft_base_ms + added_ms + self.ttft_per_token_ms * computed_tokens) / 1000
