"""Counts the tokens of a streamed answer while it arrives, without keeping its text."""

from __future__ import annotations

import re
from dataclasses import replace

from tacho_runtime.probe.load.events import unchunked
from tacho_runtime.probe.load.streams import (
    CLOSING_EVENTS,
    COUNT_DIGITS,
    FAILED_ENDS,
    LATE_SHARE,
    CountedReads,
    StreamResult,
    leading_events,
    reduce_stream,
)
from tacho_runtime.probe.load.timed_client import TAIL_BYTES, StreamConnection, without
from tacho_runtime.probe.load.wire import HEAD_LIMIT_BYTES

_EVENT = b"\ndata:"
"""The bytes at which every event begins. Inside an event they cannot occur, as JSON escapes line ends."""
_OVERLAP = len(_EVENT) - 1
_OPENING_BYTES = 4096
STAMPS_KEPT, STAMPS_PER_TOKEN = 1024, 2
"""Most reads whose times are kept of an answer, and how many per token asked for, whichever is more. Only an
engine that sends far more events than tokens has more; they would take 160 bytes each without end.
"""
STAMPS_AT_START = 64
"""Reads at the beginning that are all kept: they show the first token."""
STREAM_LIMIT_BYTES = 16 * 1024 * 1024
"""Longest accepted stream in bytes, far above any that the probe requests."""
_CLOSING_BYTES = 64 * 1024
_ERROR_EVENT = re.compile(rb'\ndata:[ \t]*\{[^{}\[\]]{0,500}"error"')
_TOTAL_KEYS = (b'"completion_tokens"', b'"predicted_n"')
_TOTAL = re.compile(rb'"[a-z_]+" ?: ?(\d{1,%d})(?!\d)' % COUNT_DIGITS)
_WHOLE_TEXT = re.compile(rb'"(?:text|content)"\s*:\s*"[^"]')
_WHOLE_END = re.compile(rb'"finish_reason"\s*:\s*"(?!%s)\w' % "|".join(FAILED_ENDS).encode())
_CHOICES = b'"choices"'
"""The key that each event with a token has. In a text it cannot occur, as JSON escapes quotes."""
_CHOICES_OVERLAP = len(_CHOICES) - 1
_NO_CHOICES = re.compile(rb'"choices"\s{0,3}:\s{0,3}(?:\[\s{0,3}\]|null)')
_NO_CHOICES_OVERLAP = 20
_OF_THIS_API = (_CHOICES, b'"error"')
"""What an answer to a request for text has in this API: a part of it, or a failure."""
_OTHER_EVENT = re.compile(rb"\ndata:[ \t]*(?!\[DONE\])[^\s]")
_EMPTY_TEXT = re.compile(rb'"(?:text|content)"\s*:\s*""')


class TokenStream(StreamConnection):
    """A connection that counts the tokens of a streamed answer. Only the first bytes of an answer are kept,
    of an error more.
    """

    limit_bytes = STREAM_LIMIT_BYTES
    __slots__ = (
        "_empty_texts", "_leading", "_named", "_opening", "_opens_empty", "_reads_here", "_reads_per_stamp",
        "_stamps", "max_tokens",
    )  # fmt: skip

    def __init__(self, *, opens_empty: bool = False) -> None:
        super().__init__()
        self._opens_empty = opens_empty
        self._stamps: list[tuple[int, int, int]] = []
        """One entry for each read, as in ``CountedReads.stamps``, or for several, of which it is the last."""
        self._reads_per_stamp = self._reads_here = 1
        self._empty_texts = 0
        self._named = 0
        """Number of events with a choice. Others, such as a ping after each token, may come between them."""
        self._opening = b""
        self._leading: int | None = None
        self.max_tokens: int | None = None
        """Most tokens that the request allows the engine to generate. None: unknown."""

    def _add_read(self, stamp_ns: int, data: bytes) -> None:
        # Hundreds of streams may fail at once.
        if self._head is None or (self._head.status != 200 and self._raw_bytes < HEAD_LIMIT_BYTES):
            self.reads.append((stamp_ns, data))
        joined = self._tail[-_OVERLAP:] + data
        new = joined.count(_EVENT)
        self._named += (self._tail[-_CHOICES_OVERLAP:] + data).count(_CHOICES)
        former = self._tail[-_NO_CHOICES_OVERLAP:]
        self._named -= len(_NO_CHOICES.findall(former + data)) - len(_NO_CHOICES.findall(former))
        before, total = self._stamps[-1][1:] if self._stamps else (0, -1)
        for key in _TOTAL_KEYS:
            if (at := data.rfind(key)) >= 0 and (match := _TOTAL.match(data, at)) is not None:
                total = int(match[1]) or total  # 0 is before the first token, or not counted yet
        if new or (self._stamps and total != self._stamps[-1][2]):
            self._add_stamp((stamp_ns, before + new, total))
            self._empty_texts += len(_EMPTY_TEXT.findall(data))
        if self._stamps and self._leading is None and len(self._opening) < _OPENING_BYTES:
            # With what came before, as a chunk of the transfer may begin between both.
            former = self._opening or self._tail[-TAIL_BYTES // 2 :]
            self._opening = (former + data)[:_OPENING_BYTES]

    def _add_stamp(self, stamp: tuple[int, int, int]) -> None:
        """Adds a read. Where there are very many, one of every two, four, ... is kept.

        Each has the sums so far: without one, its tokens count at the next one's time.
        """
        if self._reads_here < self._reads_per_stamp:
            self._stamps[-1] = stamp
            self._reads_here += 1
            return
        if len(self._stamps) >= max(STAMPS_KEPT, STAMPS_PER_TOKEN * (self.max_tokens or 0)):
            del self._stamps[STAMPS_AT_START:-1:2]
            self._reads_per_stamp *= 2
        self._stamps.append(stamp)
        self._reads_here = 1

    def _closing(self, data: bytes) -> bytes:
        """The bytes from the beginning of the last event but one, however long both are."""
        if len(data) <= 2 * TAIL_BYTES:
            return data
        at = data.rfind(_EVENT, 0, len(data) - TAIL_BYTES)
        at = data.rfind(_EVENT, 0, max(0, at))
        closing = data[max(0, at) :]
        if len(closing) > _CLOSING_BYTES and (error := _ERROR_EVENT.search(closing)) is not None:
            # Without its beginning, it would count as a token.
            head = closing[error.start() : error.start() + _OPENING_BYTES]
            return head + closing[len(head) - _CLOSING_BYTES :]
        return closing[-_CLOSING_BYTES:]

    def _has_begun(self) -> bool:
        return self.first_token_ns is not None

    @property
    def first_token_ns(self) -> int | None:
        """Monotonic time of the first token in nanoseconds; None until it has arrived."""
        if self._leading is None and self._stamps:
            leading, is_known = leading_events(self._opening, opens_empty=self._opens_empty)
            if not is_known and len(self._opening) < _OPENING_BYTES:
                return None
            self._leading = leading
        return next((stamp[0] for stamp in self._stamps if stamp[1] > (self._leading or 0)), None)

    @property
    def has_answered(self) -> bool:
        """Whether a token has arrived, or the model ended its answer before one: also of an answer that was
        cut, or that was not streamed."""
        if self.status // 100 != 2:
            return False
        whole = self._ended.is_set() and self._error is None
        if _WHOLE_END.search(self._tail):
            return True
        return bool(self.result(whole=whole).tokens if self._stamps else _WHOLE_TEXT.search(self._tail))

    @property
    def is_of_another_api(self) -> bool:
        """Whether the whole answer is a document of another kind than was asked for."""
        has_body = self._head is not None and self._raw_bytes > self._head.head_end
        if not has_body or self._named or any(part in self._tail for part in _OF_THIS_API):
            return False
        return b"data:" not in self._tail or _OTHER_EVENT.search(self._tail) is not None

    @property
    def last_token_ns(self) -> int | None:
        return self._stamps[-1][0] if self._stamps else None

    def tokens_so_far(self, tokens_per_event: float) -> float:
        """Tokens that have arrived: by the engine's running total, else events times ``tokens_per_event``."""
        if not self._stamps:
            return 0.0
        _, events, total = self._stamps[-1]
        per_event = self._per_event(tokens_per_event)
        return self._at_most(float(total) if total >= 0 else 1.0 + (events - 1) * per_event)

    def _per_event(self, tokens_per_event: float) -> float:
        """``tokens_per_event``; while that is not known, the share of the events that carry choices."""
        events = self._stamps[-1][1] if self._stamps else 0
        if tokens_per_event != 1.0 or events - self._named <= CLOSING_EVENTS + LATE_SHARE * events:
            return tokens_per_event
        return self._named / events if self._named else tokens_per_event

    def _at_most(self, tokens: float) -> float:
        return tokens if self.max_tokens is None else min(tokens, float(self.max_tokens))

    @property
    def counted_later(self) -> tuple[float, int]:
        """(tokens, events) after the first token, by the engine's running total; zeros where it sends
        none."""
        if self.first_token_ns is None:
            return 0.0, 0
        _, events, total = self._stamps[-1]
        later = events - (self._leading or 0) - 1
        return (self._at_most(total) - 1, later) if total > 0 and later > 0 else (0.0, 0)

    def result(self, *, whole: bool, tokens_per_event: float = 1.0) -> StreamResult:
        """Times and token counts of what has arrived. ``whole``: the answer has ended."""
        reads = CountedReads(
            stamps=self._stamps,
            empty_texts=self._empty_texts,
            opening=self._opening,
            closing=self._tail,
            whole=whole,
            opens_empty=self._opens_empty,
        )
        found = reduce_stream(
            self.sent_ns,
            reads,
            tokens_per_event=self._per_event(tokens_per_event),
            max_tokens=self.max_tokens,
        )
        if not found.error or not self.secret:
            return found
        opening, closing = (without(self.secret, unchunked(data)) for data in (self._opening, self._tail))
        return replace(found, error=reduce_stream(0, replace(reads, opening=opening, closing=closing)).error)
