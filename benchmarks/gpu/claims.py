"""What articles say of engines and quantization beside what one H200 gave; writes docs/results/articles.

    python -m benchmarks.gpu.claims [--check]

Measured figures are those of h200/by-hand/results.json, and of tacho's own servers in benchmarks/engines/h200
and h200/later. Only claims that something was measured for have a row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu.bars import bars, curves

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/results/articles"
HAND: dict[str, Any] = json.loads((ROOT / "benchmarks/gpu/h200/by-hand/results.json").read_text())["runs"]
AGAIN = "hf-8b-bf16-batch1-after-nf4"
"""Transformers in 16 bits, the second run."""
HEAD = """# What the articles say, and what one H200 gave

Written by `python -m benchmarks.gpu.claims` from [raw data](../../../benchmarks/gpu/h200/by-hand): vLLM
0.26.0 and `generate()` of Transformers 5.17.0 with bitsandbytes 0.50.2, torch 2.11.0 (CUDA 13.0), one NVIDIA
H200, random weights in the shapes of Llama-3.1-8B and Phi-2, 128 tokens in and 200 out, fixed. One run of
each; of two runs of Transformers in 16 bits the second was made in a process that had held another model.
What is called served are [vLLM](../../../benchmarks/engines) and
[tacho's own server](../../../benchmarks/gpu/h200/later) of Transformers 5.19.0 with continuous batching, 512
tokens in. The articles' GPUs are others: ratios are compared, not rates.

| The claim (where) | Measured here | Holds? | Why |
| --- | --- | --- | --- |
"""
TAIL = """
![Tokens a second over streams](throughput.svg)

![What 4 bits gain, by streams](gain.svg)

![Peak memory of Transformers](memory.svg)

Not measured on a GPU here, so without a row: CTranslate2, TensorRT-LLM, MLC, TGI and ExLlama beside these
engines; MMLU of GPTQ and AWQ; memory of a ten-fold prompt without FlashAttention; Mistral-7B and Llama-2-7B
themselves; Transformers beyond a batch of 32.
"""


def measured(run: str) -> list[tuple[float, float]]:
    """(streams, or the batch; output tokens a second) of each load."""
    loads = HAND[run]["loads"]
    return [(float(load.get("concurrency", load.get("batch"))), load["output_tok_s"]) for load in loads]


def rate(run: str, streams: int) -> float:
    return next(rate for at, rate in measured(run) if at == streams)


def served(run: str, streams: int) -> float:
    """By tacho's own measurement; ``run`` is a file below benchmarks, without its ending."""
    status = yaml.safe_load((ROOT / f"benchmarks/{run}.yaml").read_text())["status"]
    curve = status["measurements"][0]["curve"]
    return float(next(point for point in curve if point["concurrency"] == streams)["outputTokensPerSecond"])


def peak(run: str) -> float:
    return float(HAND[run]["loads"][0]["peak_allocated_gib"])


def loaded(run: str) -> float:
    return float(HAND[run]["figures"]["load_gib"])


def times(over: float, under: float) -> str:
    return f"{over / under:.2f}x" if over < 10 * under else f"{over / under:.0f}x"


def rows() -> Iterator[tuple[str, str, str, str]]:
    """(claim, measured, holds, why)."""
    bf16 = [rate("8b-bf16", n) for n in (1, 32, 256)]
    phi, hf = rate("phi2-fp16", 1), rate("hf-phi2-fp16", 1)
    yield (
        "vLLM is 1.95x Transformers for one prompt of Phi-2 (16 GB GPU: 63.2 and 32.4 tok/s)",
        f"Phi-2: {phi:.0f} and {hf:.1f} tok/s, {times(phi, hf)}; 8B: {bf16[0]:.0f} and "
        f"{rate('hf-8b-bf16', 1):.1f} to {rate(AGAIN, 1):.1f} (two runs), "
        f"{times(bf16[0], rate(AGAIN, 1))} to {times(bf16[0], rate('hf-8b-bf16', 1))}",
        "yes, by more",
        "a step of Transformers takes 17 to 24 ms of the host whatever the GPU; vLLM's is a CUDA graph",
    )
    high = rate("8b-bf16-curve", 1024)
    here, theirs = served("engines/h200/vllm-bf16", 16), served("gpu/h200/later/transformers-bf16", 16)
    yield (
        "vLLM is up to 24x Transformers under load (A100)",
        f"8B, 32 equal requests: {bf16[1]:.0f} and {rate(AGAIN, 32):.0f} to "
        f"{rate('hf-8b-bf16', 32):.0f} tok/s (two runs), {times(bf16[1], rate('hf-8b-bf16', 32))} to "
        f"{times(bf16[1], rate(AGAIN, 32))}; vLLM at 1024 to Transformers at 32: "
        f"{times(high, rate('hf-8b-bf16', 32))}; served, 16 streams: {here:.0f} and "
        f"{theirs:.0f}, {times(here, theirs)}",
        "no",
        "requests of one length waste nothing in a static batch, and tacho's server batches continuously; "
        "an earlier state of it had 91 tok/s, and this claim 22x",
    )
    curve = HAND["8b-bf16-curve"]["loads"]
    yield (
        "Batching raises throughput",
        f"8B in 16 bits: {rate('8b-bf16-curve', 1):.0f} tok/s at 1, {rate('8b-bf16-curve', 32):.0f} at 32, "
        f"{high:.0f} at 1024 ({times(high, rate('8b-bf16-curve', 1))})",
        "yes",
        "a step reads the weights once for all of them",
    )
    one = curve[0]
    told = one["ttft_p50_ms"] + one["tpot_p50_ms"] * (one["out"] - 1)
    yield (
        "Latency = TTFT + TPOT x output tokens",
        f"8B, one stream: {one['ttft_p50_ms']} + {one['tpot_p50_ms']} x {one['out'] - 1} = {told:.0f} ms; "
        f"measured {1000 * one['e2e_p50_s']:.0f} ms",
        "yes",
        "with one token less: the first one is TTFT's",
    )
    step = HAND["8b-bf16"]["loads"][0]["tpot_p50_ms"]
    quick = [
        f"{name} {', '.join(times(rate(run, n), base) for n, base in zip((1, 32, 256), bf16, strict=True))}"
        for name, run in (("AWQ", "8b-awq"), ("GPTQ", "8b-gptq"), ("W4A16 by Marlin", "8b-w4a16-marlin"))
    ]
    yield (
        "4-bit AWQ and GPTQ give about 3x of 16 bits at batch 1, less with batch (L40, TensorRT-LLM)",
        f"vLLM, 8B, at 1, 32 and 256 streams: {'; '.join(quick)}",
        "that it shrinks: yes; 3x: no",
        f"at 4.8 TB/s reading 16-bit weights is 3.3 of a step's {step:.1f} ms, the rest stays; an L40 has "
        "0.86 TB/s",
    )
    whole, awq, gptq = (loaded(run) for run in ("8b-bf16", "8b-awq", "8b-gptq"))
    yield (
        "Peak memory of AWQ and GPTQ is half or less; GPTQ slightly above AWQ",
        f"weights of 8B: {whole} GiB, AWQ {awq} ({awq / whole:.2f}), GPTQ {gptq} ({gptq / whole:.2f})",
        "half or less: yes; the order: no",
        "Machete expands AWQ's zero points. vLLM's process takes its budget whatever the weights: what is "
        "saved becomes KV cache",
    )
    sixteen = peak("hf-8b-bf16")
    slower = [times(rate("8b-bnb-nf4", n), base) for n, base in zip((1, 32, 256), bf16, strict=True)]
    parts = [
        f"{name} {peak(run)} GiB ({peak(run) / sixteen:.2f})"
        for name, run in (("int8", "hf-8b-int8"), ("NF4", "hf-8b-nf4"), ("NF4 + double", "hf-8b-nf4-dq"))
    ]
    yield (
        "Peak memory of 15.5B: 29.0 GB, 15.2 in int8 (0.52), 9.5 in 4 bits (0.33)",
        f"8B, Transformers, batch 1: {sixteen} GiB; {', '.join(parts)}",
        "in shape",
        "embedding and head of this 8B stay in 16 bits, 1.96 GiB of 15",
    )
    yield (
        "bitsandbytes is slower than 16 bits, NF4 no faster",
        f"Transformers, 8B, batch 1: NF4 {times(rate('hf-8b-nf4', 1), rate('hf-8b-bf16', 1))}, int8 "
        f"{times(rate('hf-8b-int8', 1), rate('hf-8b-bf16', 1))}, batch 32: NF4 "
        f"{times(rate('hf-8b-nf4', 32), rate('hf-8b-bf16', 32))}; vLLM NF4 at 1, 32, 256: "
        f"{', '.join(slower)}",
        "yes",
        "weights are expanded to 16 bits in each step; int8 casts activations too",
    )


def page() -> str:
    return HEAD + "\n".join(f"| {' | '.join(row)} |" for row in rows()) + "\n" + TAIL


def pictures() -> dict[str, str]:
    hf = {"Transformers, 16 bits": "hf-8b-bf16", "Transformers, NF4": "hf-8b-nf4"}
    vllm = {
        "vLLM, 16 bits": "8b-bf16-curve",
        "vLLM, FP8": "8b-fp8",
        "vLLM, AWQ": "8b-awq",
        "vLLM, NF4": "8b-bnb-nf4",
    }
    found = {name: measured(run) for name, run in {**vllm, **hf}.items()}
    gain = {
        name: [(float(n), rate(run, n) / rate("8b-bf16", n)) for n in (1, 32, 256)]
        for name, run in (
            ("AWQ (Machete)", "8b-awq"),
            ("GPTQ (Machete)", "8b-gptq"),
            ("W4A16 (Marlin)", "8b-w4a16-marlin"),
            ("bitsandbytes NF4", "8b-bnb-nf4"),
        )
    }
    memory = [
        (name, peak(run), f"{peak(run)} GiB")
        for name, run in (
            ("8B, 16 bits", "hf-8b-bf16"),
            ("8B, int8", "hf-8b-int8"),
            ("8B, NF4", "hf-8b-nf4"),
            ("8B, NF4, doubly quantized", "hf-8b-nf4-dq"),
            ("Phi-2, 16 bits", "hf-phi2-fp16"),
            ("Phi-2, NF4", "hf-phi2-nf4-cold"),
        )
    ]
    return {
        "throughput.svg": curves(
            "8B on one H200: output tokens a second", "streams (Transformers: batch)", found
        ),
        "gain.svg": curves("vLLM, 8B: 4 bits to 16 bits, tokens a second", "streams", gain),
        "memory.svg": bars("Transformers, batch 1: peak memory, GiB", memory),
    }


def main(arguments: Sequence[str]) -> int:
    wanted = {PAGE / "README.md": page(), **{PAGE / name: text for name, text in pictures().items()}}
    if "--check" in arguments:
        stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} has drifted: run python -m benchmarks.gpu.claims")
        return int(bool(stale))
    PAGE.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
