"""Rows of long steady loops, as `benchmarks.gpu.truth` recorded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.pages.recorded import number, read
from benchmarks.planner.speed_rows import Row


def levels(file: str | Path, streams: int = 0) -> list[dict[str, Any]]:
    """The loops of a file of the raw data, in their order; those of ``streams`` alone where that is given."""
    return [level for level in read(file)["levels"] if streams in (0, level["streams"])]


def rate(level: dict[str, Any]) -> float:
    """Tokens a second, by the server's counter."""
    return float(level["output_tokens_per_second"]["server"])


def row_of(name: str, cell: dict[str, Any], level: dict[str, Any]) -> Row:
    """The figure of a loop that a plan's law is judged by: of one stream the rate by its TPOT."""
    alone = level["streams"] == 1
    return Row(
        name=name,
        figure="one stream" if alone else "load",
        kind="loop",
        cell=cell,
        measured=1e3 / level["tpot_ms"]["p50"] if alone else rate(level),
        streams=level["streams"],
        input_tokens=512,
        output_tokens=200,
    )


def littles_share(level: dict[str, Any]) -> float:
    """Rate x latency over the streams, from the stamps of its requests."""
    columns = level["raw"]["columns"]
    latency, tokens = columns.index("end_to_end_ms"), columns.index("tokens")
    rows = level["raw"]["rows"]
    seconds = sum(each[latency] for each in rows) / 1000
    return rate(level) * seconds / sum(each[tokens] for each in rows) / float(level["streams"])


def pair(figures: dict[str, float], digits: int = 0) -> str:
    """Median and 95th percentile."""
    return f"{number(figures['p50'], digits)}, {number(figures['p95'], digits)}"


def figures(level: dict[str, Any]) -> tuple[str, ...]:
    """Streams, tokens a second, TTFT and TPOT (median and 95th percentile), and requests."""
    return (
        str(level["streams"]),
        number(rate(level)),
        pair(level["ttft_ms"]),
        pair(level["tpot_ms"], 1),
        number(level["requests"]),
    )
