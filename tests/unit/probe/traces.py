"""Traces of a closed loop whose times are known, for the tests of a level's figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.load.streams import StreamResult

MS = 1_000_000
BIN_NS = 10 * MS
TTFT_MS, ITL_MS, OUTPUT_TOKENS = 100, 10, 41
SERVICE_MS = TTFT_MS + (OUTPUT_TOKENS - 1) * ITL_MS
WORKLOAD = Workload(input_tokens=64, output_tokens=OUTPUT_TOKENS)
NO_SLO = ServiceLevel()


def stream(sent_ms: int, tokens: int, *, whole: bool = True, itl_ms: float = ITL_MS) -> StreamResult:
    stamps = [round((sent_ms + TTFT_MS + index * itl_ms) * MS) for index in range(tokens)]
    return StreamResult(
        sent_ns=sent_ms * MS,
        tokens=tuple((stamp, 1.0) for stamp in stamps),
        finish_reason="length" if whole else "",
    )


def trace_of(streams: list[StreamResult], start_ms: int, end_ms: int, **changes: Any) -> LoadTrace:
    bins = [0.0] * ((end_ms - start_ms) // 10)
    for one in streams:
        for stamp, count in one.tokens:
            place = (stamp - start_ms * MS) // BIN_NS
            if 0 <= place < len(bins):
                bins[place] += count
    values: dict[str, Any] = {
        "concurrency": 2,
        "start_ns": start_ms * MS,
        "end_ns": end_ms * MS,
        "streams": tuple(streams),
        "bin_nanoseconds": BIN_NS,
        "bins": tuple(bins),
        "requests_ended": sum(bool(one.finish_reason) for one in streams),
    }
    return LoadTrace(**(values | changes))


def closed_loop(concurrency: int, until_ms: int = 3000, **changes: Any) -> LoadTrace:
    """Streams that began together with residual lives, followed to ``until_ms``, counted for four lives."""
    first, later = [], []
    for index in range(concurrency):
        life = 1 + index * OUTPUT_TOKENS // concurrency
        first.append(stream(0, life))
        at = TTFT_MS + (life - 1) * ITL_MS
        while at < until_ms:
            tokens = min(OUTPUT_TOKENS, max(0, (until_ms - at - TTFT_MS) // ITL_MS + 1))
            if tokens:
                later.append(stream(at, tokens, whole=tokens == OUTPUT_TOKENS))
            at += SERVICE_MS
    later.sort(key=lambda one: one.sent_ns)
    end_ms = TTFT_MS + 4 * SERVICE_MS
    return trace_of(
        [*first, *later],
        TTFT_MS,
        end_ms,
        concurrency=concurrency,
        first=(True,) * len(first) + (False,) * len(later),
        sent_until_ns=(TTFT_MS + SERVICE_MS) * MS,
        **changes,
    )


def times(factor: float, trace: LoadTrace) -> LoadTrace:
    """The same with more tokens at each moment."""
    streams = tuple(
        replace(one, tokens=tuple((stamp, factor * count) for stamp, count in one.tokens))
        for one in trace.streams
    )
    return replace(trace, streams=streams, bins=tuple(factor * count for count in trace.bins))
