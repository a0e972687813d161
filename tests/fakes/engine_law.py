"""The mock engine's law and its scheduler: when which token comes.

TTFT = a + b x prompt tokens from admission; ITL = alpha + beta x B with B the admitted sequences, prefilling
ones included. One loop serves all sequences by absolute deadlines: a token that is late does not delay
the next, so the law holds exactly on average whatever the machine does. (Real engines move all sequences in
common steps; then TTFT would wait for the next step and no law could be stated exactly.)
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

BLOCK_TOKENS = 16
REMEMBERED_PROMPTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    ttft_base_ms: float = 20.0
    ttft_per_token_ms: float = 0.05
    itl_base_ms: float = 10.0
    itl_per_seq_ms: float = 0.5
    tokens_per_chunk: int = 1
    """The first chunk holds the prefill's one token, later ones this many (vLLM's --stream-interval)."""
    eos_after: int = 0
    """Output ends after this many tokens unless the request says ignore_eos. 0: never by itself."""
    stubborn_eos: bool = False
    """Ends there even when told to ignore it."""
    max_num_seqs: int = 256
    kv_tokens: int = 100_000

    def changed(self, **values: object) -> Law:
        """Raises TypeError for an unknown name or a value that is no number."""
        for name, value in values.items():
            if not isinstance(value, int | float):
                raise TypeError(f"{name}: a number is wanted")
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]


@dataclass(slots=True, eq=False)
class Sequence:
    """One request in the engine."""

    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    arrived: float
    cached_tokens: int = 0
    chunks: asyncio.Queue[tuple[int, bool]] = field(default_factory=asyncio.Queue)
    """(tokens in the chunk, whether it is the last)."""
    generated: int = 0
    unsent: int = 0
    first_token: float = 0.0
    gone: bool = False

    @property
    def reserved(self) -> int:
        return self.prompt_tokens + self.output_tokens


@dataclass(slots=True)
class Totals:
    prompt_tokens: float = 0
    cached_tokens: float = 0
    generated_tokens: float = 0
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    ttft_seconds: list[float] = field(default_factory=list)
    """Of every request so far; a mock does not live long."""
    late_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    """How long after its due time each token was handled: a busy machine keeps no law."""
    gaps_seconds: float = 0.0
    gaps: int = 0


class Scheduler:
    """Admits, times and ends sequences. ``start`` before use, ``stop`` at the end."""

    def __init__(self, law: Law, clock: Callable[[], float]) -> None:
        self.law = law
        self.totals = Totals()
        self.running: set[Sequence] = set()
        self.waiting: deque[Sequence] = deque()
        self._clock = clock
        self._due: list[tuple[float, int, Sequence]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._prompts: dict[int, None] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def kv_used_tokens(self) -> int:
        return sum(sequence.prompt_tokens + sequence.generated for sequence in self.running)

    def submit(
        self,
        *,
        prompt_tokens: int,
        prompt_key: int,
        max_tokens: int,
        min_tokens: int,
        ignore_eos: bool,
        arrived: float,
    ) -> Sequence:
        """A sequence whose chunks will come. ``prompt_key``: equal prompts hit the prefix cache."""
        law = self.law
        output_tokens, reason = max_tokens, "length"
        if law.eos_after and (law.stubborn_eos or not ignore_eos):
            ends = law.eos_after if law.stubborn_eos else max(law.eos_after, min_tokens)
            if ends <= max_tokens:
                output_tokens, reason = ends, "stop"
        cached = 0
        if prompt_key in self._prompts:
            cached = (prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        self._prompts[prompt_key] = None
        if len(self._prompts) > REMEMBERED_PROMPTS:
            self._prompts.pop(next(iter(self._prompts)))
        sequence = Sequence(prompt_tokens, output_tokens, reason, arrived, cached)
        self.waiting.append(sequence)
        self._admit(arrived)
        return sequence

    def abort(self, sequence: Sequence) -> None:
        """Nobody reads it any more."""
        if sequence.gone:
            return
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        self._end(sequence, "abort", self._clock())

    def _admit(self, now: float) -> None:
        while self.waiting and len(self.running) < self.law.max_num_seqs:
            sequence = self.waiting[0]
            reserved = sum(other.reserved for other in self.running)
            if self.running and reserved + sequence.reserved > self.law.kv_tokens:
                return
            self.waiting.popleft()
            self.running.add(sequence)
            computed = sequence.prompt_tokens - sequence.cached_tokens
            ttft_seconds = (self.law.ttft_base_ms + self.law.ttft_per_token_ms * computed) / 1000
            self._push(max(now, sequence.arrived) + ttft_seconds, sequence)

    def _push(self, due: float, sequence: Sequence) -> None:
        heapq.heappush(self._due, (due, next(self._order), sequence))
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                due, _, sequence = heapq.heappop(self._due)
                if not sequence.gone:
                    self._token(due, sequence)
            delay = self._due[0][0] - self._clock() if self._due else None
            if delay is None or delay > 0:
                try:
                    await asyncio.wait_for(self._wake.wait(), delay)
                except asyncio.TimeoutError:
                    continue
            else:
                await asyncio.sleep(0)

    def _token(self, due: float, sequence: Sequence) -> None:
        """One token at its due time, not at the time it is handled."""
        self.totals.late_seconds.append(self._clock() - due)
        sequence.generated += 1
        sequence.unsent += 1
        self.totals.generated_tokens += 1
        first, last = sequence.generated == 1, sequence.generated >= sequence.output_tokens
        gap_seconds = (self.law.itl_base_ms + self.law.itl_per_seq_ms * len(self.running)) / 1000
        if first:
            sequence.first_token = due
            self.totals.prompt_tokens += sequence.prompt_tokens
            self.totals.cached_tokens += sequence.cached_tokens
            self.totals.ttft_seconds.append(due - sequence.arrived)
        else:
            self.totals.gaps += 1
            self.totals.gaps_seconds += gap_seconds
        if first or last or sequence.unsent >= self.law.tokens_per_chunk:
            sequence.chunks.put_nowait((sequence.unsent, last))
            sequence.unsent = 0
        if last:
            self._end(sequence, sequence.finish_reason, due)
        else:
            self._push(due + gap_seconds, sequence)

    def _end(self, sequence: Sequence, reason: str, now: float) -> None:
        sequence.gone = True
        self.running.discard(sequence)
        self.totals.finished[reason] += 1
        self._admit(now)
