"""Streams that are only counted: how many events each read brought, and what the engine says at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tacho_runtime.probe.load.job import BIN_NS
from tacho_runtime.probe.load.timed_client import StreamConnection

_EVENT = b"\ndata:"
"""Begins every event: text inside of one is JSON, whose line ends are escaped."""
_OVERLAP = len(_EVENT) - 1
_TAIL_BYTES = 2048
"""Enough for the closing usage."""
_USAGE = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')


class CountedConnection(StreamConnection):
    """Keeps no read but the first ones; of a refusal all."""

    __slots__ = ("_last", "marks")

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[int, int]] = []
        """(monotonic ns of a read, events that began in it)."""
        self._last = b""

    def _take(self, stamp_ns: int, data: bytes) -> None:
        if self._head is None or self._head.status != 200:
            self.reads.append((stamp_ns, data))
        joined = self._last[-_OVERLAP:] + data
        self.marks.append((stamp_ns, joined.count(_EVENT)))
        self._last = (self._last + data)[-_TAIL_BYTES:]

    def complaint(self) -> str:
        """Error message that the engine sent in a stream that began well."""
        at = self._last.rfind(_EVENT + b' {"error"')
        return self._last[at:].decode(errors="replace").strip()[:300] if at >= 0 else ""

    def total_tokens(self) -> int | None:
        """Total tokens by the engine's closing usage."""
        found = _USAGE.findall(self._last)
        return int(found[-1]) if found else None


@dataclass(slots=True)
class TokenCounts:
    """Tokens by their arrival time, from streams of any kind."""

    origin_ns: int
    tokens_per_chunk: float = 1.0
    """Of cut streams, until whole ones have shown it."""
    closing_events: int = 2
    _bins: list[float] = field(default_factory=list)
    _started: list[int] = field(default_factory=list)
    _ended: list[int] = field(default_factory=list)
    _cut: list[tuple[int, int]] = field(default_factory=list)
    _whole_tokens: float = 0.0
    _whole_chunks: int = 0

    def add_stamped(self, tokens: Iterable[tuple[int, float]]) -> None:
        """Tokens whose stamps are known one by one."""
        for stamp_ns, count in tokens:
            self._add(stamp_ns, count)

    def learn(self, tokens_after_first: float, chunks_after_first: int) -> None:
        """A whole stream's, for those that are cut."""
        self._whole_tokens += tokens_after_first
        self._whole_chunks += chunks_after_first

    def begin(self, stamp_ns: int) -> None:
        """A request's first token came."""
        self._count(self._started, stamp_ns)

    def end(self, stamp_ns: int) -> None:
        """Counts one request that ended at ``stamp_ns``."""
        self._count(self._ended, stamp_ns)

    def add_whole(self, marks: Sequence[tuple[int, int]], total: int | None) -> None:
        """A stream that came to its end: the engine's total, shared out over its chunks. The first chunk
        holds one token, the prefill's."""
        self._begin(marks)
        chunks = _without_closing(marks, self.closing_events)
        later = sum(events for _, events in chunks) - 1
        if total is None:
            total = max(0, later + 1)
        if later <= 0:
            self._add(chunks[0][0] if chunks else marks[-1][0], float(total))
            return
        share = max(0, total - 1) / later
        self.learn(max(0, total - 1), later)
        (first_ns, together), *rest = chunks
        self._add(first_ns, 1.0 + (together - 1) * share)
        for stamp_ns, events in rest:
            self._add(stamp_ns, events * share)

    def add_cut(self, marks: Sequence[tuple[int, int]]) -> None:
        """A stream that was hung up on: counted at the end, once it is known what a chunk holds."""
        self._begin(marks)
        self._cut += [mark for mark in marks if mark[1]]

    def per_chunk(self) -> float:
        return self._whole_tokens / self._whole_chunks if self._whole_chunks else self.tokens_per_chunk

    def totals(self) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
        """(tokens, requests that began to answer, requests that ended), each in bins from the origin."""
        per_chunk = self.per_chunk()
        for stamp_ns, events in self._cut:
            self._add(stamp_ns, events * per_chunk)
        self._cut.clear()
        return tuple(self._bins), tuple(self._started), tuple(self._ended)

    def _begin(self, marks: Sequence[tuple[int, int]]) -> None:
        first_ns = next((stamp_ns for stamp_ns, events in marks if events), None)
        if first_ns is not None:
            self.begin(first_ns)

    def _count(self, bins: list[int], stamp_ns: int) -> None:
        index = self._index(stamp_ns)
        bins.extend([0] * (index + 1 - len(bins)))
        bins[index] += 1

    def _index(self, stamp_ns: int) -> int:
        return max(0, stamp_ns - self.origin_ns) // BIN_NS

    def _add(self, stamp_ns: int, count: float) -> None:
        index = self._index(stamp_ns)
        self._bins.extend([0.0] * (index + 1 - len(self._bins)))
        self._bins[index] += count


def _without_closing(marks: Sequence[tuple[int, int]], closing: int) -> list[tuple[int, int]]:
    kept = [mark for mark in marks if mark[1]]
    while closing and kept:
        stamp_ns, events = kept.pop()
        if events > closing:
            kept.append((stamp_ns, events - closing))
        closing = max(0, closing - events)
    return kept
