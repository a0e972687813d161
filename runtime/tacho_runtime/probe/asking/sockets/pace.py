"""What earlier requests have shown of an engine's pace, to plan later ones with. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.statistics import median


@dataclass(slots=True)
class Pace:
    tokens_per_chunk: float = 1.0
    closing_events: int = 2
    """At the end of an answer, without a token."""
    _seen: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Concurrency: (seconds to the first token, seconds a token)."""

    def learn(self, concurrency: int, streams: Sequence[Stream]) -> None:
        ttfts = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
        tpots = [tpot for stream in streams if (tpot := stream.tpot_milliseconds) is not None]
        if ttfts and tpots:
            self._seen[concurrency] = median(ttfts) / 1000, median(tpots) / 1000
        whole = [stream for stream in streams if stream.finish_reason and len(stream.tokens) > 1]
        if whole:
            later = sum(stream.output_tokens - stream.tokens[0][1] for stream in whole)
            self.tokens_per_chunk = later / sum(len(stream.tokens) - 1 for stream in whole)

    def service_seconds(self, concurrency: int, output_tokens: int) -> float | None:
        """How long one request takes, at least: more streams only make each slower. None: none was seen."""
        seen = self._nearest(concurrency)
        return None if seen is None else seen[0] + output_tokens * seen[1]

    def chunks_per_second(self, concurrency: int) -> float | None:
        """How many chunks come from all streams, at most."""
        seen = self._nearest(concurrency)
        if seen is None or seen[1] <= 0:
            return None
        return concurrency / seen[1] / max(1.0, self.tokens_per_chunk)

    def _nearest(self, concurrency: int) -> tuple[float, float] | None:
        """Of the most streams that are not more."""
        below = [level for level in self._seen if level <= concurrency]
        return self._seen[max(below)] if below else None
