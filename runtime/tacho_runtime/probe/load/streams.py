"""Times and token counts of one streamed answer, from the bytes and the times of their arrival. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from tacho_runtime.probe.load.events import events_in, lines_before

NS_PER_MS = 1e6
LENGTH = "length"
COUNT_DIGITS = 9
"""Most digits of a token count; a longer number is an error of the engine and is ignored."""
LOWEST_MILLISECONDS, HIGHEST_MILLISECONDS = 1e-6, 1e9
"""Times per token in milliseconds between which an engine's own timing is believed."""
MOST_POINTS = 16
"""Most times of tokens kept per request of a loop: enough to divide its tokens at the edges of a window."""
FAILED_ENDS = ("abort", "aborted", "cancelled", "canceled", "error", "timeout")
"""Reasons for an answer's end that say that the engine gave it up, in an HTTP answer 200 all the same."""
SHORT_SHARE, SHORT_EVENTS_SHARE = 0.98, 0.75
"""Shares of the requested tokens below which an answer is short: by the engine's total, and by its events,
of which a late front end merges some."""
CLOSING_EVENTS, LATE_SHARE = 3, 0.1
"""Events after the last token: a reason for the end, the usage and ``[DONE]``; and what share may be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """Times and token counts of one request.

    ``tokens`` are pairs (monotonic nanoseconds, tokens that came then); fractions where a total was divided
    among chunks.
    """

    sent_ns: int
    tokens: tuple[tuple[int, float], ...]
    finish_reason: str = ""
    """Why the engine ended the answer; "": it has not ended. An end without a reason counts as ``length``."""
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    engine_tpot_milliseconds: float | None = None
    """llama.cpp's own time per token for this answer, with which the probe's is compared."""
    error: str = ""
    failed: int = 0
    """How often the same request failed before."""
    events: int = 0
    """Number of events that brought tokens."""
    textless: int = 0
    """Number of events with tokens but without text: half a character, or a special token."""
    shared_out: bool = False
    """Whether the closing total was divided among several events, of which none told its own count."""
    has_total: bool = False
    """Whether the engine said how many tokens the answer has."""
    first_textless: bool = False
    """Whether the first event that counts as a token has no text."""
    longer: bool = False
    """Whether the engine made more tokens than requested, or counts events as tokens; also of cut answers."""
    shorter: bool = False
    """Whether the answer ended clearly before the requested length, whatever reason the engine gave."""

    @property
    def waits(self) -> bool:
        """Whether its first token is still awaited. A model may end an answer without one."""
        return not self.tokens and not self.finish_reason

    @property
    def output_tokens(self) -> float:
        return sum(count for _, count in self.tokens)

    @property
    def ttft_milliseconds(self) -> float | None:
        return (self.tokens[0][0] - self.sent_ns) / NS_PER_MS if self.tokens else None

    @property
    def tpot_milliseconds(self) -> float | None:
        """Milliseconds per token after the first chunk: (t_last - t_first) / (n_out - n_first).

        n_first is the number of tokens in the first chunk, 1 unless an engine sends several at once. None
        with a single chunk, and where no token was counted after the first chunk.
        """
        later = self.output_tokens - self.tokens[0][1] if self.tokens else 0.0
        return (self.tokens[-1][0] - self.tokens[0][0]) / NS_PER_MS / later if later > 0 else None

    @property
    def end_to_end_milliseconds(self) -> float | None:
        return (self.tokens[-1][0] - self.sent_ns) / NS_PER_MS if self.tokens and self.finish_reason else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedReads:
    """The parts of an answer's bytes that were kept, and the counts taken from the rest."""

    stamps: Sequence[tuple[int, int, int]]
    """(time of a read in ns, events begun by then, the engine's running token count by then or -1)."""
    empty_texts: int
    """Number of events with an empty text."""
    opening: bytes
    """Bytes of the answer from the beginning of its first event."""
    closing: bytes
    """The last bytes of the answer."""
    whole: bool
    """Whether the answer is complete."""
    opens_empty: bool = False
    """Whether the engine begins each answer with an event without a token: see ``opens_early``."""


@dataclass(slots=True)
class _Ends:
    """The first and last events of an answer, which may have no token."""

    leading: int = 0
    """Number of events before the first token, e.g. the role in a chat."""
    trailing: int = 0
    """Number of events after the last token: usage and end of the stream."""
    first_textless: bool = False
    done: bool = False
    """Whether the stream has its final ``[DONE]``."""
    textless_end: bool = False
    """Whether the last event with choices ends the answer and has no text; it may hold a token or not."""
    finish_reason: str = ""
    total: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    engine_tpot_milliseconds: float | None = None
    error: str = ""


def reduce_stream(
    sent_ns: int, reads: CountedReads, *, tokens_per_event: float = 1.0, max_tokens: int | None = None
) -> StreamResult:
    """Times and token counts of a /v1/completions or /v1/chat/completions stream, whole or cut.

    A token is an event with choices or usage, whether it has text or not. Tokens are counted by the running
    totals that some engines put into every event (vLLM's continuous usage, llama.cpp's
    ``timings.predicted_n``). Else the final usage is divided among the events; else, for a cut stream, each
    event counts ``tokens_per_event``. Counts beyond ``max_tokens`` are reduced in proportion, so that no rate
    gains by an engine that counts events as tokens, or that does not stop.
    """
    ends = _ends(reads)
    came = reads.stamps[-1][1] if reads.stamps else 0
    events = max(0, came - ends.leading - ends.trailing)
    if ends.textless_end and ends.total is not None and events > ends.total:
        events -= 1
    closed = bool(reads.whole or ends.total)
    longer = _is_longer(ends.total, events - (not closed), max_tokens)  # the last may be ``[DONE]``
    finish_reason = ends.finish_reason or (LENGTH if ends.done else "")
    shorter = bool(finish_reason) and _is_shorter(ends.total, events * tokens_per_event, max_tokens)
    totals = [total for _, begun, total in reads.stamps if ends.leading < begun <= ends.leading + events]
    counted = bool(events and totals) and min(totals) >= 0 and not _runs_ahead(reads.stamps, came)
    if ends.error:
        tokens: tuple[tuple[int, float], ...] = ()
    elif counted:
        tokens = _counted(reads.stamps, ends.total)
    else:
        if ends.total is not None and max_tokens is not None:
            ends.total = min(ends.total, max_tokens)
        tokens = _shared_out(reads.stamps, ends, events, tokens_per_event)
    return StreamResult(
        sent_ns=sent_ns,
        tokens=_at_most(tokens, max_tokens),
        finish_reason=finish_reason,
        prompt_tokens=ends.prompt_tokens,
        cached_tokens=ends.cached_tokens,
        engine_tpot_milliseconds=ends.engine_tpot_milliseconds,
        error=ends.error,
        events=events,
        shared_out=not counted and events > 1 and ends.total is not None,
        has_total=ends.total is not None,
        longer=longer,
        shorter=shorter,
        first_textless=bool(events) and ends.first_textless,
        textless=min(events, max(0, reads.empty_texts - ends.leading - ends.textless_end)),
    )


def _is_longer(total: int | None, events: int, limit: int | None) -> bool:
    """Whether the answer has more tokens than ``limit``. Events are counted where the engine gives no
    ``total``; one extra event may end a stream.
    """
    return limit is not None and (events if total is None else total) > limit + 1


def _is_shorter(total: int | None, counted: float, limit: int | None) -> bool:
    """Whether an ended answer has clearly fewer tokens than ``limit``. ``counted``: tokens by its events,
    where the engine gives no ``total``."""
    if limit is None:
        return False
    return counted + 1 < SHORT_EVENTS_SHARE * limit if total is None else total + 1 < SHORT_SHARE * limit


def _runs_ahead(stamps: Sequence[tuple[int, int, int]], events: int) -> bool:
    """Whether the running count stands still while many more of the ``events`` come: it is that of an engine
    whose texts come later, and tokens that were timed by it would be too fast."""
    grew = before = 0
    for _, begun, total in stamps:
        if total > before:
            grew, before = begun, total
    return events - grew > CLOSING_EVENTS + LATE_SHARE * events


def _at_most(tokens: tuple[tuple[int, float], ...], limit: int | None) -> tuple[tuple[int, float], ...]:
    """``tokens``, reduced in proportion to at most ``limit`` in all."""
    counted = math.fsum(count for _, count in tokens)
    if limit is None or counted <= limit:
        return tokens
    return tuple((stamp_ns, count * limit / counted) for stamp_ns, count in tokens)


def thinned(stream: StreamResult) -> StreamResult:
    """The same result with at most MOST_POINTS times of tokens, the first and the last among them."""
    first, *later = stream.tokens or ((0, 0.0),)
    if len(later) < MOST_POINTS:
        return stream
    each = -(-len(later) // (MOST_POINTS - 1))
    groups = [later[at : at + each] for at in range(0, len(later), each)]
    kept = tuple((group[-1][0], math.fsum(count for _, count in group)) for group in groups)
    return replace(stream, tokens=(first, *kept))


def _counted(stamps: Sequence[tuple[int, int, int]], at_end: int | None) -> tuple[tuple[int, float], ...]:
    """Tokens by read, from the engine's running counts. ``at_end``: the count in the last events, which may
    be split between two reads.
    """
    tokens: list[tuple[int, float]] = []
    before = 0
    for place, (stamp_ns, _, read_total) in enumerate(stamps, 1):
        total = at_end if place == len(stamps) and at_end is not None else read_total
        if total > before:
            tokens.append((stamp_ns, float(total - before)))
            before = total
    return tuple(tokens)


def _shared_out(
    stamps: Sequence[tuple[int, int, int]], ends: _Ends, events: int, tokens_per_event: float
) -> tuple[tuple[int, float], ...]:
    """Tokens of a stream's reads: the first event holds one token (the prefill's), the others share the rest
    evenly."""
    if not events:
        # All tokens were held back: they came with the closing event, or never.
        return ((stamps[-1][0], float(ends.total)),) if stamps and ends.total else ()
    if events == 1:
        first_ns = next(stamp_ns for stamp_ns, begun, _ in stamps if begun > ends.leading)
        return ((first_ns, float(ends.total or 1)),)
    share = tokens_per_event if ends.total is None else max(0, ends.total - 1) / (events - 1)
    tokens: list[tuple[int, float]] = []
    before = 0
    for stamp_ns, begun, _ in stamps:
        by_now = min(max(0, begun - ends.leading), events)
        if by_now > before:
            tokens.append((stamp_ns, (by_now - before) * share if before else 1.0 + (by_now - 1) * share))
            before = by_now
    return tuple(tokens)


def _ends(reads: CountedReads) -> _Ends:
    leading, _ = leading_events(reads.opening, opens_empty=reads.opens_empty)
    behind_it = (document for lines, document in lines_before(reads.opening) if lines >= leading)
    first = _choice(next(behind_it, {}))
    found = _Ends(leading=leading, first_textless=first is not None and not _has_text(first))
    behind = reads.whole
    for lines, document in (
        *reversed(list(events_in(reads.closing, cut=True))),
        *islice(events_in(reads.opening), 1),
    ):
        if problem := document.get("error"):
            found.error = f"the engine answered in its stream: {problem}"[:300]
        choice = _choice(document)
        if behind and choice is None:
            found.trailing += lines
            found.done = found.done or not document
        elif behind and choice is not None:
            behind = False
            found.finish_reason = str(choice.get("finish_reason") or "")
            found.textless_end = bool(found.finish_reason) and not _has_text(choice)
        _read_usage(found, document)
    if found.finish_reason in FAILED_ENDS:
        found.error = found.error or f"the engine gave up an answer: {found.finish_reason}"
    return found


EARLY_SHARE = 0.5
"""Share of an engine's step before which it has no token: a prompt takes a step at least."""
FEWEST_STEPS = 4
BUSY_NS = 20_000_000
"""By how much a busy machine may show an event too late."""


def opens_early(stream: StreamResult, late_ns: int = 0) -> bool:
    """Whether an answer that was alone began with an event before its first token.

    text-generation-webui sends one with an empty text as it accepts a request. The first token of an answer
    may have no text either, but it takes a step. ``late_ns``: whether it may have, where the event was shown
    too late by so much.
    """
    if not stream.first_textless or len(stream.tokens) < 2 + FEWEST_STEPS:
        return False
    (first_ns, _), (second_ns, _), *_, (last_ns, _) = stream.tokens
    step_ns = (last_ns - second_ns) / (len(stream.tokens) - 2)
    return first_ns - stream.sent_ns - late_ns < EARLY_SHARE * step_ns


def leading_events(opening: bytes, *, opens_empty: bool = False) -> tuple[int, bool]:
    """(number of events before the first token of an answer, whether a token follows them).

    The first event of a chat only names the role; one without choices and totals is empty. ``opens_empty``:
    so is the first one without a text.
    """
    leading = 0
    for lines, document in events_in(opening):
        choice = _choice(document)
        named = choice is not None and "role" in _object(choice.get("delta"))
        silent = choice is not None and (named or (opens_empty and not leading)) and not _has_text(choice)
        has_content = choice is not None or document.get("usage") or document.get("error")
        if not silent and (has_content or not document):
            return leading, True
        leading += lines
    return leading, False


def _read_usage(found: _Ends, document: dict[str, Any]) -> None:
    """Adds the token totals in ``document`` to ``found``, unless a later event had them."""
    usage, timings = _object(document.get("usage")), _object(document.get("timings"))
    if found.total is None:
        total = _number(usage.get("completion_tokens"))
        found.total = _number(timings.get("predicted_n")) if total is None else total
    if found.prompt_tokens is None:
        found.prompt_tokens = _number(usage.get("prompt_tokens"))
        details = _object(usage.get("prompt_tokens_details"))
        found.cached_tokens = _number(details.get("cached_tokens")) or 0
    own = timings.get("predicted_per_token_ms")
    if (
        found.engine_tpot_milliseconds is None
        and isinstance(own, float | int)
        and LOWEST_MILLISECONDS < own < HIGHEST_MILLISECONDS
    ):
        found.engine_tpot_milliseconds = float(own)


def _choice(document: dict[str, Any]) -> dict[str, Any] | None:
    choices = document.get("choices")
    return _object(choices[0]) if isinstance(choices, list) and choices else None


def _has_text(choice: dict[str, Any]) -> bool:
    delta = _object(choice.get("delta"))
    keys = ("content", "reasoning_content", "reasoning", "tool_calls")
    return bool(choice.get("text")) or any(delta.get(key) for key in keys)


def _number(value: object) -> int | None:
    """``value`` as a number of tokens; None where it is no valid one."""
    return value if type(value) is int and 0 <= value < 10**COUNT_DIGITS else None


def _object(value: object) -> dict[str, Any]:
    """``value`` as a JSON object; {} for any other value, as a server may send anything."""
    return value if isinstance(value, dict) else {}
