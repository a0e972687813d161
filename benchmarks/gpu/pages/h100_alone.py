"""docs/results/h100/gguf.md and goals.md: a pod of a GGUF file, and the probe's goals by one command."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.recorded import RAW, bullets, number, paragraph, resource, row, share
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

| streams | tok/s | TTFT p50 ms | TPOT p50 ms | requests | window s |
| --- | --- | --- | --- | --- | --- |
"""
EXPECTED = """
| | expected | found |
| --- | --- | --- |
"""
GOALS_HEAD = """# The probe's goals by one command, on one H100

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h100/goals), where the
command is. One server of vLLM 0.26.0, Llama-3.1-8B in 16 bits with made-up weights, 2026-11-25. It, the probe
and the loop's clients shared 16 cores. 512 tokens in and 200 out.

"""


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
    levels = (
        row(
            str(level["concurrency"]),
            f"{number(level['outputTokensPerSecond'], 0)} ± {level['ciPercent']} %",
            number(level["ttftMillisecondsP50"]),
            number(level["tpotMillisecondsP50"], 1),
            str(level["requests"]),
            str(level["windowSeconds"]),
        )
        for level in found["curve"]
    )
    expected, capacity = plan["predicted"], found["capacity"]
    alone = found["singleStream"]["decodeTokensPerSecond"]
    rates = (
        row("one stream, tok/s", number(expected["expectedDecodeTokensPerSecond"]), number(alone)),
        row(
            "capacity, streams and tok/s",
            f"{expected['expectedCapacityConcurrency']}, "
            f"{number(expected['expectedCapacityTokensPerSecond'])}",
            f"{capacity['concurrency']}, {number(capacity['outputTokensPerSecond'])}",
        ),
    )
    slower = float(expected["expectedDecodeTokensPerSecond"]) / float(alone)
    notes = bullets(
        f"**Slow.** The plan expects {slower:.1f} times the tokens a second that one stream got, and says a "
        "factor of 2 up or down. Why is not known.",
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
        "\n",
        notes,
    ]
    return "".join(parts)


def memory(found: dict[str, Any]) -> list[str]:
    """Planned and found by part."""
    parts = (
        ("weights GiB", "WeightsBytes", GIB, 3),
        ("KV-cache tokens", "KVCacheTokens", 1, 0),
        ("CUDA graphs GiB", "GraphBytes", GIB, 2),
        ("process GiB", "Bytes", GIB, 1),
    )
    rows = []
    for title, key, unit, digits in parts:
        planned, actual = found[f"predicted{key}"] / unit, found[f"actual{key}"] / unit
        rows.append(
            row(title, number(planned, digits), f"{number(actual, digits)} ({share(planned, actual)})")
        )
    return rows


def goals() -> str:
    of = comparison(H100 / "goals")
    loops = {
        level.streams for names in of.truths.values() for name in names for level in probe.truth(of, name)
    }
    levels = {level["concurrency"] for names in of.probes.values() for level in of.read(names[0])["curve"]}
    lacking = sorted(levels - loops - {1})
    note = f"No time was left for loops of {', '.join(map(str, lacking))} streams.\n\n" if lacking else ""
    return GOALS_HEAD + note + probe.page(of)
