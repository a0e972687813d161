"""What came, over time. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tacho_operator.cli.figures import shapes, times
from tacho_operator.cli.figures.axes import even
from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.simulate.report import steps
from tacho_operator.cli.simulate.report.sheet import BOTTOM, LEFT, TOP, Field, sheet
from tacho_operator.cli.simulate.report.table import Table
from tacho_operator.simulate.trace import Trace

BINS, ROWS = 300, 24
"""Of the picture and of its table, at most."""
TICKS, HEIGHT = 8, 130


@dataclass(frozen=True, slots=True)
class Span:
    """What came from one time to another."""

    begins: float
    ends: float
    requests: int
    input_tokens: int
    output_tokens: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / (self.ends - self.begins)


def arrivals(trace: Trace, most: int) -> tuple[Span, ...]:
    """In at most ``most`` spans, all of one length but the last, which takes what remains."""
    end = max(trace.duration_seconds, times.SHORTEST_SECONDS)
    length = times.step(end / most)
    count = max(1, int(end / length))
    begins = [length * n for n in range(count)]
    cuts = [*(bisect.bisect_left(trace.time_seconds, time) for time in begins), len(trace)]
    return tuple(
        Span(
            begin,
            until,
            high - low,
            sum(trace.input_tokens[low:high]),
            sum(trace.output_tokens[low:high]),
        )
        for (begin, until), (low, high) in zip(pairwise([*begins, end]), pairwise(cuts), strict=True)
    )


def arrivals_plot(trace: Trace) -> Iterator[str]:
    found = arrivals(trace, BINS)
    end = found[-1].ends
    field = Field(x=times.axis(end, TICKS), y=even([part.rate for part in found], 4), top=TOP, height=HEIGHT)
    line = steps.corners([(part.begins, part.rate) for part in found], end)
    length = times.span(found[0].ends - found[0].begins)
    yield from sheet(
        "Arrivals over time",
        field.bottom + BOTTOM,
        [
            shapes.text(LEFT, TOP - 14, f"Requests per second, means of {length}", "title"),
            *field.rows(),
            steps.area(field, line, "arrivals"),
            steps.edge(field, line, "arrivals-edge"),
            *field.floor("time of the trace", times.span),
        ],
    )


def arrivals_table(trace: Trace) -> Table:
    rows = [
        [
            times.span(part.begins),
            plain(part.rate),
            str(part.requests),
            _mean(part.input_tokens, part.requests),
            _mean(part.output_tokens, part.requests),
        ]
        for part in arrivals(trace, ROWS)
    ]
    return ["FROM", "REQUESTS/S", "REQUESTS", "TOKENS IN, MEAN", "OUT, MEAN"], rows


def _mean(total: int, count: int) -> str:
    return plain(total / count) if count else "-"
