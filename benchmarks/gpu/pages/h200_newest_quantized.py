"""lab/h200/vllm-0.32-quantized.md: NF4, W8A8 and experts with vLLM 0.32; one constant is fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import median

from benchmarks.gpu.pages.dense_law import THIS, Loop, fitted, loops_of, percent, served, sizes
from benchmarks.gpu.pages.h200_graphs import CAPTURED
from benchmarks.gpu.pages.h200_newest_dense import loaded
from benchmarks.gpu.pages.loops import pair
from benchmarks.gpu.pages.recorded import RAW, fill, number, row
from benchmarks.planner.cases import predict
from benchmarks.planner.starts import starts
from tacho_contract.units import GIB
from tacho_engines.registry import planner_adapter
from tacho_engines.vllm.speed import EXPERTS_IN_TURN, IN_16_BITS, MARLIN

FOLDERS = {THIS: RAW / "vllm-0.32-quantized", "another": RAW / "vllm-0.32-quantized-more"}
"""This page's own hosts."""
NUMBERS = {host: str(number) for number, host in enumerate(FOLDERS, 1)}
MODELS = {
    "llama-3.1-8b": "Llama-3.1-8B",
    "qwen2.5-3b": "Qwen2.5-3B",
    "qwen2.5-7b": "Qwen2.5-7B",
    "qwen3-30b-a3b": "Qwen3-30B-A3B",
    "olmoe": "OLMoE",
    "phi-mini-moe": "Phi-mini-MoE",
    "phi-3.5-moe": "Phi-3.5-MoE",
    "granite-moe": "Granite-MoE",
    "mixtral": "Mixtral-8x7B",
    "ernie-21b": "ERNIE-21B",
    "glm-air": "GLM-4.5-Air",
}
NF4, W8A8 = "bnb-nf4", "compressed-tensors"
EIGHT, MOE = "llama-3.1-8b", "qwen3-30b-a3b"
DENSE = {NF4: "NF4", W8A8: "W8A8"}
EXPERTS = {"none": "16 bits", "fp8": "FP8", "gptq": "4 bits", "awq": "4 bits", W8A8: "4 bits"}
FORMS = {"gptq": "GPTQ", "awq": "AWQ", W8A8: "W4A16"}
IN_4_BITS = "experts in 4 bits"
FP8 = (MOE, "fp8")
HOSTS = {
    "[the first](vllm-0.32.md)": ("vllm-0.32/speed", ("llama-3.1-8b-bnb-nf4",)),
    "[with experts](vllm-0.32-experts.md)": (
        "vllm-0.32-experts",
        (
            *("llama-3.1-8b-bnb-nf4", "olmoe-as-qwen3-none", "olmoe-as-qwen3-fp8"),
            *("phi-mini-moe-as-qwen3-none", "phi-mini-moe-as-qwen3-fp8", "qwen3-30b-a3b-fp8"),
        ),
    ),
    "[with other experts](vllm-0.32-unseen.md)": (
        "vllm-0.32-unseen",
        (
            *("granite-moe-as-qwen3-none", "mixtral-as-qwen3-none", "ernie-21b-as-qwen3-fp8"),
            *("glm-air-as-qwen3-fp8", "phi-3.5-moe-as-qwen3-fp8"),
        ),
    ),
    "[of dense models](vllm-0.32-dense.md)": (
        "vllm-0.32-dense",
        ("llama-3.1-8b-bnb-nf4", "qwen2.5-3b-bnb-nf4"),
    ),
    **{
        host: (folder.name, tuple(sorted(file.stem for file in folder.glob("*.json"))))
        for host, folder in FOLDERS.items()
    },
}
"""Folders of loops by their hosts, and the files whose names say the method."""
NAMED_OTHERWISE = {
    "[with graphs](vllm-0.32-graphs.md)": {
        f"vllm-0.32-graphs/qwen3-30b-a3b{end}": (MOE, "none") for end in ("", CAPTURED)
    },
    "[of FP8](vllm-0.32-fp8.md)": {
        f"vllm-0.32-fp8/qwen3-30b-a3b-per-{form}": FP8
        for form in ("tensor", "channel", "block", "tensor" + CAPTURED)
    },
}


@cache
def loops() -> tuple[Loop, ...]:
    """All loops of one GPU with these weights, on any host."""
    named = {
        host: {f"{folder}/{name}": served(name) for name in names} for host, (folder, names) in HOSTS.items()
    }
    return tuple(
        loop for host, files in (named | NAMED_OTHERWISE).items() for loop in loops_of(host, RAW, files)
    )


def weights_of(loop: Loop) -> str:
    """The kind of kernel."""
    placement, method = loop.row.step.placement, loop.row.cell["method"]
    if planner_adapter(placement.engine).partial_groups(placement):
        return PARTIAL
    return f"experts in {EXPERTS[method]}" if placement.architecture.experts else DENSE[method]


PARTIAL = "experts of partial groups"


def judged() -> dict[str, list[Loop]]:
    """All loops by their kernels."""
    names = (*DENSE.values(), *dict.fromkeys(f"experts in {title}" for title in EXPERTS.values()), PARTIAL)
    return {name: [loop for loop in loops() if weights_of(loop) == name] for name in names}


START = {"arithmetic": 0.5}
FITTED_TO_PARTIAL = ("arithmetic", "batch_layer_microseconds")


@cache
def fit(without: str = "") -> dict[str, float]:
    """The constant of experts in 4 bits, fitted to all steady loops but those of the model ``without``."""
    found = judged()[IN_4_BITS]
    return fitted([loop for loop in found if loop.steady and loop.row.model != without], START)


def off(loop: Loop) -> float:
    """``Loop.off``; where a constant is fitted, by one that no loop of the model was fitted to."""
    return loop.off(fit(loop.row.model) if weights_of(loop) == IN_4_BITS else None)


def title(loop: Loop) -> str:
    return next(name for key, name in MODELS.items() if loop.row.cell["model"].startswith(key))


def form(loop: Loop) -> str:
    """The weights of a row."""
    stored = FORMS.get(loop.row.cell["method"]) if loop.row.step.placement.architecture.experts else None
    return f"experts in {stored}" if stored else weights_of(loop)


def rates() -> Iterator[str]:
    for found in judged().values():
        for loop in found:
            if loop.host in FOLDERS:
                yield row(
                    title(loop),
                    form(loop) + (", captured" if loop.captured else ""),
                    NUMBERS[loop.host],
                    str(loop.row.streams),
                    number(loop.row.measured),
                    pair(loop.level["ttft_ms"]),
                    pair(loop.level["tpot_ms"], 1),
                    f"{percent(loop.off_before()):+.0f} %",
                    f"{percent(off(loop)):+.0f} %",
                    "" if loop.steady else "not steady",
                )


def pairs() -> Iterator[tuple[Loop, Loop]]:
    """Loops by default and captured of the same server on the same host, with as many streams."""
    found: dict[bool, dict[tuple[str, ...], Loop]] = {False: {}, True: {}}
    for loop in loops():
        if loop.host in FOLDERS:
            cell = loop.row.cell
            server = (loop.host, cell["model"], cell["method"], str(loop.row.streams))
            found[loop.captured][server] = loop
    for server, before in found[False].items():
        if server in found[True]:
            yield before, found[True][server]


def gain(before: Loop, after: Loop) -> float:
    """How many times the tokens."""
    return after.row.measured / before.row.measured


def gains() -> Iterator[str]:
    for before, after in pairs():
        yield row(
            title(before),
            form(before),
            str(before.row.streams),
            " / ".join(
                number(loop.row.measured) + ("" if loop.steady else " (not steady)")
                for loop in (before, after)
            ),
            f"{100 * gain(before, after) - 100:+.0f} %",
            f"{100 * expected(after) / expected(before) - 100:+.0f} %",
            *(
                " / ".join(number(loop.level[name]["p50"], digits) for loop in (before, after))
                for name, digits in (("ttft_ms", 0), ("tpot_ms", 1))
            ),
        )


def expected(loop: Loop) -> float:
    """Tokens a second that a plan expects."""
    return loop.row.measured * math.exp(loop.off())


def errors() -> Iterator[str]:
    """Of each kernel's loops: medians and extremes by both laws, the plan's band, and how many it misses."""
    for weights, found in judged().items():
        for several, figure in ((False, "one stream"), (True, "several")):
            some = [loop for loop in found if loop.several == several]
            if some:
                before, after = (
                    sizes(each) for each in zip(*((x.off_before(), off(x)) for x in some), strict=True)
                )
                kernels = [loop.kernel() for loop in some]
                band = min(each.output_within if several else each.decode_within for each in kernels)
                yield row(
                    weights,
                    figure,
                    str(len(some)),
                    *(f"{median(each):.1f}, {each[-1]:.0f} %" for each in (before, after)),
                    f"{100 * band:.0f} %",
                    str(sum(not loop.holds(off(loop)) for loop in some)),
                )


def one(model: str, method: str, streams: int) -> tuple[Loop, Loop]:
    return next(
        pair
        for pair in pairs()
        if pair[0].row.cell["model"].startswith(model)
        and (pair[0].row.cell["method"], pair[0].row.streams) == (method, streams)
    )


def times(model: str, method: str, streams: int) -> float:
    return gain(*one(model, method, streams))


def spans() -> dict[str, str]:
    """What the page says of each model's gains, in percent."""
    models = {
        "nf4": (EIGHT, NF4),
        "small": ("qwen2.5-3b", NF4),
        "olmoe": ("olmoe", "gptq"),
        "awq": (MOE, "awq"),
        "w4a16": (MOE, W8A8),
        "mixtral": ("mixtral", "gptq"),
        "w8a8": (EIGHT, W8A8),
    }
    few = {name: (16, 64, 256) if name in ("nf4", "w8a8") else (16, 64) for name in models}
    return {name: span_of([times(*of, streams) for streams in few[name]]) for name, of in models.items()}


def several_streams() -> list[Loop]:
    """Loops of several streams, but for partial groups, whose constants are fitted to all of their loops."""
    return [loop for loop in loops() if loop.several and weights_of(loop) != PARTIAL]


def page() -> str:
    several = several_streams()
    before, after = sizes(loop.off_before() for loop in several), sizes(off(loop) for loop in several)
    moe = [times(MOE, "gptq", streams) for streams in (16, 64)]
    first = one(MOE, "gptq", 256)
    found = judged()
    worse = next(loop for loop in found["NF4"] if "experts" in loop.host and loop.row.streams == 256)
    in_4_bits = [loop for loop in found[IN_4_BITS] if loop.several]
    unfitted = sizes(loop.off({"arithmetic": IN_16_BITS}) for loop in in_4_bits)
    hosts = [
        loop.row.measured
        for loop in found["W8A8"]
        if loop.row.cell["model"].startswith(EIGHT) and not loop.captured and loop.row.streams == 64
    ]
    slow = next(loop for loop in found[PARTIAL] if loop.row.streams == 64 and not loop.captured)
    return fill(
        "h200_newest_quantized",
        nf4_before=percent(worse.off_before()),
        nf4_now=percent(worse.off()),
        rates=rates(),
        gains=gains(),
        errors=errors(),
        weights=weights(),
        memory=memory(),
        launching=number(EXPERTS_IN_TURN),
        arithmetic=fit()["arithmetic"],
        plain=IN_16_BITS,
        unfitted=median(unfitted),
        unfitted_worst=unfitted[-1],
        hosts=100 * max(hosts) / min(hosts) - 100,
        slow=number(slow.row.measured),
        slow_off=percent(slow.off({name: getattr(MARLIN, name) for name in FITTED_TO_PARTIAL})),
        count=len(several),
        before=median(before),
        before_worst=before[-1],
        after=median(after),
        after_worst=after[-1],
        moe_16=moe[0],
        moe_64=moe[1],
        early=number(first[0].level["ttft_ms"]["p50"]),
        late=number(first[1].level["ttft_ms"]["p50"]),
        **spans(),
    )


def span_of(many: Sequence[float]) -> str:
    """The least and the largest gain, in whole percent."""
    return f"{100 * min(many) - 100:.0f} to {100 * max(many) - 100:.0f}"


def weights() -> Iterator[str]:
    for host, folder in FOLDERS.items():
        for file in sorted(folder.glob("*.log")):
            yield row(file.stem, NUMBERS[host], *loaded(file.stem, folder))


def memory() -> Iterator[str]:
    """Of the servers that had the second GPU alone, with vLLM's own budget."""
    for start in starts():
        if start.name.startswith(FOLDERS["another"].name):
            planned, actual = predict(start.case), start.row["actual"]
            yield row(
                start.name.rpartition("/")[2],
                f"{actual['graphGiB']:.2f}",
                f"{planned.graph_bytes / GIB:.2f}",
                number(actual["kvTokens"]),
                f"{100 * start.errors['kvTokens']:+.2f} %",
            )
