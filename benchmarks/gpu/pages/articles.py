"""benchmarks/lab/articles: what articles say of engines and quantization beside what H200s gave.

Figures are those of pods and of `tacho run` (cells of h200 and of h100/articles). Each row says which. Only
claims that something was measured for have a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.gpu.pages import articles_product as product, pods
from benchmarks.gpu.pages.charts import bars, curves
from benchmarks.gpu.pages.matrix import single
from benchmarks.gpu.pages.recorded import fill, measured, number, row, times

BASE = "more/llama-8b-default-probe"
H200_BYTES_PER_SECOND = 4.8e12


PRODUCT = "[`tacho run`](#through-the-product)"
POD = "[pods](../h200/README.md#the-8b-on-a-second-host)"
"""Levels of `tacho run` that hold."""


class Claim(NamedTuple):
    """A row."""

    claim: str
    measured: str
    source: str
    holds: str
    why: str


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
    sixteen, fast = product.holding("transformers-8b"), product.holding("vllm-8b-front-ends")
    one = product.rate("vllm-8b", product.H200)
    phi, hf = (product.rate(f"{engine}-phi-2", product.SECOND) for engine in ("vllm", "transformers"))
    within = product.interval_percent("transformers-phi-2", product.SECOND)
    yield Claim(
        "vLLM is 1.95x Transformers for one prompt of Phi-2 (16 GB GPU: 63.2 and 32.4 tok/s)",
        f"8B: {one:.0f} and {sixteen[1]:.1f} tok/s, {times(one, sixteen[1])}; Phi-2: {phi:.0f} and {hf:.1f} "
        f"± {within:.0f} %, so {times(phi, hf * (1 + within / 100))} at least",
        PRODUCT,
        "yes, by more",
        "a step of Transformers waits for the host whatever the GPU; vLLM's is a CUDA graph",
    )
    high, low = max(fast), max(sixteen)
    nf4, hf4 = product.holding("vllm-8b-nf4-front-ends"), product.holding("transformers-8b-nf4")
    yield Claim(
        "vLLM is up to 24x Transformers under load (A100)",
        f"8B, each at its best: {fast[high]:.0f} tok/s at {high} streams and {sixteen[low]:.0f} at {low}, "
        f"{times(fast[high], sixteen[low])}; in NF4 {nf4[max(nf4)]:.0f} at {max(nf4)} and "
        f"{hf4[max(hf4)]:.0f} at {max(hf4)}, {times(nf4[max(nf4)], hf4[max(hf4)])} at least",
        PRODUCT,
        "no",
        "this server of Transformers takes new requests into a running batch; more streams than 256 were not "
        f"tried with vLLM, which gained {100 * (fast[256] / fast[207] - 1):.0f} % from the last 49",
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
    )
    alone = product.peak("transformers-8b-one")
    forms = (
        ("int8", product.peak("transformers-8b-int8-one"), "transformers-int8"),
        ("NF4", product.peak("transformers-8b-nf4-one"), "transformers-nf4"),
        ("NF4 + double", product.peak("transformers-8b-nf4-double-one"), "transformers-nf4-double"),
    )
    peaks = ", ".join(f"{name} {peak:.2f} GiB ({peak / alone:.2f})" for name, peak, _ in forms)
    loads = ", ".join(f"{name} {weights(f'more/{place}'):.2f}" for name, _, place in forms)
    yield Claim(
        "Peak memory of 15.5B: 29.0 GB, 15.2 in int8 (0.52), 9.5 in 4 bits (0.33)",
        f"8B, Transformers, peak of the process at batch 1: {alone:.2f} GiB; {peaks}; weights: "
        f"{weights('more/transformers-bf16'):.2f} GiB; {loads}",
        f"{PRODUCT}, on an H100",
        "in shape",
        "embedding and head of this 8B stay in 16 bits, 1.96 GiB of 15; the process has a CUDA context",
    )
    sixteen, nf4 = product.holding("transformers-8b"), product.holding("transformers-8b-nf4")
    yield Claim(
        "bitsandbytes is slower than 16 bits, NF4 no faster",
        f"vLLM NF4, by streams: {by_streams('llama-8b-bnb-nf4')}; Transformers, 8B: NF4 "
        f"{times(nf4[8], sixteen[8])} at 8 and {times(nf4[128], sixteen[128])} at 128, int8 at 16 streams "
        f"{times(product.holding('transformers-8b-int8')[16], sixteen[8])} of 16 bits at 8",
        f"vLLM {POD}, Transformers {PRODUCT}",
        "yes",
        "weights are expanded to 16 bits in each step; int8 casts activations too",
    )


def claims() -> list[Claim]:
    return [*speed_claims(), *quantization_claims()]


def page() -> str:
    return fill("articles", claims=(row(*each) for each in claims()), **product.tables(), **product.notes())


def pictures() -> dict[str, str]:
    curve = {
        name: [(float(count), each) for count, each in product.holding(cell).items()]
        for name, cell in (
            ("vLLM, 16 bits", "vllm-8b-front-ends"),
            ("vLLM, NF4", "vllm-8b-nf4-front-ends"),
            ("Transformers, 16 bits", "transformers-8b"),
            ("Transformers, NF4", "transformers-8b-nf4"),
        )
    }
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
    return {
        "throughput.svg": curves("8B on one H200: output tokens a second", "streams", curve),
        "gain.svg": curves("vLLM, 8B: 4 bits to 16 bits, tokens a second", "streams", gain),
        "memory.svg": bars("Transformers, batch 1, one H100: peak of the process, GiB", memory),
    }
