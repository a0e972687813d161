"""A trace of requests: arrival times, prompt lengths and answer lengths.

Read from CSV (commas, semicolons or tabs) or JSON Lines, gzipped or not, whatever the file's name.
``LAYOUTS`` has the columns by name, in any case; other columns are ignored.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

LONGEST_TOKENS = 10_000_000
"""Maximum plausible tokens of a prompt or an answer."""
LONGEST_SECONDS = 3 * 366 * 86400.0
"""Longest trace in seconds that is believed; a longer one has its times in another unit."""
LONGEST_LINE = 200_000
"""Characters after which a line is cut, which no request has: above the longest field of the csv module."""
LINES_LIMIT = 30_000_000
"""Most lines that are read: each takes 200 bytes of memory, and 3 MB of gzip may be a hundred millions."""
LONGEST_SHOWN = 200
"""Most characters of a line that an error shows."""
EPOCH_MILLISECONDS = 1e12
"""The year 2001 in milliseconds since 1970; as seconds it would be the year 33,658."""
GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""


class TraceError(ValueError):
    """A trace file that cannot be read, with the line."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The requests of a trace in order of arrival: three lists of equal length (times, prompt lengths, answer
    lengths)."""

    name: str
    time_seconds: tuple[float, ...]
    """Arrival time of each request in seconds, ascending; the first is at least 0."""
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    """Output tokens of each request, at least 1."""
    failed: int = 0
    """Number of recorded requests that failed; they are not among the others."""

    def __post_init__(self) -> None:
        if not len(self.time_seconds) == len(self.input_tokens) == len(self.output_tokens):
            raise TraceError(f"{self.name}: times, prompts and answers are not equally many")
        if self.time_seconds and self.time_seconds[0] < 0:
            raise TraceError(f"{self.name}: begins before 0")
        if any(later < earlier for earlier, later in pairwise(self.time_seconds)):
            raise TraceError(f"{self.name}: times are not sorted")

    def __len__(self) -> int:
        return len(self.time_seconds)

    @property
    def duration_seconds(self) -> float:
        """Seconds to the last arrival."""
        return self.time_seconds[-1] if self.time_seconds else 0.0


def read_trace(path: str | Path) -> Trace:
    """The trace in a file, its first request at 0. Raises TraceError."""
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.peek(len(GZIP)).startswith(GZIP)
            content = gzip.GzipFile(fileobj=raw) if packed else raw
            lines = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
            bounded = iter(lambda: lines.readline(LONGEST_LINE), "")  # a device has no end of line
            name = path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".jsonl")
            return parse_trace(bounded, name, str(path))
    except (EOFError, UnicodeDecodeError, csv.Error, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: not a CSV or JSON Lines: {error}") from None
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from None


def parse_trace(lines: Iterable[str], name: str, place: str) -> Trace:
    """The trace in the lines of a file; errors name it ``place``. Raises TraceError."""
    lines = iter(lines)
    first = next(lines, "")
    if first.lstrip().startswith("["):
        opening = first + "".join(itertools.islice(lines, 20))
        kind = "ShareGPT has no arrival times" if '"conversations"' in opening else "a JSON array"
        raise TraceError(f"{place}: {kind}; a trace has one request a line, with {_expected()}")
    in_json = first.lstrip().startswith("{")
    lines = itertools.chain([first], lines)
    rows = _json_rows(lines, place) if in_json else _csv_rows(lines)
    heading = next(rows, [])
    at = {cell.lower(): column for column, cell in reversed(list(enumerate(heading)))}
    layout = next((one for one in LAYOUTS if all(name.lower() in at for name in one.needed)), None)
    if layout is None:
        line = _short(",".join(heading))
        raise TraceError(f"{place}: line 1: the heading must name {_expected()}; found {line!r}")
    place = f"{place} ({layout.name})" if layout.name else place
    requests = _requests(rows, [at[name.lower()] for name in layout.columns], layout.seconds, place, in_json)
    found = sorted(requests)
    kept = [one for one in found if one[2] or not layout.unanswered_failed]
    if not kept:
        raise TraceError(f"{place}: holds no request" + (" that was answered" if found else ""))
    begins, ends = kept[0][0], kept[-1][0]
    if ends - begins > LONGEST_SECONDS:
        raise TraceError(
            f"{place}: lasts {(ends - begins) / 86400:.3g} days, more than three years; times are in seconds"
        )
    return Trace(
        name=name,
        time_seconds=tuple(time - begins for time, _, _ in kept),
        input_tokens=tuple(tokens for _, tokens, _ in kept),
        output_tokens=tuple(max(1, tokens) for _, _, tokens in kept),
        failed=len(found) - len(kept),
    )


def _expected() -> str:
    return " or ".join(",".join(one.columns) for one in LAYOUTS if not one.marked_by)


def _csv_rows(lines: Iterator[str]) -> Iterator[list[str]]:
    """The heading and the rows. The separator is the one that the heading has most often."""
    heading = next(lines)
    rows = csv.reader(itertools.chain([heading], lines), delimiter=max(",;\t", key=heading.count))
    yield [cell.strip() for cell in next(rows, [])]
    yield from rows


def _json_rows(lines: Iterator[str], place: str) -> Iterator[list[str]]:
    """The first object's names as a heading, and the values of each object."""
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            one = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise TraceError(f"{place}: line {number}: not a JSON object: {error}") from None
        if not isinstance(one, dict):
            raise TraceError(f"{place}: line {number}: not a JSON object")
        if not names:
            names = list(one)
            yield names
        yield [str(one.get(name, "")) for name in names] if one else []


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _requests(
    rows: Iterator[list[str]], columns: list[int], seconds: Callable[[str], float], place: str, in_json: bool
) -> Iterator[tuple[float, int, int]]:
    time, prompt, answer = columns
    width = max(columns) + 1
    for number, row in enumerate(rows, start=1 if in_json else 2):
        if number > LINES_LIMIT:
            raise TraceError(f"{place}: more than {LINES_LIMIT:,} lines; replay a part of it")
        if not row:
            continue
        if len(row) < width:
            raise TraceError(f"{place}: line {number}: {len(row)} columns, at least {width} are needed")
        try:
            yield seconds(row[time]), _tokens(row[prompt]), _tokens(row[answer])
        except ValueError as error:
            raise TraceError(f"{place}: line {number}: {_short(str(error))}") from None


def _tokens(text: str) -> int:
    """A number of tokens, which some tables write as 512.0."""
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not (count.is_integer() and 0 <= count <= LONGEST_TOKENS):
        raise ValueError(f"{text!r} tokens; a whole number from 0 to {LONGEST_TOKENS} is expected")
    return int(count)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"time {text!r}; a number of seconds is expected")
    if EPOCH_MILLISECONDS <= seconds < 10 * EPOCH_MILLISECONDS:
        raise ValueError(f"time {text!r} is in milliseconds since 1970; seconds are expected")
    return seconds


def _milliseconds(text: str) -> float:
    return _seconds(text) / 1000


def _timestamp(text: str) -> float:
    """A timestamp in Azure's format; UTC where it has no zone."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"time {text!r}; a date such as 2023-11-16 18:15:46.68 is expected") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


@dataclass(frozen=True, slots=True)
class Layout:
    """A format in which traces are published."""

    name: str
    """Name of the published traces; empty: tacho's own."""
    columns: tuple[str, str, str]
    """The columns of arrival time, prompt tokens and answer tokens."""
    seconds: Callable[[str], float]
    """Reads a time."""
    unanswered_failed: bool = False
    """Whether a request without answer tokens failed."""
    marked_by: tuple[str, ...] = ()
    """Further columns that tell it from another layout."""

    @property
    def needed(self) -> tuple[str, ...]:
        return (*self.columns, *self.marked_by)


LAYOUTS = (
    Layout("", ("time_s", "input_tokens", "output_tokens"), _seconds),
    Layout("Azure", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _timestamp),
    Layout("BurstGPT", ("Timestamp", "Request tokens", "Response tokens"), _seconds, unanswered_failed=True),
    Layout("Bailian", ("timestamp", "input_length", "output_length"), _seconds, marked_by=("chat_id",)),
    Layout("Mooncake", ("timestamp", "input_length", "output_length"), _milliseconds),
)
