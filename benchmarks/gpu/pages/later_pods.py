"""The parts of docs/results/h200/README.md about pods on later hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import held, pods
from benchmarks.gpu.pages.recorded import (
    ALONE_PODS,
    KERNEL_PODS,
    LATER_PODS,
    LONGER_PODS,
    RAW,
    number,
    paragraph,
    pod,
    resource,
    row,
)

HEAD = """
## The 8B, on a second host

The same node on a host of two H200s with 32 cores, 2026-11-22 ([commands and
commits](../../../benchmarks/gpu/h200/pods)). The pods had one GPU. [Long loops](probe.md) kept the other
busy and shared the CPUs. Models are random weights in the shape of Llama-3.1-8B. Requests have 512 tokens
in and 200 out, those of Transformers 64. One run of each, with the default probe:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
KERNELS_HEAD = """
## Alone, with every late kernel counted

The same node on 2026-11-23, on one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-kernels)). One pod at a time. `gpt-oss-20b-warm` starts from the
compiled code that `gpt-oss-20b` left on a volume. On this host HTTP limits `llama-8b-fp8` from 48 streams on,
on that of `longer/llama-8b-fp8` at 256. So their knees differ. The highest levels of `moe-bf16` stay
uncertain, as its budget had no time for a longer one. `qwen2-5-32b-awq` has two requests of one stream, as
the probe's share for it holds no more:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
LATE = re.compile(r"during inference: (\S+)")
LONGER_HEAD = """
## Alone, measured for longer

The same node on 2026-11-23 ([commands and commits](../../../benchmarks/gpu/h200/pods-longer)), one pod at a
time. `llama-8b-fp8` and `llama-8b-tp2` ran on a host of two H200s with 32 cores, of which the first had 16.
`llama-8b-tp2` is Llama-3.1-8B in 16 bits on both GPUs. The others ran on hosts of one H200 with 16 cores.
Their probe measures the capacity's level for up to 20 s where its rate is uncertain and the budget allows.
It did so in `llama-8b-tp2`. vLLM 0.26 runs bitsandbytes in 8 bits without CUDA graphs, and each of its
layers casts its inputs. `qwen2-5-32b` answers one request in 3.7 s, so its one stream has two. What was
measured again above is not shown, but for `llama-8b-fp8`:

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


def shown(names: Iterable[str] = (*KERNEL_PODS, *LONGER_PODS, *ALONE_PODS, *LATER_PODS)) -> Iterable[str]:
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
    every = (*LATER_PODS, *ALONE_PODS, *LONGER_PODS, *KERNEL_PODS)
    return {name.rpartition("/")[2]: name for name in every if whole(name)}


def late(folder: str) -> tuple[int, int]:
    """(kernels compiled while requests ran, their names) in a log of `pods-kernels`."""
    found = LATE.findall((RAW / "pods-kernels" / folder / "engine.log").read_text())
    return len(found), len(set(found))


def _status(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(RAW / "pods-kernels" / folder / "resource.yaml")["status"]
    return found


def taught() -> str:
    """What the pods of `gpt-oss-20b` showed, one after the other."""
    first, mended, warm = (_status(name) for name in ("gpt-oss-20b-first", "gpt-oss-20b", "gpt-oss-20b-warm"))
    wrong, floor = (each["measurements"][0]["capacity"] for each in (first, mended))
    cold, short = (
        each["startup"]["totalSeconds"] - each["startup"]["probeSeconds"] for each in (mended, warm)
    )
    compiled, names = late("gpt-oss-20b")
    before, fewer = late("gpt-oss-20b-first")
    again, others = late("gpt-oss-20b-warm")
    return "\n" + paragraph(
        f"`gpt-oss-20b` compiled {compiled} kernels of {names} names while requests ran; by default vLLM "
        f"says {names}. Before that (`gpt-oss-20b-first` of the raw data, {before} of {fewer} names) levels "
        f"of 48 and 256 streams told no rate, and the probe took {wrong['concurrency']} streams for the "
        f"knee: {number(wrong['outputTokensPerSecond'])} tok/s, complete and clean. A level without a rate "
        f"is no plateau since: {floor['concurrency']} streams with "
        f"{number(floor['outputTokensPerSecond'])} tok/s as a floor, and provisional. From compiled code it "
        f"started in {short} s instead of {cold}, and still compiled or loaded {again} of {others} names: "
        "Triton makes one for each padded number of rows. Neither found a knee in 90 s, as the next levels "
        "lay too near to those without a rate. They lie nearer to what is known since; that has not run on "
        "a GPU."
    )


def sections() -> Iterable[str]:
    heads = (
        (KERNELS_HEAD, KERNEL_PODS),
        (LONGER_HEAD, LONGER_PODS),
        (ALONE_HEAD, ALONE_PODS),
        (HEAD, LATER_PODS),
    )
    for head, names in heads:
        rows = list(shown(names))
        yield head
        yield from pods.served(names)
        yield SHOWN.format(shown=len(rows), levels=len(pods.levels(names)))
        yield from rows
        yield FITS
        yield from pods.fits(names)
        if names is KERNEL_PODS:
            yield taught()
