"""What one streamed completion says about time and tokens. Pure: from stamped events to figures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tacho_runtime.probe.load.wire import StreamEvent

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """One request. Tokens are (monotonic ns, how many came then); fractions when only shared out."""

    sent_ns: int
    tokens: tuple[tuple[int, float], ...]
    exact: bool
    """Counts are the engine's own for each chunk, not a total shared out over the chunks."""
    finish_reason: str = ""
    """"" while unfinished."""
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    engine_tpot_milliseconds: float | None = None
    """llama.cpp's own figure for the same tokens; ours is checked against it."""
    error: str = ""
    failed: int = 0
    """How often the same request failed before."""

    @property
    def output_tokens(self) -> float:
        return sum(count for _, count in self.tokens)

    @property
    def ttft_milliseconds(self) -> float | None:
        return (self.tokens[0][0] - self.sent_ns) / NS_PER_MS if self.tokens else None

    @property
    def tpot_milliseconds(self) -> float | None:
        """(t_last - t_first) / (n_out - n_first): n_first, the tokens of the first chunk, is 1 but where an
        engine sends several at once; these took no time after t_first. None with a single chunk, and where
        the engine counts no token after the first chunk."""
        later = self.output_tokens - self.tokens[0][1] if self.tokens else 0.0
        return (self.tokens[-1][0] - self.tokens[0][0]) / NS_PER_MS / later if later > 0 else None

    @property
    def end_to_end_milliseconds(self) -> float | None:
        return (self.tokens[-1][0] - self.sent_ns) / NS_PER_MS if self.tokens and self.finish_reason else None


@dataclass(frozen=True, slots=True)
class _EventRow:
    """One event of a stream: its time stamp, whether it holds text, and the running total of tokens."""

    stamp_ns: int
    text: bool
    running_total: int | None


def _has_text(choice: dict[str, Any]) -> bool:
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(
        delta.get(key) for key in ("content", "reasoning_content", "reasoning", "tool_calls")
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(value: object) -> dict[str, Any]:
    """``value`` as a JSON object; empty for any other value, because a third-party server may send
    anything."""
    return value if isinstance(value, dict) else {}


def _shared_out(
    rows: Sequence[_EventRow], total: int | None, per_chunk: float
) -> tuple[tuple[int, float], ...]:
    """Tokens per chunk of a stream: the first chunk holds one token (the prefill's), the others share the
    rest evenly."""
    stamps = [row.stamp_ns for row in rows if row.text]
    if not stamps:
        # All tokens were held back (half a character): they came with the closing event, or never.
        return ((rows[-1].stamp_ns, float(total)),) if rows and total else ()
    if len(stamps) == 1:
        return ((stamps[0], float(total or 1)),)
    share = per_chunk if total is None else max(0, total - 1) / (len(stamps) - 1)
    return ((stamps[0], 1.0), *((stamp, share) for stamp in stamps[1:]))


def _counted(rows: Sequence[_EventRow]) -> tuple[tuple[int, float], ...]:
    tokens: list[tuple[int, float]] = []
    before = 0
    for row in rows:
        if row.running_total is not None and row.running_total > before:
            tokens.append((row.stamp_ns, float(row.running_total - before)))
            before = row.running_total
    return tuple(tokens)


def reduce_stream(
    sent_ns: int, events: Sequence[StreamEvent], *, tokens_per_chunk: float = 1.0
) -> StreamResult:
    """The figures of a /v1/completions or /v1/chat/completions stream, whole or cut.

    Tokens are counted by the running totals some engines put into every event (vLLM's continuous usage,
    llama.cpp's ``timings.predicted_n``); else the closing usage is shared out; else, for a stream that was
    cut, each chunk counts ``tokens_per_chunk``.
    """
    rows: list[_EventRow] = []
    usage: dict[str, Any] = {}
    engine_tpot: float | None = None
    finish_reason = ""

    def stream(
        error: str = "", tokens: tuple[tuple[int, float], ...] = (), *, exact: bool = False
    ) -> StreamResult:
        return StreamResult(
            sent_ns=sent_ns,
            tokens=tokens,
            exact=exact,
            finish_reason=finish_reason,
            prompt_tokens=_number(usage.get("prompt_tokens")),
            cached_tokens=_number(_object(usage.get("prompt_tokens_details")).get("cached_tokens")) or 0,
            engine_tpot_milliseconds=engine_tpot,
            error=error,
        )

    for event in events:
        if event.data == b"[DONE]":
            continue
        try:
            document = json.loads(event.data)
        except (ValueError, RecursionError):
            return stream(f"an event is not JSON: {event.data[:80]!r}")
        if not isinstance(document, dict):
            return stream(f"an event is not an object: {event.data[:80]!r}")
        if document.get("error"):
            return stream(f"the engine answered in its stream: {event.data[:300]!r}")
        choices = document.get("choices")
        choice = _object(choices[0] if isinstance(choices, list) and choices else None)
        counted, timings = _object(document.get("usage")), _object(document.get("timings"))
        running_total = _number(counted.get("completion_tokens"))
        if running_total is not None:
            usage = counted
        if timings:
            running_total = _number(timings.get("predicted_n")) if running_total is None else running_total
            own = timings.get("predicted_per_token_ms")
            if isinstance(own, float | int) and 0 < own < math.inf:
                engine_tpot = float(own)
        if choice.get("finish_reason"):
            finish_reason = str(choice["finish_reason"])
        rows.append(_EventRow(event.stamp_ns, _has_text(choice), running_total))
    exact = any(row.text for row in rows) and all(row.running_total is not None for row in rows if row.text)
    total = _number(usage.get("completion_tokens"))
    tokens = _counted(rows) if exact else _shared_out(rows, total, tokens_per_chunk)
    return stream(tokens=tokens, exact=exact)
