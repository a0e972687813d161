"""Constants of GGUF in vLLM, from the times of vllm-gguf-plugin's products on an H100.

    python -m benchmarks.planner.gguf

Prints what ``vllm/speed.py`` says of them. The products are those of an 8B in Q4_0
(benchmarks/gpu/h100/gguf), without attention: a step of the law without its layers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from functools import cache

from benchmarks.planner.models import LLAMA_IN_Q4_0
from benchmarks.planner.placements import placement
from benchmarks.planner.speed import LAW, SPEED, least_squares
from benchmarks.planner.speed_rows import ROOT
from tacho_engines.base import Context
from tacho_engines.profile import KernelTiming
from tacho_engines.registry import planner_adapter
from tacho_operator.core.planner.expected_speed import Loop, timing
from tacho_operator.core.planner.speed import DecodeStep

PRODUCTS = ROOT / "benchmarks/gpu/h100/gguf/products.json"
CARD = "NVIDIA-H100-80GB-HBM3"
WAYS = {"0.26.0": ("triton", "triton"), "0.32.0": ("cuda vec", "cuda mat")}
"""By vLLM version, the kernels of one token and of several."""


def step(version: str) -> DecodeStep:
    """Of that model on the card, with 512 tokens in and 200 out."""
    found, adapter = placement("vllm", LLAMA_IN_Q4_0, "gguf", CARD, version=version), planner_adapter("vllm")
    account = adapter.account(found, Context(4096, 1))
    assert account is not None
    return DecodeStep(
        placement=found,
        weights_bytes=account.read_bytes,
        key_value_bytes=adapter.cache_element_bytes(found),
        input_tokens=512,
        output_tokens=200,
    )


@cache
def timed(version: str) -> Mapping[int, float]:
    """Seconds of the products of a step, by its tokens."""
    rows = json.loads(PRODUCTS.read_text(encoding="utf-8"))["rows"]
    alone, several = WAYS[version]
    return {
        row["tokens"]: row["step"] / 1e3
        for row in rows
        if row["way"] == (alone if row["tokens"] == 1 else several)
    }


def products_seconds(of: DecodeStep, tokens: int, kernel: KernelTiming) -> float:
    """What the law says of them: a step without what each layer and attention take."""
    law = dataclasses.replace(LAW, layer_microseconds=0.0, attention_nanoseconds=0.0)
    return of.seconds(tokens, law, kernel) - law.traffic * of.cache_bytes(tokens) / of.bandwidth


def fitted(version: str, start: KernelTiming) -> KernelTiming:
    """The constants that are nearest to the products of ``version``."""
    of = step(version)

    def loss(values: dict[str, float]) -> float:
        kernel = dataclasses.replace(start, **values)
        return sum(
            math.log(products_seconds(of, tokens, kernel) / seconds) ** 2
            for tokens, seconds in timed(version).items()
        )

    names = ("unpacking", "batch_unpacking", "arithmetic")
    return dataclasses.replace(start, **least_squares({name: getattr(start, name) for name in names}, loss))


def loop(version: str) -> Loop:
    """What a plan expects."""
    of = step(version)
    law, kernel, _ = timing(SPEED, of.placement)
    return Loop(step=of, law=law, kernel=kernel, ceiling=math.inf)


def main() -> int:
    for version, ways in WAYS.items():
        found = fitted(version, timing(SPEED, step(version).placement)[1])
        kernels = " and ".join(dict.fromkeys(ways))
        print(
            f"vLLM {version}, {kernels}: {found.unpacking:.0f} {found.batch_unpacking:.0f} "
            f"{found.arithmetic:.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
