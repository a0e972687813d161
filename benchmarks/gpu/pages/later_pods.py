"""The parts of docs/results/h200/README.md about pods on later hosts."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.gpu.pages import held, pods
from benchmarks.gpu.pages.recorded import ALONE_PODS, LATER_PODS, number, pod, row

HEAD = """
## The 8B, on a second host

The same node on a host of two H200s with 32 cores, 2026-11-22 ([commands and
commits](../../../benchmarks/gpu/h200/pods)). The pods had one GPU. [Long loops](probe.md) kept the other
busy and shared the CPUs. Models are random weights in the shape of Llama-3.1-8B. Requests have 512 tokens
in and 200 out, those of Transformers 64. One run of each, with the default probe:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
ALONE_HEAD = """
## Alone on a host

The same node on a host of one H200 with 16 cores, 2026-11-23 ([commands and
commits](../../../benchmarks/gpu/h200/pods-again)). One pod at a time, and nothing beside it. Models are
random weights in the shapes of Llama-3.1-8B, Qwen2.5-7B and 32B, Qwen3-30B-A3B (`moe-bf16`, whole) and
gpt-oss-20b. Requests have 512 tokens in and 200 out, those of Transformers 64. One run of each, with a
probe of 45 to 120 s. A Qwen2.5-32B in 16 bits was still measured when the time was over, and bitsandbytes
in 8 bits had no time:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
SHOWN = """
Levels that hold, {shown} of {levels}. The others, and why, are in
[outstanding](outstanding.md#withdrawn). `±` is half the 95 % interval. `Little` is rate x latency over the
streams. `-` is a 95th percentile of too few requests.

| folder | streams | tok/s | TTFT p50, p95 ms | TPOT p50, p95 ms | requests | Little |
| --- | --- | --- | --- | --- | --- | --- |
"""
FITS = """
Predicted before the start / found, GiB beside tokens:

| folder | weights | KV-cache tokens | graphs | process |
| --- | --- | --- | --- | --- |
"""


def shown(names: Iterable[str] = (*ALONE_PODS, *LATER_PODS)) -> Iterable[str]:
    for name in names:
        measurement = pod(name)
        for _, level, doubts in pods.levels([name]):
            if not doubts:
                yield row(
                    name,
                    str(level["concurrency"]),
                    f"{number(level['outputTokensPerSecond'])} ± {number(level['ciPercent'], 1)} %",
                    _percentiles(level, "ttft"),
                    _percentiles(level, "tpot"),
                    str(level["requests"]),
                    f"{held.littles_share(measurement, level):.3f}",
                )


def _percentiles(level: dict[str, str], what: str) -> str:
    """`-` for a 95th percentile of too few requests."""
    return ", ".join(level.get(f"{what}MillisecondsP{share}", "-") for share in (50, 95))


def whole(name: str) -> bool:
    """Whether one stream holds, and a level of at least the planned streams."""
    planned = pods.spec(name)["context"]["concurrency"]
    streams = [level["concurrency"] for _, level, doubts in pods.levels([name]) if not doubts]
    return 1 in streams and max(streams) >= planned


def done() -> dict[str, str]:
    """Cells of which one stream and a level of at least the planned streams hold, to their pods."""
    every = (*LATER_PODS, *ALONE_PODS)
    return {name.rpartition("/")[2]: name for name in every if whole(name)}


def sections() -> Iterable[str]:
    for head, names in ((ALONE_HEAD, ALONE_PODS), (HEAD, LATER_PODS)):
        rows = list(shown(names))
        yield head
        yield from pods.served(names)
        yield SHOWN.format(shown=len(rows), levels=len(pods.levels(names)))
        yield from rows
        yield FITS
        yield from pods.fits(names)
