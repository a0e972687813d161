"""benchmarks/lab/h100/pods.md: slow engines, MoEs and LLM.int8() as pods on one H100."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.gpu.pages import loops, pods
from benchmarks.gpu.pages.h100_alone import H100, holding, levels, ready
from benchmarks.gpu.pages.h100_warm import LATE_KERNEL, section
from benchmarks.gpu.pages.recorded import fill, number, read, row, status
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
PARTS = ("weights GiB", "KV-cache tokens", "process GiB")
CARD = "NVIDIA-H100-80GB-HBM3"


def pod_status(name: str) -> dict[str, Any]:
    """The status of a pod."""
    return status((RAW if name in MEASURED else LATER) / name / "resource.yaml")


def measured(name: str) -> dict[str, Any]:
    found: dict[str, Any] = pod_status(name)["measurements"][0]
    return found


def holds(names: tuple[str, ...]) -> str:
    """Streams whose level holds, of each pod."""
    return ", ".join(f"{' and '.join(map(str, holding(measured(name))))} of `{name}`" for name in names)


def tables(names: tuple[str, ...]) -> str:
    ended, fits, rates = [], [], []
    for name in names:
        found, start, plan = measured(name), pod_status(name)["startup"], pod_status(name)["plan"]
        state = f"{ready(pod_status(name))}; measurement {found['state']} ({', '.join(found['flags'])})"
        phases = f"{start['loadSeconds']} + {start['probeSeconds']} of {plan['probeBudgetSeconds']}"
        ended.append(row(name, state, phases))
        pairs = pods.memory(found["memory"])
        fits.append(row(name, *(" / ".join(pairs.get(part, "-")) for part in PARTS)))
        alone = (
            plan["predicted"]["expectedDecodeTokensPerSecond"],
            found["singleStream"]["decodeTokensPerSecond"],
        )
        rates.append(
            row(
                name,
                " / ".join(number(each, 1) for each in alone),
                f"{pods.expected_capacity(plan['predicted'])} / {pods.capacity(found['capacity'])}",
                found["capacity"]["boundary"],
            )
        )
    rows = (row(name, *cells) for name in names for cells in levels(measured(name), 1))
    return fill("h100_pod_tables", ended=ended, levels=rows, fits=fits, rates=rates)


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


def page() -> str:
    left = [
        pod_status(name)["plan"]["probeBudgetSeconds"] - pod_status(name)["startup"]["probeSeconds"]
        for name in MEASURED
    ]
    (since,) = SINCE.findall((RAW / f"{CUT}.log").read_text())
    events = read(RAW / ENDED / "timeline.json")
    began = next(each["seconds"] for each in events if each["reason"] == "Measuring")
    return fill(
        "h100_pods",
        measured=tables(MEASURED),
        holds=holds(MEASURED),
        left_ct2=left[0],
        left_int8=left[1],
        began=number(began),
        since=number(since),
        again=tables(AGAIN),
        holds_again=holds(AGAIN),
        **of_experts(),
        int8=pod_status("llama-8b-bnb-int8")["plan"]["predicted"]["expectedDecodeTokensPerSecond"].split(".")[
            0
        ],
        **of_gpt_oss(),
        warm=section(),
    )


def of_experts() -> dict[str, Any]:
    (loop, *_), found = loops.levels(LATER / "moe-bf16/truth.json"), measured("moe-bf16")
    level = next(each for each in found["curve"] if each["concurrency"] == loop["streams"])
    return {
        "streams": loop["streams"],
        "loop": number(loops.rate(loop)),
        "probe": number(level["outputTokensPerSecond"]),
        "error": level["ciPercent"],
        "within": found["memory"]["actualKVCacheTokens"] // (512 + 200),
        "estimated": ESTIMATE.findall((LATER / "moe-bf16/engine.log").read_text())[0],
        "graphs": found["memory"]["predictedGraphBytes"] / GIB,
    }


def of_gpt_oss() -> dict[str, Any]:
    found, log = measured("gpt-oss-20b"), (LATER / "gpt-oss-20b/engine.log").read_text()
    curve = {each["concurrency"]: each["outputTokensPerSecond"] for each in found["curve"]}
    streams = (1, 8, 63)
    law = zip(streams, expected(facts("gpt-oss-20b"), "none", *streams), strict=True)
    planned = pod_status("gpt-oss-20b")["plan"]["predicted"]["expectedCapacityTokensPerSecond"]
    return {
        "kernels": log.count(LATE_KERNEL),
        "prompts": number(max(map(float, MIXED.findall(log)))),
        **{f"law_{each}": number(rate) for each, rate in law},
        **{f"found_{each}": number(curve[each]) for each in streams},
        "over": float(planned) / float(found["capacity"]["outputTokensPerSecond"]),
    }
