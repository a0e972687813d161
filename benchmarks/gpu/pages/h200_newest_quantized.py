"""docs/results/h200/vllm-0.32-quantized.md: NF4, W8A8 and experts with vLLM 0.32, with nothing fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import median

from benchmarks.gpu.pages.dense_law import THIS, Loop, loops_of, percent, served, sizes
from benchmarks.gpu.pages.h200_graphs import CAPTURED
from benchmarks.gpu.pages.h200_newest_dense import loaded
from benchmarks.gpu.pages.loops import pair
from benchmarks.gpu.pages.recorded import RAW, fill, number, row
from tacho_engines.vllm.speed import EXPERTS_IN_TURN

FOLDER = RAW / "vllm-0.32-quantized"
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
EXPERTS = {"none": "16 bits", "fp8": "FP8", "gptq": "GPTQ"}
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
    THIS: ("vllm-0.32-quantized", tuple(sorted(file.stem for file in FOLDER.glob("*.json")))),
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


def of(method: str, *, experts: bool) -> list[Loop]:
    return [
        loop
        for loop in loops()
        if loop.row.cell["method"] == method and bool(loop.row.step.placement.architecture.experts) == experts
    ]


def judged() -> Iterator[tuple[str, list[Loop]]]:
    for method, title in DENSE.items():
        yield title, of(method, experts=False)
    for method, title in EXPERTS.items():
        yield f"experts in {title}", of(method, experts=True)


def title(loop: Loop) -> str:
    return next(name for key, name in MODELS.items() if loop.row.cell["model"].startswith(key))


def rates() -> Iterator[str]:
    for weights, found in judged():
        for loop in found:
            if loop.host == THIS:
                yield row(
                    title(loop),
                    weights + (", captured" if loop.captured else ""),
                    str(loop.row.streams),
                    number(loop.row.measured),
                    pair(loop.level["ttft_ms"]),
                    pair(loop.level["tpot_ms"], 1),
                    f"{percent(loop.off_before()):+.0f} %",
                    f"{percent(loop.off()):+.0f} %",
                    "" if loop.steady else "not steady",
                )


def pairs(model: str, method: str) -> Iterator[tuple[Loop, Loop]]:
    """This host's loops by default and captured, with as many streams."""
    here = [
        loop
        for loop in loops()
        if loop.host == THIS
        and loop.row.cell["model"].startswith(model)
        and loop.row.cell["method"] == method
    ]
    for before in here:
        for after in here:
            if (before.captured, after.captured, before.row.streams) == (False, True, after.row.streams):
                yield before, after


def gain(before: Loop, after: Loop) -> float:
    """How many times the tokens."""
    return after.row.measured / before.row.measured


def gains() -> Iterator[str]:
    for model, method in ((EIGHT, NF4), ("qwen2.5-3b", NF4), (MOE, "gptq"), ("olmoe", "gptq")):
        for before, after in pairs(model, method):
            yield row(
                title(before),
                (DENSE | EXPERTS)[method],
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
    for weights, found in judged():
        for several, figure in ((False, "one stream"), (True, "several")):
            some = [loop for loop in found if loop.several == several]
            if some:
                before, after = (
                    sizes(each) for each in zip(*((x.off_before(), x.off()) for x in some), strict=True)
                )
                kernels = [loop.kernel() for loop in some]
                band = min(each.output_within if several else each.decode_within for each in kernels)
                yield row(
                    weights,
                    figure,
                    str(len(some)),
                    *(f"{median(each):.1f}, {each[-1]:.0f} %" for each in (before, after)),
                    f"{100 * band:.0f} %",
                    str(sum(not loop.holds(loop.off()) for loop in some)),
                )


def one(model: str, method: str, streams: int) -> tuple[Loop, Loop]:
    return next(pair for pair in pairs(model, method) if pair[0].row.streams == streams)


def times(model: str, method: str, streams: int) -> float:
    return gain(*one(model, method, streams))


def page() -> str:
    several = [loop for loop in loops() if loop.several]
    before, after = sizes(loop.off_before() for loop in several), sizes(loop.off() for loop in several)
    nf4 = [times(EIGHT, NF4, streams) for streams in (16, 64, 256)]
    small = [times("qwen2.5-3b", NF4, streams) for streams in (16, 64)]
    moe = [times(MOE, "gptq", streams) for streams in (16, 64)]
    olmoe = [times("olmoe", "gptq", streams) for streams in (16, 64)]
    first = one(MOE, "gptq", 256)
    worse = next(
        loop for loop in of(NF4, experts=False) if "experts" in loop.host and loop.row.streams == 256
    )
    return fill(
        "h200_newest_quantized",
        nf4_before=percent(worse.off_before()),
        nf4_now=percent(worse.off()),
        rates=rates(),
        gains=gains(),
        errors=errors(),
        weights=weights(),
        launching=number(EXPERTS_IN_TURN),
        count=len(several),
        before=median(before),
        before_worst=before[-1],
        after=median(after),
        after_worst=after[-1],
        nf4=span_of(nf4),
        small=span_of(small),
        moe_16=moe[0],
        moe_64=moe[1],
        olmoe=span_of(olmoe),
        early=number(first[0].level["ttft_ms"]["p50"]),
        late=number(first[1].level["ttft_ms"]["p50"]),
    )


def span_of(many: Sequence[float]) -> str:
    """The least and the largest gain, in whole percent."""
    return f"{100 * min(many) - 100:.0f} to {100 * max(many) - 100:.0f}"


def weights() -> Iterator[str]:
    for name in HOSTS[THIS][1]:
        yield row(name, *loaded(name, FOLDER))
