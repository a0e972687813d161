"""Rows of long steady loops, as `benchmarks.gpu.truth` recorded them."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.pages.recorded import number


def littles_share(level: dict[str, Any]) -> float:
    """Rate x latency over the streams, from the stamps of its requests."""
    columns = level["raw"]["columns"]
    latency, tokens = columns.index("end_to_end_ms"), columns.index("tokens")
    rows = level["raw"]["rows"]
    seconds = sum(each[latency] for each in rows) / 1000
    rate = level["output_tokens_per_second"]["server"]
    return float(rate * seconds / sum(each[tokens] for each in rows) / level["streams"])


def figures(level: dict[str, Any]) -> tuple[str, ...]:
    """Streams, tokens a second, TTFT and TPOT (median and 95th percentile), and requests."""
    ttft, tpot = level["ttft_ms"], level["tpot_ms"]
    return (
        str(level["streams"]),
        number(level["output_tokens_per_second"]["server"]),
        f"{number(ttft['p50'])}, {number(ttft['p95'])}",
        f"{number(tpot['p50'], 1)}, {number(tpot['p95'], 1)}",
        number(level["requests"]),
    )
