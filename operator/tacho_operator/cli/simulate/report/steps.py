"""Lines of values that hold until the next one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tacho_operator.cli.figures import shapes
from tacho_operator.cli.simulate.report.sheet import Field

Values = Sequence[tuple[float, float]]
"""(from when on, value), by rising time."""
COLUMNS = 700
"""What changes more often than this over the width is drawn from its least to its most."""


def corners(values: Values, end: float) -> list[tuple[float, float]]:
    """Of the line, until ``end``."""
    return list(_corners(_thinned(values, end), end))


def edge(field: Field, line: Values, kind: str) -> str:
    return shapes.path((field.at(*point) for point in line), kind)


def area(field: Field, line: Values, kind: str) -> str:
    """Between the line and 0."""
    return edge(field, [(line[0][0], 0.0), *line, (line[-1][0], 0.0)], kind)


def _corners(values: Values, end: float) -> Iterator[tuple[float, float]]:
    former = None
    for time, value in values:
        if former is not None:
            yield time, former
        yield time, value
        former = value
    if former is not None:
        yield end, former


def _thinned(values: Values, end: float) -> Values:
    """The first, least, most and last of each column, where there are more than columns."""
    if len(values) <= COLUMNS:
        return values
    columns: dict[int, list[int]] = {}
    for at, (time, _) in enumerate(values):
        columns.setdefault(int(time / end * COLUMNS), []).append(at)
    kept = []
    for found in columns.values():
        least, most = (choose(found, key=lambda at: values[at][1]) for choose in (min, max))
        kept += sorted({found[0], least, most, found[-1]})
    return [values[at] for at in kept]
