"""docs/results/h100/pods.md: slow engines, MoEs and LLM.int8() as pods on one H100."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.h100_alone import H100, memory_pairs
from benchmarks.gpu.pages.h100_warm import LATE_KERNEL, section
from benchmarks.gpu.pages.recorded import bullets, number, resource, row
from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.model import ModelFacts
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.registry import planner_adapter
from tacho_engines.vllm.profile import PROFILE
from tacho_operator.core.planner.expected_speed import Loop, timing
from tacho_operator.core.planner.speed import DecodeStep

RAW, LATER = (H100 / name for name in ("pods-slow", "pods-alone"))
MEASURED = ("llama-8b-ct2", "transformers-int8")
ENDED, CUT = "llama-8b-bnb-int8", "gpt-oss-20b"
"""Cells whose measurement did not end: in their time; before the host was given back."""
AGAIN = ("gpt-oss-20b", "llama-8b-bnb-int8", "moe-bf16")
MIXED = re.compile(r"Avg prompt throughput: ([\d.]+) tokens/s")
ESTIMATE = re.compile(r"Estimated CUDA graph memory: ([\d.]+) GiB")
SINCE = re.compile(r"^\[ *([\d.]+)\] .*Ready=False Measuring", re.MULTILINE)
HEAD = """# Pods on one H100

Written by `python -m benchmarks.gpu.pages` from [raw
data](../../../benchmarks/gpu/h100/pods-slow), where the commands are. A bare host of one H100 with 16 cores
was the node, 2026-11-25, one pod at a time. Llama-3.1-8B of random weights: CTranslate2 4.8.5 in
`int8_float16`, converted in the pod, with 512 tokens in and 200 out; Transformers 5.19.0 with bitsandbytes
in 8 bits, 512 in and 64 out. 16 streams are planned of both.
"""
AGAIN_HEAD = """
## vLLM

Pods of vLLM 0.26.0 with made-up weights, each alone on another such host, later on that day ([raw
data](../../../benchmarks/gpu/h100/pods-alone)), 512 tokens in and 200 out. 64 streams are planned, of
`moe-bf16` 24.
"""
ENDINGS = """
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
CARD = "NVIDIA-H100-80GB-HBM3"
EXPECTED = """
Expected / found:

| cell | one stream, tok/s | capacity: streams, tok/s | boundary |
| --- | --- | --- | --- |
"""


def status(name: str) -> dict[str, Any]:
    folder = RAW if name in MEASURED else LATER
    found: dict[str, Any] = resource(folder / name / "resource.yaml")["status"]
    return found


def _doubts(found: dict[str, Any], level: dict[str, Any]) -> str:
    return ", ".join(held.doubts(found, level, began_mixed=True))


def holding(name: str) -> list[int]:
    """Streams of the levels that hold."""
    found = status(name)["measurements"][0]
    return [level["concurrency"] for level in found["curve"] if not _doubts(found, level)]


def page() -> str:
    return "".join(
        [HEAD, *tables(MEASURED), "\n", taught(), AGAIN_HEAD, *tables(AGAIN), "\n", learned(), section()]
    )


def tables(names: tuple[str, ...]) -> list[str]:
    ended, levels, fits, rates = [], [], [], []
    for name in names:
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
        planned, capacity = plan["predicted"], found["capacity"]
        rates.append(
            row(
                name,
                f"{number(planned['expectedDecodeTokensPerSecond'], 1)} / "
                f"{number(found['singleStream']['decodeTokensPerSecond'], 1)}",
                f"{planned['expectedCapacityConcurrency']}, "
                f"{number(planned['expectedCapacityTokensPerSecond'])} / {capacity['concurrency']}, "
                f"{number(capacity['outputTokensPerSecond'])} ± {number(capacity['ciPercent'], 1)} %",
                capacity["boundary"],
            )
        )
    return [ENDINGS, *ended, LEVELS, *levels, MEMORY, *fits, EXPECTED, *rates]


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
        "before it ended. `moe-bf16` did not run. All three are below.",
    )


def expected(model: ModelFacts, method: str, *streams: int) -> list[float]:
    """Tokens per second that a plan now says of these numbers of streams."""
    found = placement("vllm", model, method, CARD, version="0.26.0")
    account = planner_adapter("vllm").account(found, Context(4096, 1))
    assert account is not None
    weights = account.read_bytes
    step = DecodeStep(
        placement=found, weights_bytes=weights, key_value_bytes=2.0, input_tokens=512, output_tokens=200
    )
    law, kernel, _ = timing(PROFILE.speed, found)
    loop = Loop(step=step, law=law, kernel=kernel, ceiling=float("inf"))
    return [loop.tokens_per_second(each) for each in streams]


def learned() -> str:
    holds = [f"{' and '.join(map(str, found))} of `{name}`" for name in AGAIN if (found := holding(name))]
    loop = json.loads((LATER / "moe-bf16/truth.json").read_text())["levels"][0]
    moe = status("moe-bf16")
    curve = {each["concurrency"]: each for each in moe["measurements"][0]["curve"]}
    level = curve[loop["streams"]]
    estimated = ESTIMATE.findall((LATER / "moe-bf16/engine.log").read_text())[0]
    memory = moe["measurements"][0]["memory"]
    within = memory["actualKVCacheTokens"] // (512 + 200)
    said = status("llama-8b-bnb-int8")["plan"]["predicted"]
    log = (LATER / "gpt-oss-20b/engine.log").read_text()
    oss = status("gpt-oss-20b")
    rates = dict(zip((1, 8, 63), expected(facts("gpt-oss-20b"), "none", 1, 8, 63), strict=True))
    found = {each["concurrency"]: each for each in oss["measurements"][0]["curve"]}
    compared = ", ".join(
        f"{number(rate)} of {streams} (found: {number(found[streams]['outputTokensPerSecond'])})"
        for streams, rate in rates.items()
    )
    planned = float(oss["plan"]["predicted"]["expectedCapacityTokensPerSecond"])
    over = number(planned / float(oss["measurements"][0]["capacity"]["outputTokensPerSecond"]), 1)
    return bullets(
        f"**Levels.** Streams whose level holds: {', '.join(holds)}. `llama-8b-bnb-int8` and `moe-bf16` are "
        "complete and clean. Windows of 4.4 s leave most of their levels intervals above 10 %.",
        f"**moe-bf16** in a loop of {loop['streams']} streams after the probe gave "
        f"{number(loop['output_tokens_per_second']['server'])} tok/s, of which the probe said "
        f"{number(level['outputTokensPerSecond'])} ± {level['ciPercent']} %. Its cache holds {within} such "
        f"requests, so the rest of {loop['streams']} wait. vLLM set {estimated} GiB aside "
        f"for graphs by its own estimate, where the plan counts "
        f"{number(memory['predictedGraphBytes'] / GIB, 2)}: the cache is larger. The experts' reading and "
        "their tiles of 128 tokens are fitted on H200s alone.",
        "**llama-8b-bnb-int8.** It waits for the host at each product, and this host's CPUs are slow. "
        f"{said['expectedDecodeTokensPerSecond'].split('.')[0]} tok/s were expected of one stream, within a "
        "factor of 2. Two requests in its window are too few to hold.",
        f"**gpt-oss-20b** is provisional: while requests ran, {log.count(LATE_KERNEL)} Triton kernels were "
        "compiled, most of them for a new padded number of rows. The engine took at most "
        f"{number(max(map(float, MIXED.findall(log))))} prompt tokens a second over ten seconds. The plan's "
        f"law says {compared}. It has no timing of MXFP4's kernels, and none of late compilation. So "
        f"the plan expected {over} times the capacity that was found. Its made-up "
        "tokenizer has no `<|end|>`: chat completions failed.",
    )
