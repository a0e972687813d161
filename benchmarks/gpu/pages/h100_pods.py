"""docs/results/h100/pods.md: slow engines, MoEs and LLM.int8() as pods on one H100."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.h100_alone import H100, memory_pairs
from benchmarks.gpu.pages.recorded import bullets, number, resource, row
from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.model import ModelFacts, StoredQuantization
from tacho_contract.units import GIB
from tacho_engines.base import Context
from tacho_engines.registry import plan_half
from tacho_engines.vllm.profile import PROFILE
from tacho_operator.core.planner.expected_speed import Loop, timing
from tacho_operator.core.planner.speed import DecodeStep

RAW, LATER = H100 / "pods-slow", H100 / "pods-measured"
MEASURED = ("llama-8b-ct2", "transformers-int8")
ENDED, CUT = "llama-8b-bnb-int8", "gpt-oss-20b"
"""Cells whose measurement did not end: in their time; before the host was given back."""
AGAIN = ("gpt-oss-20b", "gpt-oss-20b-warm", "llama-8b-bnb-int8", "llama-8b-bnb-int8-again", "moe-bf16")
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

Five pods of vLLM 0.26.0 with made-up weights on another such host, later on that day ([raw
data](../../../benchmarks/gpu/h100/pods-measured)), 512 tokens in and 200 out. 64 streams are planned, of
`moe-bf16` 24. What `gpt-oss-20b` compiled, `gpt-oss-20b-warm` found.
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
    return "".join([HEAD, *tables(MEASURED), "\n", taught(), AGAIN_HEAD, *tables(AGAIN), "\n", learned()])


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


def but_for_the_hypervisor(name: str) -> list[int]:
    """Streams of the levels whose only doubt is that flag."""
    found = status(name)["measurements"][0]
    excused = {"flag Contended", "provisional"}
    return [
        each["concurrency"] for each in found["curve"] if set(_doubts(found, each).split(", ")) <= excused
    ]


def cpus() -> list[tuple[int, int]]:
    """Ticks in which each CPU ran work, and that the hypervisor took, from boot to the end."""
    lines = (LATER / "proc-stat.txt").read_text().splitlines()
    return [_ticks(line) for line in lines if not line.startswith("cpu ")]


def _ticks(line: str) -> tuple[int, int]:
    fields = [int(field) for field in line.split()[1:]]
    return sum(fields[:3]), fields[7]


def expected(model: ModelFacts, method: str, *streams: int) -> list[float]:
    """Tokens per second that a plan now says of these numbers of streams."""
    found = placement("vllm", model, method, CARD, version="0.26.0")
    account = plan_half("vllm").account(found, Context(4096, 1))
    assert account is not None
    weights = account.weights_bytes - account.unread_bytes
    step = DecodeStep(
        placement=found, weights_bytes=weights, key_value_bytes=2.0, input_tokens=512, output_tokens=200
    )
    law, kernel, _ = timing(PROFILE.speed, found)
    loop = Loop(step=step, law=law, kernel=kernel, ceiling=float("inf"))
    return [loop.tokens_per_second(each) for each in streams]


def int8() -> ModelFacts:
    """That 8B as stored in LLM.int8()."""
    stored = StoredQuantization(method="bitsandbytes", bits=8, scheme="int8")
    return replace(facts("llama-3.1-8b"), quantization=stored)


def learned() -> str:
    alone_held = {name: found for name in AGAIN if (found := but_for_the_hypervisor(name))}
    clear = [f"{' and '.join(map(str, found))} of `{name}`" for name, found in alone_held.items()]
    used = cpus()
    busiest, idlest = max(used), min(used)
    stolen = 100 * sum(each[1] for each in used) / sum(map(sum, used))
    before, after = (_ticks(line) for line in (LATER / "proc-stat-busy.txt").read_text().splitlines())
    grown = (after[0] - before[0], after[1] - before[1])
    loop = json.loads((LATER / "moe-bf16/truth.json").read_text())["levels"][0]
    curve = status("moe-bf16")["measurements"][0]["curve"]
    level = next(each for each in curve if each["concurrency"] == loop["streams"])
    estimated = ESTIMATE.findall((LATER / "moe-bf16/engine.log").read_text())[0]
    graphs = status("moe-bf16")["measurements"][0]["memory"]["predictedGraphBytes"] / GIB
    was = float(status("llama-8b-bnb-int8")["plan"]["predicted"]["expectedDecodeTokensPerSecond"])
    alone, many = expected(int8(), "bnb-int8", 1, 202)
    moe = expected(facts("qwen3-30b-a3b"), "none", 1, loop["streams"])
    said = status("moe-bf16")["plan"]["predicted"]
    return bullets(
        "**Levels.** None holds: all five measurements are provisional. The hypervisor alone speaks against "
        f"{', '.join(clear)}.",
        f"**The hypervisor.** Over this host's time {number(stolen, 1)} % of the work of its CPUs counted as "
        f"stolen. The CPU with most work ran {number(busiest[0] / 100)} s of it and lost "
        f"{number(busiest[1] / 100, 1)} s, the one with least {number(idlest[0] / 100)} and "
        f"{number(idlest[1] / 100, 1)} s. With all 16 busy for 7 s, "
        f"{number(100 * grown[1] / sum(grown), 1)} % was stolen. So the time goes with "
        "waking idle CPUs and not with work. The probe of that commit took it "
        "for contention; others do not look at it.",
        f"**moe-bf16** in a loop of {loop['streams']} streams after the probe gave "
        f"{number(loop['output_tokens_per_second']['server'])} tok/s, of which the probe said "
        f"{number(level['outputTokensPerSecond'])} ± {level['ciPercent']} %. vLLM set {estimated} GiB aside "
        f"for graphs by its own estimate, where the plan counts {number(graphs, 2)}: the cache is larger. "
        f"The plan expected {number(said['expectedDecodeTokensPerSecond'])} tok/s of one stream: it took "
        "experts for matrices like others. Their kernels read more slowly, and fill up tiles of 128 tokens "
        f"an expert. With both, fitted on H200s alone, it says {number(moe[0])} of one and "
        f"{number(moe[1])} of {loop['streams']}.",
        "**llama-8b-bnb-int8.** vLLM takes LLM.int8() as stored alone, and the plan's timing of it covered "
        f"no stored weights: {number(was)} tok/s were expected of one stream. Now it does: "
        f"{number(alone, 1)} of one and {number(many)} of 202, within a factor of 2. It waits for the host "
        "at each product, and this host's CPUs are slow.",
        "**gpt-oss-20b** was bound by its HTTP front end at 256 streams, as on the H200. Its made-up "
        "tokenizer has no `<|end|>`: chat completions failed.",
    )
