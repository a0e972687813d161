"""The parts of docs/results/h200/README.md about pods on later hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import checked, held, late_kernels, looped, pods, repeated
from benchmarks.gpu.pages.recorded import (
    ALONE_PODS,
    BUDGET_PODS,
    CHECKED_PODS,
    KERNEL_PODS,
    LATER_PODS,
    LONGER_PODS,
    LOOP_PODS,
    LOOPED_PODS,
    REPEATED_PODS,
    RESULTS,
    bullets,
    number,
    pod,
    read,
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
BUDGETS_HEAD = """
## With budgets of 120 to 180 s

The same node on 2026-11-25, on one H200 with 16 cores ([commands and
commits](../../../benchmarks/gpu/h200/pods-budgets)). One pod at a time, and no loops beside them.
`probe.budgetSeconds` is set; by default it was 90 or 120. All share a volume for compiled code, which was
empty at first. `llama-8b-ct2` was converted in the pod:

| folder | ended as | start s: load + compile + graphs + probe |
| --- | --- | --- |
"""
BUDGETS_TABLE = """
What the plan expected at capacity, and what the probe found:

| folder | probe s / its budget | expected: streams, tok/s | found: streams, tok/s | boundary |
| --- | --- | --- | --- | --- |
"""
NOT_APPLIED = re.compile(r"loaded ([\d.]+) GiB of weights where gguf should leave ([\d.]+) GiB")
GGUF, GGUF_ALONE = "budgets/llama-8b-gguf", "budgets/gguf-without-config"
"""Pods of the same GGUF file that were never Ready; the second had no config.json beside it."""
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
    *(*BUDGET_PODS, *REPEATED_PODS, *LOOPED_PODS, *CHECKED_PODS, *LOOP_PODS),
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


def _status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(RESULTS / f"h200/{name}/resource.yaml")["status"]
    return found


def _expected() -> Iterable[str]:
    for name in BUDGET_PODS:
        plan, found = _status(name)["plan"], pod(name)
        expected, capacity = plan["predicted"], found["capacity"]
        yield row(
            name,
            f"{found['probeSeconds']} / {plan['probeBudgetSeconds']}",
            f"{expected['expectedCapacityConcurrency']}, "
            f"{number(expected['expectedCapacityTokensPerSecond'])}",
            f"{capacity['concurrency']}, {number(capacity['outputTokensPerSecond'])} ± "
            f"{number(capacity['ciPercent'], 1)} %",
            capacity["boundary"],
        )


def _refused() -> Iterable[str]:
    """Rows of the pods that were never Ready."""
    for name in (GGUF_ALONE, GGUF):
        group, _, cell = name.partition("/")
        failed = next(
            event
            for event in read(f"pods-{group}/{cell}/timeline.json")
            if event["type"] == "Stalled" and event["status"] == "True"
        )
        yield row(
            f"[{name}]({name})", f"{failed['reason']}, {number(failed['seconds'])} s after it was applied", ""
        )


def gguf() -> tuple[float, float, float]:
    """GiB of the GGUF file, of its weights by the plan, and of what vLLM loaded of it."""
    status = _status(GGUF)
    # Ends the run where the record says something else.
    ((loaded, planned),) = NOT_APPLIED.findall(status["revisions"][0]["message"])
    return status["plan"]["model"]["totalBytes"] / 2**30, float(planned), float(loaded)


def budgets() -> str:
    """What the pods with budgets of their own taught."""
    if cells := [name for name in BUDGET_PODS if whole(name)]:
        raise ValueError(f"the planned streams of {cells} hold: the page says of none that they do")
    several = [level for name in BUDGET_PODS for level in pod(name)["curve"] if level["concurrency"] > 1]
    longest = max(float(level["windowSeconds"]) for level in several)
    ended = sorted(level["requests"] for level in pod(BUDGET_PODS[0])["curve"] if level["concurrency"] > 1)
    kernels, names = late_kernels.late("pods-budgets/gpt-oss-20b")
    stored, planned, loaded = gguf()
    text = bullets(
        "**Budgets.** Of no cell the planned streams hold. Windows of several streams are at most "
        f"{longest} s whatever the budget: `llama-8b-ct2` ended {ended[0]} to {ended[-1]} requests in one.",
        f"**gpt-oss-20b** compiled {kernels} kernels of {names} names while requests ran. It is provisional.",
        "**GGUF** was not measured. vLLM 0.26 with vllm-gguf-plugin 0.0.5 got an 8B of random weights in "
        f"Q4_0, {stored:.2f} GiB. Without a `config.json` beside the file vLLM refused it. With one, and a "
        f"tokenizer, it loaded {loaded:.2f} GiB. The plan had said {planned:.2f}, so tacho took the "
        "quantization for not applied, and the pod was never Ready. Plans count merged tensors twice now. "
        "[On an H100](../h100/gguf.md) it served.",
    )
    return "".join([BUDGETS_TABLE, *_expected(), "\n", text])


def sections() -> Iterable[str]:
    heads = (
        (BUDGETS_HEAD, BUDGET_PODS),
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
        if names is BUDGET_PODS:
            yield from _refused()
        yield SHOWN.format(shown=len(rows), levels=len(pods.levels(names)))
        yield from rows
        yield FITS
        yield from pods.fits(names)
        if names is BUDGET_PODS:
            yield budgets()
        if names is REPEATED_PODS:
            yield repeated.section()
        if names is LOOPED_PODS:
            yield looped.section()
        if names is CHECKED_PODS:
            yield checked.section()
        if names is LOOP_PODS:
            yield late_kernels.taught()
