"""docs/evidence/defaults.md: what the switches that a plan sets gain over the engine's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.evidence.texts import fill, percent
from benchmarks.gpu.pages import (
    h200_fp8 as fp8,
    h200_graphs_newest as newest,
    h200_newest_quantized as quantized,
)
from benchmarks.gpu.pages.h200_graphs import CAPTURED
from benchmarks.gpu.pages.loops import rate
from benchmarks.gpu.pages.recorded import number
from benchmarks.planner.models import facts
from tacho_engines.vllm.prompt_graphs import SWITCH
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tools.mock.specs import CONFIG, gpu_node, spec
from tools.pages import table

CONCURRENCIES = (16, 64, 256)
QWEN, EIGHT, THREE = "Qwen3-30B-A3B", "Llama-3.1-8B", "Qwen2.5-3B"
FORMS = {"gptq": "GPTQ", "awq": "AWQ", "compressed-tensors": "W4A16", "bnb-nf4": "NF4"}


class Server(NamedTuple):
    """A row of the table: what was started, and as what a plan knows it."""

    title: str
    weights: str
    model: str
    method: str


class Gain(NamedTuple):
    """Tokens per second by default and with larger graphs."""

    before: float
    after: float
    steady: bool

    @property
    def percent(self) -> float:
        return 100 * (self.after / self.before - 1)


SIXTEEN_BITS = {newest.MOE: QWEN, newest.DENSE: EIGHT, newest.SMALL: THREE}
IN_FP8 = {fp8.MOE: QWEN, fp8.DENSE: EIGHT}


def in_16_bits() -> dict[Server, dict[int, Gain]]:
    return {
        Server(title, "16 bits", name, "none"): {
            concurrency: _gain(newest.at(name, concurrency), newest.at(name + CAPTURED, concurrency))
            for concurrency in CONCURRENCIES
        }
        for name, title in SIXTEEN_BITS.items()
    }


def in_fp8() -> dict[Server, dict[int, Gain]]:
    """Per tensor, against the fastest load test by default on the same host."""
    found = {}
    for name, title in IN_FP8.items():
        both = {each: fp8.loops(name + fp8.TENSOR, each) for each in CONCURRENCIES}
        after = {each: fp8.loops(name + fp8.TENSOR + CAPTURED, each) for each in CONCURRENCIES}
        found[Server(title, "FP8", name, "fp8")] = {
            each: _gain(max(both[each], key=rate), after[each][0])
            for each in CONCURRENCIES
            if both[each] and after[each]
        }
    return found


def _gain(before: dict[str, Any], after: dict[str, Any]) -> Gain:
    return Gain(rate(before), rate(after), before["steady"] and after["steady"])


def in_4_bits() -> dict[Server, dict[int, Gain]]:
    """And W8A8."""
    found: dict[Server, dict[int, Gain]] = {}
    for before, after in quantized.pairs():
        cell, title = before.row.cell, quantized.title(before)
        weights = "W8A8" if quantized.weights_of(before) == "W8A8" else FORMS[cell["method"]]
        server = Server(title, weights, cell["model"], cell["method"])
        gain = Gain(before.row.measured, after.row.measured, before.steady and after.steady)
        found.setdefault(server, {})[before.row.streams] = gain
    return found


def gains() -> dict[Server, dict[int, Gain]]:
    """Those with the largest gains first."""
    found = {**in_16_bits(), **in_fp8(), **in_4_bits()}
    order = {QWEN: 0, "OLMoE": 1, "Mixtral-8x7B": 2, "Phi-mini-MoE": 3, THREE: 4, EIGHT: 5}
    return dict(sorted(found.items(), key=lambda item: order[item[0].title]))


def is_set(server: Server, concurrency: int) -> bool:
    """Whether today's plan gives such a server larger graphs, on an H200 and with vLLM 0.32."""
    wished = spec(
        engine={"name": "vllm"},
        context={"maxModelLen": 1024, "concurrency": concurrency},
        quantization={"method": server.method},
    )
    node = gpu_node("h200", "NVIDIA-H200", 1)
    found = plan_model(wished, facts(server.model), nodes=(node,), history=(), config=CONFIG)
    if not isinstance(found, ModelPlan):
        raise ValueError(f"{server}: {found}")
    return any(SWITCH in word for word in found.arguments)


def cell(server: Server, concurrency: int, gain: Gain | None) -> str:
    """Bold where a plan sets the graphs, in brackets where a load test was not steady."""
    if gain is None:
        return "-"
    rounded = round(gain.percent)
    text = f"{rounded:+d}%" if gain.steady else f"({rounded:+d}%)"
    return f"**{text}**" if is_set(server, concurrency) else text


def rows() -> Iterator[tuple[str, ...]]:
    for server, found in gains().items():
        cells = (cell(server, each, found.get(each)) for each in CONCURRENCIES)
        yield server.title, server.weights, *cells


def page() -> str:
    cells = [
        (is_set(server, each), gain.percent)
        for server, found in gains().items()
        for each, gain in found.items()
    ]
    chosen = [gain for is_chosen, gain in cells if is_chosen]
    left = [gain for is_chosen, gain in cells if not is_chosen]
    low, high = fp8.times()
    gptq = [quantized.times(quantized.MOE, "gptq", each) for each in (16, 64)]
    nf4 = quantized.span_of([quantized.times(quantized.EIGHT, quantized.NF4, each) for each in CONCURRENCIES])
    before, after = (newest.edge(newest.MOE + end)["capacity"] for end in ("", CAPTURED))
    soon, late = (newest.at(newest.DENSE + end, 256)["ttft_ms"]["p50"] for end in ("", CAPTURED))
    lost = [newest.lost(name) for name in newest.SEARCHED]
    forms = [
        rate(channel) / rate(tensor) - 1
        for each in CONCURRENCIES
        for tensor, channel in zip(
            fp8.loops(fp8.DENSE + fp8.TENSOR, each), fp8.loops(fp8.DENSE + fp8.CHANNEL, each), strict=True
        )
    ]
    return fill(
        "defaults",
        least=newest.least_gains(newest.MOE),
        times=f"{newest.more_capacity(newest.MOE):.1f}",
        rows=table(("Model", "Weights", *(f"{each} requests" for each in CONCURRENCIES)), rows()),
        before=number(before["outputTokensPerSecond"]),
        after=number(after["outputTokensPerSecond"]),
        fp8=f"{low:.1f} to {high:.1f}",
        gptq=f"{gptq[0]:.1f} to {gptq[1]:.1f}",
        nf4=nf4,
        chosen=len(chosen),
        all=len(cells),
        chosen_least=percent(min(chosen), 0),
        left_most=percent(max(left), 0),
        left_least=percent(-min(left), 0),
        soon=number(soon),
        late=number(late),
        lost=f"{min(lost):.1f} to {max(lost):.1f}",
        forms=f"{100 * min(forms):+.0f}% to {100 * max(forms):+.0f}%",
    )
