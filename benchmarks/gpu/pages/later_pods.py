"""The parts of docs/results/h200/README.md about pods on later hosts."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.gpu.pages import held, pods
from benchmarks.gpu.pages.recorded import ALONE_PODS, LATER_PODS, LONGER_PODS, number, pod, row

HEAD = """
## The 8B, on a second host

The same node on a host of two H200s with 32 cores, 2026-11-22 ([commands and
commits](../../../benchmarks/gpu/h200/pods)). The pods had one GPU. [Long loops](probe.md) kept the other
busy and shared the CPUs. Models are random weights in the shape of Llama-3.1-8B. Requests have 512 tokens
in and 200 out, those of Transformers 64. One run of each, with the default probe:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
LONGER_HEAD = """
## Alone, measured for longer

The same node on 2026-11-23 ([commands and commits](../../../benchmarks/gpu/h200/pods-longer)), one pod at a
time. `llama-8b-fp8` and `llama-8b-tp2` ran on a host of two H200s with 32 cores, of which the first had 16.
`llama-8b-tp2` is Llama-3.1-8B in 16 bits on both GPUs. The others ran on hosts of one H200 with 16 cores.
Their probe measures the capacity's level for up to 20 s where its rate is uncertain and the budget allows.
It did so in `llama-8b-tp2`. vLLM 0.26 runs bitsandbytes in 8 bits without CUDA graphs, and each of its
layers casts its inputs. `qwen2-5-32b` answers one request in 3.7 s, so its one stream has two. Triton still
compiled kernels of `gpt-oss-20b` while its levels ran (engine.log), so its 35 streams are no knee:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
ALONE_HEAD = """
## Alone on a host

The same node on a host of one H200 with 16 cores, 2026-11-23 ([commands and
commits](../../../benchmarks/gpu/h200/pods-again)). One pod at a time, and nothing beside it. Models are
random weights in the shapes of Llama-3.1-8B, Qwen2.5-7B and 32B and Qwen3-30B-A3B (`moe-bf16`, whole).
Requests have 512 tokens in and 200 out, those of Transformers 64. One run of each, with a probe of 45 to
120 s. What was measured again above is not shown:

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


def shown(names: Iterable[str] = (*LONGER_PODS, *ALONE_PODS, *LATER_PODS)) -> Iterable[str]:
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
    every = (*LATER_PODS, *ALONE_PODS, *LONGER_PODS)
    return {name.rpartition("/")[2]: name for name in every if whole(name)}


def sections() -> Iterable[str]:
    heads = ((LONGER_HEAD, LONGER_PODS), (ALONE_HEAD, ALONE_PODS), (HEAD, LATER_PODS))
    for head, names in heads:
        rows = list(shown(names))
        yield head
        yield from pods.served(names)
        yield SHOWN.format(shown=len(rows), levels=len(pods.levels(names)))
        yield from rows
        yield FITS
        yield from pods.fits(names)
