"""docs/results/h100/pods.md: slow engines as pods on one H100."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.h100_alone import H100, memory_pairs
from benchmarks.gpu.pages.recorded import bullets, number, resource, row

RAW = H100 / "pods-slow"
MEASURED = ("llama-8b-ct2", "transformers-int8")
ENDED, CUT = "llama-8b-bnb-int8", "gpt-oss-20b"
"""Cells whose measurement did not end: in their time; before the host was given back."""
SINCE = re.compile(r"^\[ *([\d.]+)\] .*Ready=False Measuring", re.MULTILINE)
HEAD = """# Slow engines as pods, on one H100

Written by `python -m benchmarks.gpu.pages` from [raw
data](../../../benchmarks/gpu/h100/pods-slow), where the commands are. A bare host of one H100 with 16 cores
was the node, 2026-11-25, one pod at a time. Llama-3.1-8B of random weights: CTranslate2 4.8.5 in
`int8_float16`, converted in the pod, with 512 tokens in and 200 out; Transformers 5.19.0 with bitsandbytes
in 8 bits, 512 in and 64 out. 16 streams are planned of both.

| cell | ended as | start s: load + probe of its budget |
| --- | --- | --- |
"""
LEVELS = """
| cell | streams | tok/s | TTFT p50 ms | TPOT p50 ms | requests | window s | holds |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
MEMORY = """
Planned before the start / found:

| cell | weights GiB | KV-cache tokens | process GiB |
| --- | --- | --- | --- |
"""
PARTS = ("weights GiB", "KV-cache tokens", "process GiB")
EXPECTED = """
Expected / found:

| cell | one stream, tok/s | capacity: streams, tok/s | boundary |
| --- | --- | --- | --- |
"""


def status(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resource(RAW / name / "resource.yaml")["status"]
    return found


def _doubts(found: dict[str, Any], level: dict[str, Any]) -> str:
    return ", ".join(held.doubts(found, level, began_mixed=True))


def holding(name: str) -> list[int]:
    """Streams of the levels that hold."""
    found = status(name)["measurements"][0]
    return [level["concurrency"] for level in found["curve"] if not _doubts(found, level)]


def page() -> str:
    ended, levels, fits, rates = [], [], [], []
    for name in MEASURED:
        told = status(name)
        found, start, plan = told["measurements"][0], told["startup"], told["plan"]
        ready = next(each for each in told["conditions"] if each["type"] == "Ready")
        ended.append(
            row(
                name,
                f"{ready['reason']}; measurement {found['state']} ({', '.join(found['flags'])})",
                f"{start['loadSeconds']} + {start['probeSeconds']} of {plan['probeBudgetSeconds']}",
            )
        )
        levels.extend(
            row(
                name,
                str(level["concurrency"]),
                f"{number(level['outputTokensPerSecond'], 1)} ± {level['ciPercent']} %",
                number(level["ttftMillisecondsP50"]),
                number(level["tpotMillisecondsP50"], 1),
                str(level["requests"]),
                str(level["windowSeconds"]),
                _doubts(found, level) or "yes",
            )
            for level in found["curve"]
        )
        pairs = memory_pairs(found["memory"])
        fits.append(row(name, *(" / ".join(pairs.get(part, "-")) for part in PARTS)))
        expected, capacity = plan["predicted"], found["capacity"]
        rates.append(
            row(
                name,
                f"{number(expected['expectedDecodeTokensPerSecond'], 1)} / "
                f"{number(found['singleStream']['decodeTokensPerSecond'], 1)}",
                f"{expected['expectedCapacityConcurrency']}, "
                f"{number(expected['expectedCapacityTokensPerSecond'])} / {capacity['concurrency']}, "
                f"{number(capacity['outputTokensPerSecond'])} ± {number(capacity['ciPercent'], 1)} %",
                capacity["boundary"],
            )
        )
    return "".join([HEAD, *ended, LEVELS, *levels, MEMORY, *fits, EXPECTED, *rates, "\n", taught()])


def taught() -> str:
    spare = {name: status(name) for name in MEASURED}
    left = {
        name: each["plan"]["probeBudgetSeconds"] - each["startup"]["probeSeconds"]
        for name, each in spare.items()
    }
    (since,) = SINCE.findall((RAW / f"{CUT}.log").read_text())
    events = json.loads((RAW / ENDED / "timeline.json").read_text())
    began = next(each["seconds"] for each in events if each["reason"] == "Measuring")
    holds = [f"{' and '.join(map(str, holding(name)))} of `{name}`" for name in MEASURED]
    return bullets(
        f"**Levels.** Streams whose level holds: {', '.join(holds)}. The planned 16 hold of neither. The "
        "probes ended with "
        f"{left[MEASURED[0]]} and {left[MEASURED[1]]} s of their budgets unspent: time to spare goes to the "
        "level of the capacity alone, and windows of the others stay 4.4 s.",
        f"**{ENDED}** had no measurement: it began {number(began)} s after it was applied, and the cell had "
        "270 s.",
        f"**{CUT}** began to be measured {number(since)} s after it was applied, and the host was given back "
        "before it ended. `moe-bf16` did not run.",
    )
