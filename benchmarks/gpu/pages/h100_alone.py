"""docs/results/h100/gguf.md: a pod of a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.recorded import RAW, bullets, number, paragraph, resource, row, share
from benchmarks.planner import gguf as planner
from tacho_contract.units import GIB

H100 = RAW.parent / "h100"
GGUF = H100 / "pods/llama-8b-gguf/resource.yaml"
GGUF_HEAD = """# A GGUF file in vLLM as a pod, on one H100

Written by `python -m benchmarks.gpu.pages` from [raw
data](../../../benchmarks/gpu/h100/pods), where the command is. A bare host of one H100 with 16 cores was the
node, 2026-11-25. The 8B of random weights in Q4_0 had a `config.json` and a tokenizer beside it. vLLM 0.26.0
with vllm-gguf-plugin 0.0.5, 512 tokens in and 200 out.

"""
MEMORY = """
## Memory

| | planned before the start | found |
| --- | --- | --- |
"""
LEVELS = """
## The measurement

| streams | tok/s | TTFT p50 ms | TPOT p50 ms | requests | window s | holds |
| --- | --- | --- | --- | --- | --- | --- |
"""
EXPECTED = """
| | expected then | found | expected now |
| --- | --- | --- | --- |
"""
WHY = """
## Why it is slow

"""
STEPS = """
Matrix products of a step of this 8B, in milliseconds, alone in CUDA graphs on such an H100
([raw data](../../../benchmarks/gpu/h100/gguf)):

| tokens | Triton | CUDA | 16 bits, cuBLAS |
| --- | --- | --- | --- |
"""
SHOWN_TOKENS = (1, 8, 32, 48, 104, 256, 1024)


def status() -> dict[str, Any]:
    found: dict[str, Any] = resource(GGUF)["status"]
    return found


def gguf() -> str:
    told = status()
    plan, found, start = told["plan"], told["measurements"][0], told["startup"]
    ready = next(each for each in told["conditions"] if each["type"] == "Ready")
    said = paragraph(
        f"It ended as {ready['reason']}, {start['totalSeconds']} s after it was planned: the engine loaded "
        f"for {start['loadSeconds']} s, compiled for {start['compileSeconds']} s, captured graphs for "
        f"{start['graphSeconds']} s, and was measured for {start['probeSeconds']} s. The measurement is "
        f"{found['state']} ({', '.join(found['flags'])})."
    )
    doubts = {
        level["concurrency"]: ", ".join(held.doubts(found, level, began_mixed=True))
        for level in found["curve"]
    }
    levels = (
        row(
            str(level["concurrency"]),
            f"{number(level['outputTokensPerSecond'], 0)} ± {level['ciPercent']} %",
            number(level["ttftMillisecondsP50"]),
            number(level["tpotMillisecondsP50"], 1),
            str(level["requests"]),
            str(level["windowSeconds"]),
            doubts[level["concurrency"]] or "yes",
        )
        for level in found["curve"]
    )
    holding = [str(streams) for streams, doubt in doubts.items() if not doubt]
    expected, capacity = plan["predicted"], found["capacity"]
    alone = found["singleStream"]["decodeTokensPerSecond"]
    streams, version = capacity["concurrency"], plan["engine"]["version"]
    rates = (
        row(
            "one stream, tok/s",
            number(expected["expectedDecodeTokensPerSecond"]),
            number(alone),
            number(1 / planner.loop(version).gap(1)),
        ),
        row(
            "capacity, streams and tok/s",
            f"{expected['expectedCapacityConcurrency']}, "
            f"{number(expected['expectedCapacityTokensPerSecond'])}",
            f"{streams}, {number(capacity['outputTokensPerSecond'])} ± {capacity['ciPercent']} %",
            f"{streams}, {number(planner.loop(version).tokens_per_second(streams))}",
        ),
    )
    notes = bullets(
        f"**Levels.** {len(holding)} of {len(doubts)} hold: that of {' and '.join(holding)} streams. The "
        f"others are withdrawn, that of one stream too: it had {found['singleStream']['requests']} requests.",
        "**Not run.** The session's time for the pod ended in the second in which it served. So it answered "
        "no chat completion, and no long loop ran beside the probe.",
    )
    parts = [
        GGUF_HEAD,
        said,
        MEMORY,
        *memory(found["memory"]),
        LEVELS,
        *levels,
        EXPECTED,
        *rates,
        WHY,
        *why(),
        "\n",
        notes,
    ]
    return "".join(parts)


def why() -> Iterable[str]:
    """The kernels that ran, and what others take."""
    installed, whole = (
        json.loads((H100 / f"gguf/{name}.json").read_text()) for name in ("products-as-installed", "products")
    )
    default = planner.loop("0.32.0")
    symbol = installed["extension"].rpartition(" ")[2]
    steps: dict[tuple[int, str], float] = {
        (each["tokens"], each["way"]): each["step"] for each in whole["rows"]
    }
    yield paragraph(
        "The plugin has kernels in a CUDA extension. Where that does not load it takes Triton's and says "
        f"nothing. The extension of 0.0.5 asks PyTorch for `{symbol}`. PyTorch {installed['torch']}, which "
        "vLLM 0.26 needs, has no such symbol. PyTorch 2.13, of vLLM 0.27 and later and so of the default "
        "image, has it: there the extension loads."
    )
    yield STEPS
    for tokens in SHOWN_TOKENS:
        cuda = min(steps[tokens, way] for way in ("cuda vec", "cuda mat") if (tokens, way) in steps)
        yield row(
            str(tokens), *(number(each, 1) for each in (steps[tokens, "triton"], cuda, steps[tokens, "bf16"]))
        )
    yield "\n"
    yield paragraph(
        "The Triton kernel takes the same time for 1 to 32 tokens, so one stream waits for all of it at each "
        f"token. The CUDA kernels are {steps[1, 'triton'] / steps[1, 'cuda vec']:.0f} times as fast for one "
        f"token, but {steps[1024, 'cuda mat'] / steps[1024, 'triton']:.1f} times as slow for 1,024. So of "
        f"vLLM 0.32 a plan expects {number(1 / default.gap(1))} tok/s of one stream, and "
        f"{number(default.tokens_per_second(103))} of 103. That was not run. For the times a "
        "stand-in gave the missing functions, which only errors and optional arguments need."
    )


def memory_pairs(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Planned and found by part, of those that were found."""
    parts = (
        ("weights GiB", "WeightsBytes", GIB, 3),
        ("KV-cache tokens", "KVCacheTokens", 1, 0),
        ("CUDA graphs GiB", "GraphBytes", GIB, 2),
        ("process GiB", "Bytes", GIB, 1),
    )
    pairs = {}
    for title, key, unit, digits in parts:
        if f"actual{key}" in found:
            planned, actual = found[f"predicted{key}"] / unit, found[f"actual{key}"] / unit
            pairs[title] = (
                number(planned, digits),
                f"{number(actual, digits)} ({share(planned, actual)})",
            )
    return pairs


def memory(found: dict[str, Any]) -> list[str]:
    return [row(title, *pair) for title, pair in memory_pairs(found).items()]
