"""docs/results/articles: what articles say of engines and quantization beside what one H200 gave.

Figures are those of servers by hand (h200/by-hand/results.json) and of `tacho run` (cells of h200 and of
h100/articles). Each row says which. Only claims that something was measured for have a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.gpu.pages import articles_product as product, pods
from benchmarks.gpu.pages.charts import bars, curves
from benchmarks.gpu.pages.held import load_holds
from benchmarks.gpu.pages.matrix import single
from benchmarks.gpu.pages.recorded import measured, number, read, times

AGAIN = "hf-8b-bf16-batch1-after-nf4"
"""Transformers in 16 bits, the second run."""
BASE = "more/llama-8b-default-probe"
H200_BYTES_PER_SECOND = 4.8e12
HEAD = """# What the articles say, and what one H200 gave

Written by `python -m benchmarks.gpu.pages`. **By hand**: vLLM 0.26.0 and `generate()` of
Transformers 5.17.0 with bitsandbytes 0.50.2 ([raw data](../../../benchmarks/gpu/h200/by-hand)). tacho had no
part in it. 128 tokens in and 200 out, fixed. **`tacho run`**: cells of [the matrix](../h200/matrix.md), 512
tokens in and 200 out; the pod has the same. All: torch 2.11.0 (CUDA 13.0), one NVIDIA H200, random weights
in the shapes of Llama-3.1-8B and Phi-2, one run of each. Transformers in 16 bits ran twice by hand, once in a
process that had held another model. The articles' GPUs are others: ratios are compared, not rates.

| The claim (where) | Measured here | Source | Holds? | Why |
| --- | --- | --- | --- | --- |
"""
PICTURES = """
Of the pictures, vLLM is of levels of pods that hold, and Transformers' throughput of runs by hand. Its
peaks are of cells by `tacho run` on an H100.

![Tokens a second over streams](throughput.svg)

![What 4 bits gain, by streams](gain.svg)

![Peak memory of Transformers](memory.svg)

## By hand until now

On a host with a GPU this measures the same through the product ([how](../../../benchmarks/gpu)):

    bash benchmarks/gpu/session.sh run ARCHIVES OUT 560s CELL ...

| figure | cells |
| --- | --- |
"""
TAIL = """
Not measured on a GPU here, so without a row: CTranslate2, TensorRT-LLM, MLC, TGI and ExLlama beside
these engines; MMLU of GPTQ and AWQ; memory of a ten-fold prompt without FlashAttention.
"""


PRODUCT = "[on an H100](#through-the-product)"
POD = "[pods](../h200/README.md#the-8b-on-a-second-host)"
"""Levels of `tacho run` that hold."""


class Claim(NamedTuple):
    """A row; ``cells`` of benchmarks/gpu/h200-next.yaml measure it through the product."""

    claim: str
    measured: str
    source: str
    holds: str
    why: str
    cells: str


def by_hand(run: str) -> list[tuple[float, float]]:
    """(streams, or the batch; output tokens a second) of each load that holds."""
    loads = read("by-hand/results.json")["runs"][run]["loads"]
    return [
        (float(load.get("concurrency", load.get("batch"))), load["output_tok_s"])
        for load in loads
        if load_holds(load)
    ]


def rate(run: str, streams: int) -> float:
    return next(rate for at, rate in by_hand(run) if at == streams)


def pod_rates(name: str) -> dict[int, float]:
    """Tokens a second by streams, of the levels of a pod that hold."""
    return {
        level["concurrency"]: float(level["outputTokensPerSecond"])
        for _, level, doubts in pods.levels([name])
        if not doubts
    }


def weights(place: str) -> float:
    """GiB that a cell by `tacho run` loaded."""
    return float(measured(place)["memory"]["actualWeightsBytes"]) / 2**30


def gains(name: str) -> dict[int, float]:
    """Of a pod to the one in 16 bits, by streams."""
    plain = pod_rates("llama-8b-bf16-cold")
    return {count: found / plain[count] for count, found in pod_rates(name).items() if count in plain}


def by_streams(name: str) -> str:
    return ", ".join(f"{ratio:.2f}x at {count}" for count, ratio in gains(name).items())


def speed_claims() -> Iterator[Claim]:
    bf16 = {count: rate("8b-bf16", count) for count in (1, 32)}
    phi, hf = rate("phi2-fp16", 1), rate("hf-phi2-fp16", 1)
    yield Claim(
        "vLLM is 1.95x Transformers for one prompt of Phi-2 (16 GB GPU: 63.2 and 32.4 tok/s)",
        f"Phi-2: {phi:.0f} and {hf:.1f} tok/s, {times(phi, hf)}; 8B: {bf16[1]:.0f} and "
        f"{rate('hf-8b-bf16', 1):.1f} to {rate(AGAIN, 1):.1f} (two runs), "
        f"{times(bf16[1], rate(AGAIN, 1))} to {times(bf16[1], rate('hf-8b-bf16', 1))}",
        "by hand",
        "yes, by more",
        "a step of Transformers waits for the host whatever the GPU; vLLM's is a CUDA graph",
        "phi-2, transformers-phi-2, llama-8b-bf16-cold, transformers-bf16",
    )
    high, low, best = rate("8b-bf16-curve", 1024), rate(AGAIN, 32), rate("hf-8b-bf16", 32)
    yield Claim(
        "vLLM is up to 24x Transformers under load (A100)",
        f"8B, 32 equal requests: {bf16[32]:.0f} and {low:.0f} to {best:.0f} tok/s (two runs), "
        f"{times(bf16[32], best)} to {times(bf16[32], low)}; vLLM at 1024 to Transformers at 32: "
        f"{times(high, best)} to {times(high, low)}; in NF4 on an H100: {product.batching()}",
        f"by hand, NF4 {PRODUCT}",
        "not decided",
        "the claim is of each at its best; in 16 bits Transformers' saturated levels do not hold, and in NF4 "
        "vLLM's front end was the bound",
        "llama-8b-bf16-cold, transformers-bf16",
    )
    held = pod_rates("llama-8b-bf16-cold")
    most = max(held)
    yield Claim(
        "Batching raises throughput",
        f"8B in 16 bits: {', '.join(f'{each:.0f} tok/s at {streams}' for streams, each in held.items())} "
        f"({times(held[most], held[1])})",
        POD,
        "yes",
        "a step reads the weights once for all of them",
        "llama-8b-bf16-cold",
    )
    level = measured(BASE)["curve"][0]
    first, each = float(level["ttftMillisecondsP50"]), float(level["tpotMillisecondsP50"])
    yield Claim(
        "Latency = TTFT + TPOT x output tokens",
        f"8B, one stream: {first} + {each} x 199 = {first + each * 199:.0f} ms; 200 tokens at "
        f"{number(single(BASE), 1)} tok/s are {200_000 / single(BASE):.0f} ms",
        "`tacho run`",
        "yes",
        "with one token less: the first one is TTFT's",
        "llama-8b-bf16-cold",
    )


def quantization_claims() -> Iterator[Claim]:
    step = float(measured(BASE)["curve"][0]["tpotMillisecondsP50"])
    reading = 1000 * weights(BASE) * 2**30 / H200_BYTES_PER_SECOND
    yield Claim(
        "4-bit AWQ and GPTQ give about 3x of 16 bits at batch 1, less with batch (L40, TensorRT-LLM)",
        f"vLLM, 8B, by streams: AWQ {by_streams('llama-8b-awq')}; GPTQ {by_streams('llama-8b-gptq')}; W4A16 "
        f"{by_streams('llama-8b-w4a16')}",
        POD,
        "that it shrinks: yes; 3x: no",
        f"at 4.8 TB/s reading 16-bit weights is {reading:.1f} of a step's {step:.1f} ms, the rest stays; an "
        "L40 has 0.86 TB/s",
        "llama-8b-bf16-cold, llama-8b-awq, llama-8b-gptq, llama-8b-w4a16",
    )
    whole, awq, gptq = (weights(place) for place in (BASE, "more/llama-8b-awq", "more/llama-8b-gptq"))
    yield Claim(
        "Peak memory of AWQ and GPTQ is half or less; GPTQ slightly above AWQ",
        f"weights of 8B: {whole:.1f} GiB, AWQ {awq:.2f} ({awq / whole:.2f}), GPTQ {gptq:.2f} "
        f"({gptq / whole:.2f})",
        "`tacho run`",
        "half or less: yes; the order: no",
        "Machete expands AWQ's zero points. vLLM's process takes its budget whatever the weights: what is "
        "saved becomes KV cache",
        "llama-8b-bf16-cold, llama-8b-awq, llama-8b-gptq",
    )
    sixteen = product.peak("transformers-8b-one")
    forms = (
        ("int8", product.peak("transformers-8b-int8-one"), "transformers-int8"),
        ("NF4", product.peak("transformers-8b-nf4-one"), "transformers-nf4"),
        ("NF4 + double", product.peak("transformers-8b-nf4-double-one"), "transformers-nf4-double"),
    )
    peaks = ", ".join(f"{name} {peak:.2f} GiB ({peak / sixteen:.2f})" for name, peak, _ in forms)
    loads = ", ".join(f"{name} {weights(f'more/{place}'):.2f}" for name, _, place in forms)
    yield Claim(
        "Peak memory of 15.5B: 29.0 GB, 15.2 in int8 (0.52), 9.5 in 4 bits (0.33)",
        f"8B, Transformers, peak of the process at batch 1: {sixteen:.2f} GiB; {peaks}; weights: "
        f"{weights('more/transformers-bf16'):.2f} GiB; {loads}",
        f"`tacho run`, peaks {PRODUCT}",
        "in shape",
        "embedding and head of this 8B stay in 16 bits, 1.96 GiB of 15; the process has a CUDA context",
        "transformers-bf16, transformers-int8, transformers-nf4, transformers-nf4-double",
    )
    yield Claim(
        "bitsandbytes is slower than 16 bits, NF4 no faster",
        f"vLLM NF4, by streams: {by_streams('llama-8b-bnb-nf4')}; Transformers, 8B, batch 1: NF4 "
        f"{times(rate('hf-8b-nf4', 1), rate('hf-8b-bf16', 1))}, int8 "
        f"{times(rate('hf-8b-int8', 1), rate('hf-8b-bf16', 1))}, batch 32: NF4 "
        f"{times(rate('hf-8b-nf4', 32), rate('hf-8b-bf16', 32))}",
        f"vLLM {POD}, Transformers by hand",
        "yes",
        "weights are expanded to 16 bits in each step; int8 casts activations too",
        "llama-8b-bf16-cold, llama-8b-bnb-nf4, transformers-bf16, transformers-nf4, transformers-int8",
    )


def claims() -> list[Claim]:
    return [*speed_claims(), *quantization_claims()]


def outstanding() -> Iterator[tuple[str, str]]:
    """(figure, cells) of everything that is from a run by hand."""
    for each in claims():
        if "by hand" in each.source:
            yield each.claim.partition(" (")[0], each.cells
    yield "throughput.svg, Transformers", "transformers-bf16, transformers-nf4"


def page() -> str:
    rows = "\n".join(f"| {' | '.join(each[:5])} |" for each in claims())
    todo = "\n".join(f"| {figure} | {cells} |" for figure, cells in outstanding())
    return f"{HEAD}{rows}\n{PICTURES}{todo}\n{product.section()}{TAIL}"


def pictures() -> dict[str, str]:
    hf = {"Transformers, 16 bits": "hf-8b-bf16", "Transformers, NF4": "hf-8b-nf4"}
    vllm = {
        "vLLM, 16 bits": "llama-8b-bf16-cold",
        "vLLM, FP8": "llama-8b-fp8",
        "vLLM, AWQ": "llama-8b-awq",
        "vLLM, NF4": "llama-8b-bnb-nf4",
    }
    found = {
        name: [(float(count), each) for count, each in pod_rates(pod).items()] for name, pod in vllm.items()
    }
    found |= {name: by_hand(run) for name, run in hf.items()}
    gain = {
        name: [(float(count), ratio) for count, ratio in gains(pod).items()]
        for name, pod in (
            ("AWQ", "llama-8b-awq"),
            ("GPTQ", "llama-8b-gptq"),
            ("W4A16", "llama-8b-w4a16"),
            ("bitsandbytes NF4", "llama-8b-bnb-nf4"),
        )
    }
    memory = [
        (name, product.peak(cell), f"{product.peak(cell):.2f} GiB")
        for name, cell in (
            ("8B, 16 bits", "transformers-8b-one"),
            ("8B, int8", "transformers-8b-int8-one"),
            ("8B, NF4", "transformers-8b-nf4-one"),
            ("8B, NF4, doubly quantized", "transformers-8b-nf4-double-one"),
            ("Phi-2, 16 bits", "transformers-phi-2"),
            ("Phi-2, NF4", "transformers-phi-2-nf4-one"),
        )
    ]
    streams = "streams (Transformers: batch)"
    return {
        "throughput.svg": curves("8B on one H200: output tokens a second", streams, found),
        "gain.svg": curves("vLLM, 8B: 4 bits to 16 bits, tokens a second", "streams", gain),
        "memory.svg": bars("Transformers, batch 1, one H100: peak of the process, GiB", memory),
    }
