"""The parts of docs/results/h200/README.md about pods on later hosts."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.gpu.pages import checked, held, late_kernels, looped, pods, repeated
from benchmarks.gpu.pages.recorded import (
    ALONE_PODS,
    CHECKED_PODS,
    KERNEL_PODS,
    LATER_PODS,
    LONGER_PODS,
    LOOP_PODS,
    LOOPED_PODS,
    REPEATED_PODS,
    number,
    pod,
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
REPEATED_HEAD = """
## Measured once more, beside loops of 20 s

The same node on 2026-11-24, on another host of one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-repeated)). One pod at a time. All share a volume for compiled
code, which was empty at first. `front-ends` is Qwen3-0.6B with four front ends:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
LOOPED_HEAD = """
## Alone, beside loops of 20 s

The same node on 2026-11-24, on one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-looped)). One pod at a time. All share a volume for compiled code,
which `gpt-oss-20b` found empty. `llama-8b-ct2` was converted in the pod:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
CHECKED_HEAD = """
## Alone, and each level beside a long loop

The same node on 2026-11-23, on hosts of one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-checked)). One pod at a time, `transformers-nf4` and
`transformers-int8` on another host than the first two. `llama-8b-ct2` is Llama-3.1-8B in CTranslate2's
`int8_float16`, which the pod converted in 59 s. The probes of Transformers had 120 and 200 s:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
LOOP_HEAD = """
## Alone, and long loops on one

The same node on 2026-11-23, on one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-loop)). One pod at a time. `gpt-oss-20b-warm` starts from the
compiled code that `gpt-oss-20b` left on a volume, and had long loops after its probe. This host was slow: one
stream of `transformers-nf4` has {slow} tok/s, that of `alone/transformers-nf4` {fast}, and HTTP limits
`qwen2-5-7b` from 100 streams on. So intervals are wide, and the earlier `llama-8b-gptq`, `qwen2-5-7b` and
`transformers-nf4` stay below. `qwen2-5-7b-nf4` is Qwen2.5-7B in NF4:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
KERNELS_HEAD = """
## Alone, with every late kernel counted

The same node on 2026-11-23, on one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-kernels)). One pod at a time. On this host HTTP limits
`llama-8b-fp8` from 48 streams on, on that of `longer/llama-8b-fp8` at 256. So their knees differ. The highest
levels of `moe-bf16` stay uncertain, as its budget had no time for a longer one. `qwen2-5-32b-awq` has two
requests of one stream, as the probe's share for it holds no more. What was measured again above is not
shown, but for `llama-8b-fp8`:

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
120 s. What was measured again above is not shown, but for those that a slow host measured:

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


ORDER = (
    *(*REPEATED_PODS, *LOOPED_PODS, *CHECKED_PODS, *LOOP_PODS),
    *(*KERNEL_PODS, *LONGER_PODS, *ALONE_PODS, *LATER_PODS),
)


def shown(names: Iterable[str] = ORDER) -> Iterable[str]:
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
    return {name.rpartition("/")[2]: name for name in reversed(ORDER) if whole(name)}


def _alone(group: str) -> str:
    """Tokens a second of one stream of Transformers in NF4."""
    return number(pod(f"{group}/transformers-nf4")["curve"][0]["outputTokensPerSecond"])


def sections() -> Iterable[str]:
    heads = (
        (REPEATED_HEAD, REPEATED_PODS),
        (LOOPED_HEAD, LOOPED_PODS),
        (CHECKED_HEAD, CHECKED_PODS),
        (LOOP_HEAD.format(slow=_alone("loop"), fast=_alone("alone")), LOOP_PODS),
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
        if names is REPEATED_PODS:
            yield repeated.section()
        if names is LOOPED_PODS:
            yield looped.section()
        if names is CHECKED_PODS:
            yield checked.section()
        if names is LOOP_PODS:
            yield late_kernels.taught()
