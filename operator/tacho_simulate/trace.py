"""A trace of requests: arrival times, prompt lengths and answer lengths.

Read from a CSV file, gzipped or not, whatever its name. Columns by name, in any case:
``time_s,input_tokens,output_tokens``, or those of the public Azure traces
(``TIMESTAMP,ContextTokens,GeneratedTokens``). Other columns are ignored.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
            lines = io.TextIOWrapper(content, encoding="utf-8", newline="")
            bounded = iter(lambda: lines.readline(LONGEST_LINE), "")  # a device has no end of line
            return parse_trace(bounded, path.name.removesuffix(".gz").removesuffix(".csv"), str(path))
    except (EOFError, UnicodeDecodeError, csv.Error, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: not a CSV: {error}") from None
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from None


def parse_trace(lines: Iterable[str], name: str, place: str) -> Trace:
    """The trace in the lines of a CSV file; errors name it ``place``. Raises TraceError."""
    rows = csv.reader(lines)
    heading = [cell.strip().lstrip("\ufeff") for cell in next(rows, [])]
    at = {cell.lower(): column for column, cell in reversed(list(enumerate(heading)))}
    found = next((names for names in CSV_COLUMNS if all(name.lower() in at for name in names)), None)
    if found is None:
        expected = " or ".join(map(",".join, CSV_COLUMNS))
        line = _short(",".join(heading))
        raise TraceError(f"{place}: line 1: the heading must name {expected}; found {line!r}")
    requests = sorted(_requests(rows, [at[name.lower()] for name in found], CSV_COLUMNS[found], place))
    if not requests:
        raise TraceError(f"{place}: holds no request")
    begins, ends = requests[0][0], requests[-1][0]
    if ends - begins > LONGEST_SECONDS:
        raise TraceError(
            f"{place}: lasts {(ends - begins) / 86400:.3g} days, more than three years; times are in seconds"
        )
    return Trace(
        name=name,
        time_seconds=tuple(time - begins for time, _, _ in requests),
        input_tokens=tuple(tokens for _, tokens, _ in requests),
        output_tokens=tuple(tokens for _, _, tokens in requests),
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _requests(
    rows: Iterator[list[str]], columns: Sequence[int], seconds: Callable[[str], float], place: str
) -> Iterator[tuple[float, int, int]]:
    time, prompt, answer = columns
    width = max(time, prompt, answer) + 1
    for number, row in enumerate(rows, start=2):
        if number > LINES_LIMIT:
            raise TraceError(f"{place}: more than {LINES_LIMIT:,} lines; replay a part of it")
        if not row:
            continue
        if len(row) < width:
            raise TraceError(f"{place}: line {number}: {len(row)} columns, at least {width} are needed")
        try:
            yield seconds(row[time]), _tokens(row[prompt]), max(1, _tokens(row[answer]))
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
    return seconds


def _timestamp(text: str) -> float:
    """A timestamp in Azure's format; UTC where it has no zone."""
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


CSV_COLUMNS: dict[tuple[str, str, str], Callable[[str], float]] = {
    ("time_s", "input_tokens", "output_tokens"): _seconds,
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"): _timestamp,
}
"""The CSV formats of a trace: the columns of time, prompt and answer, and how a time is read."""
