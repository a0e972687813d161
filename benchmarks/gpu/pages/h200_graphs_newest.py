"""benchmarks/lab/h200/vllm-0.32-graphs.md: what CUDA graphs for steps with a prompt gain with vLLM 0.32."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.gpu.pages.h200_graphs import (
    CACHE,
    CAPTURED,
    MOST_TOKENS,
    SECONDS,
    STREAMS,
    by_law,
    gains,
    logged,
    loop,
    rates,
    signed,
    span,
    switch,
)
from benchmarks.gpu.pages.loops import rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row
from benchmarks.planner.models import facts
from tacho_operator.api.status.plan import Predicted
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tools.mock.specs import CONFIG, gpu_node, spec

FOLDER = RAW / "vllm-0.32-graphs"
MOE, SMALL, DENSE, FRONT_ENDS = "qwen3-30b-a3b", "qwen2.5-3b", "llama-3.1-8b", "qwen2.5-3b-4-front-ends"
MODELS = {
    MOE: "Qwen3-30B-A3B",
    DENSE: "Llama-3.1-8B",
    SMALL: "Qwen2.5-3B",
    FRONT_ENDS: "Qwen2.5-3B, 4 front ends",
}
"""By the files' names: all in 16 bits."""
SEARCHED = (MOE, DENSE, SMALL)
KEPT = "--max-cudagraph-capture-size=512"
"""vLLM's own sizes."""


def at(name: str, streams: int) -> dict[str, Any]:
    return loop(name, streams, FOLDER)


def of_log(name: str, pattern: str) -> str:
    return logged(name, pattern, FOLDER)


def halves(level: dict[str, Any]) -> tuple[float, float]:
    """Tokens a second of each half of a window, by Little's law from the requests that were sent in it."""
    columns = level["raw"]["columns"]
    sent, latency, tokens = (columns.index(each) for each in ("sent_s", "end_to_end_ms", "tokens"))
    middle = level["window_seconds"] / 2
    found = []
    for first in (True, False):
        rows = [each for each in level["raw"]["rows"] if (each[sent] < middle) == first]
        seconds = sum(each[latency] for each in rows) / 1000
        found.append(level["streams"] * sum(each[tokens] for each in rows) / seconds)
    return found[0], found[1]


def least_gain(name: str, streams: int) -> float:
    """The gain of the half in which it is less, in percent: what disturbs a loop for a while counts half."""
    before, after = (halves(at(each, streams)) for each in (name, name + CAPTURED))
    return 100 * min(late / early - 1 for early, late in zip(before, after, strict=True))


def least_gains(name: str) -> str:
    return span(least_gain(name, streams) for streams in STREAMS)


def edge(name: str) -> dict[str, Any]:
    """The probe's capacity within the service level."""
    found: dict[str, Any] = read(FOLDER / f"{name}-edge.json")
    return found


def searched(name: str) -> str:
    found = edge(name)
    capacity = found["capacity"]
    verdict = f"{capacity['boundary']}, {found['confidence']}"
    rated = number(capacity["outputTokensPerSecond"])
    return f"{capacity['concurrency']} streams, {rated} ({verdict})"


def planned(name: str, *arguments: str) -> Predicted:
    """What a plan predicts with these arguments of the user, which keep it from setting its own sizes."""
    engine = {"name": "vllm", "image": "vllm/vllm-openai:v0.32.0", "extraArgs": list(arguments)}
    wished = spec(
        engine=engine,
        context={"maxModelLen": 4096, "concurrency": 16},
        slo={"ttftMilliseconds": 1000, "tpotMilliseconds": 25},
        quantization={"method": "none"},
    )
    node = gpu_node("h200", "NVIDIA-H200", 1)
    found = plan_model(wished, facts(name), nodes=[node], history=(), config=CONFIG)
    assert isinstance(found, ModelPlan), found
    return found.predicted


def capacities() -> Iterator[str]:
    for name in SEARCHED:
        for title, after, argument in (("default", "", KEPT), ("captured", CAPTURED, switch())):
            rate_planned = planned(name, argument).expected_capacity_tokens_per_second
            found = edge(name + after)
            clear = found["capacity"]["boundary"] == "Edge" and rate_planned is not None
            error = rate_planned / float(found["capacity"]["outputTokensPerSecond"]) - 1 if clear else None
            yield row(
                f"{MODELS[name]}, {title}",
                searched(name + after),
                number(rate_planned) + (f" ({signed(error)})" if error is not None else ""),
            )


def more_capacity(name: str) -> float:
    """How many times the capacity of the default the captured one is, by the probe's edges."""
    rates = [
        float(edge(each)["capacity"]["outputTokensPerSecond"])
        for each in (name + CAPTURED, name)
        if edge(each)["capacity"]["boundary"] == "Edge"
    ]
    return rates[0] / rates[1]


def expected(name: str, streams: int, graph_tokens: int | None) -> float:
    """What the plan's law expects, in tokens a second; None: with the engine's default."""
    return by_law(name, "none", "0.32.0", streams, graph_tokens)


def off(name: str, streams: int, graph_tokens: int | None) -> float | None:
    """By which share more is expected than a loop had; None where it is not steady."""
    measured = at(name + (CAPTURED if graph_tokens else ""), streams)
    return expected(name, streams, graph_tokens) / rate(measured) - 1 if measured["steady"] else None


def errors(graph_tokens: int | None, *names: str) -> list[float]:
    """In percent, of all steady loops, in ascending order."""
    found = (off(name, streams, graph_tokens) for name in names for streams in STREAMS)
    return sorted(100 * abs(error) for error in found if error is not None)


def laws() -> Iterator[str]:
    for name in SEARCHED:
        for streams in STREAMS:
            cells = (
                f"{number(expected(name, streams, tokens))} ({signed(off(name, streams, tokens))})"
                for tokens in (None, MOST_TOKENS)
            )
            yield row(MODELS[name], str(streams), *cells)


POOL = r"CUDA graph pool memory: ([\d.]+) GiB \(actual\)"
ESTIMATE = r"GiB \(actual\), ([\d.]+) GiB \(estimated\)"


def memory() -> Iterator[str]:
    for name in SEARCHED:
        both = (name, name + CAPTURED)
        patterns = (POOL, ESTIMATE, SECONDS, CACHE)
        yield row(MODELS[name], *(" / ".join(of_log(each, pattern) for each in both) for pattern in patterns))


def lost(name: str) -> float:
    """Percent of the KV-cache tokens that the larger graphs take."""
    before, after = (float(of_log(each, CACHE).replace(",", "")) for each in (name, name + CAPTURED))
    return 100 * (1 - after / before)


def page() -> str:
    first = at(DENSE, 256), at(DENSE + CAPTURED, 256)
    small = at(SMALL, 256), at(SMALL + CAPTURED, 256)
    assert small[1]["running_mean"] + small[1]["waiting_mean"] < 0.9 * 256
    assert first[1]["running_mean"] + first[1]["waiting_mean"] < 0.9 * 256
    moe = at(MOE, 64), at(MOE + CAPTURED, 64)
    return fill(
        "h200_graphs_newest",
        rates=rates(MODELS, FOLDER),
        capacities=capacities(),
        laws=laws(),
        memory=memory(),
        experts=span(gains(MOE, FOLDER)),
        least=least_gains(MOE),
        early_rate=number(halves(at(MOE, 64))[0]),
        late_rate=number(halves(at(MOE, 64))[1]),
        found_8b=number(edge(DENSE + CAPTURED)["capacity"]["outputTokensPerSecond"]),
        edge_8b=number(edge(DENSE)["capacity"]["outputTokensPerSecond"]),
        dense=span(gains(DENSE, FOLDER)),
        small=span(gains(SMALL, FOLDER)),
        times=more_capacity(MOE),
        p50=moe[0]["tpot_ms"]["p50"],
        p50_captured=moe[1]["tpot_ms"]["p50"],
        failed=int(of_log(MOE + CAPTURED, r"OOM on device 0 while trying to allocate (\d+)")) / 2**30,
        soon_8b=number(first[0]["ttft_ms"]["p50"]),
        late_8b=number(first[1]["ttft_ms"]["p50"]),
        soon=number(small[0]["ttft_ms"]["p50"]),
        late=number(small[1]["ttft_ms"]["p50"]),
        inside_8b=number(first[1]["running_mean"] + first[1]["waiting_mean"]),
        inside=number(small[1]["running_mean"] + small[1]["waiting_mean"]),
        early=number(at(FRONT_ENDS + CAPTURED, 256)["ttft_ms"]["p50"]),
        fewer=f"{100 * (1 - rate(at(FRONT_ENDS + CAPTURED, 64)) / rate(at(SMALL + CAPTURED, 64))):.0f}",
        moe_median=median(errors(MOST_TOKENS, MOE)),
        moe_worst=errors(MOST_TOKENS, MOE)[-1],
        default_moe_worst=errors(None, MOE)[-1],
        all_median=median(errors(MOST_TOKENS, *SEARCHED)),
        all_worst=errors(MOST_TOKENS, *SEARCHED)[-1],
        default_median=median(errors(None, *SEARCHED)),
        default_worst=errors(None, *SEARCHED)[-1],
        lost=f"{min(map(lost, SEARCHED)):.1f} to {max(map(lost, SEARCHED)):.1f}",
        took=of_log(MOE + CAPTURED, POOL),
        estimate=of_log(MOE + CAPTURED, ESTIMATE),
    )
