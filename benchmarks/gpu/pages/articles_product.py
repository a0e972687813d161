"""The figures beside the articles as the product measured them, of docs/results/articles: cells of
benchmarks/gpu/articles.yaml by `tacho run` on an H100.
"""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.recorded import RAW, bullets, measurement_of, number, row, times
from tacho_contract.units import GIB

CELLS = RAW.parent / "h100/articles"
ORDER = (
    *("vllm-8b", "vllm-8b-nf4", "transformers-8b", "transformers-8b-nf4", "transformers-8b-int8"),
    *("transformers-8b-one", "transformers-8b-int8-one", "transformers-8b-nf4-one"),
    *("transformers-8b-nf4-double-one", "vllm-phi-2", "transformers-phi-2", "transformers-phi-2-nf4-one"),
)
HEAD = """
## Through the product

Cells of [articles.yaml](../../../benchmarks/gpu/articles.yaml) by `tacho run` on one H100 with 16 cores,
2026-11-27, one after the other: vLLM 0.26.0 and Transformers 5.19.0, 128 tokens in and 100 out
([raw data](../../../benchmarks/gpu/h100/articles)). Again, on a host with a GPU:

    MATRIX=benchmarks/gpu/articles.yaml bash benchmarks/gpu/session.sh run ARCHIVES OUT 560s

A peak is that of the whole process, with its CUDA context. vLLM's is its budget. "Holds" as on [the H200's
page](../h200/outstanding.md).

| cell | peak GiB: planned, found | levels that hold: streams, tok/s | other levels |
| --- | --- | --- | --- |
"""


def cell(name: str) -> dict[str, Any]:
    return measurement_of(CELLS / f"{name}.yaml")


def peak(name: str) -> float:
    """GiB of the whole process."""
    return float(cell(name)["memory"]["peakBytes"]) / GIB


def planned(name: str) -> float:
    """GiB, for full contexts of all streams."""
    return float(cell(name)["memory"]["predictedBytes"]) / GIB


def levels(name: str) -> dict[int, tuple[float, list[str]]]:
    """Tokens a second and doubts, by streams."""
    found = cell(name)
    return {
        each["concurrency"]: (
            float(each["outputTokensPerSecond"]),
            held.doubts(found, each, began_mixed=True),
        )
        for each in found["curve"]
    }


def _row(name: str) -> str:
    found = levels(name)
    holding = ", ".join(f"{at}: {number(rate)}" for at, (rate, doubts) in found.items() if not doubts)
    other = ", ".join(f"{at}: {number(rate)}" for at, (rate, doubts) in found.items() if doubts)
    return row(name, f"{planned(name):.1f}, {peak(name):.1f}", holding or "none", other or "none")


def batching() -> str:
    """vLLM's best level in NF4 over that of Transformers, each beyond what is decided."""
    fast, slow = levels("vllm-8b-nf4")[256][0], levels("transformers-8b-nf4")[109][0]
    return f"{fast:.0f} tok/s at 256 streams and {slow:.0f} at 109, {times(fast, slow)}"


def section() -> str:
    small, large = "allocator/c64", "allocator/c128-short"
    grown = levels("allocator/c128-expandable")
    plain = levels("transformers-8b")
    notes = bullets(
        "**Transformers under load held more than was planned.** Planned and found, in GiB: "
        f"{planned(small):.1f} and {peak(small):.1f} with 64 streams of 1,024 tokens, "
        f"{planned('transformers-8b'):.1f} and {peak('transformers-8b'):.1f} with 128, "
        f"{planned(large):.1f} and {peak(large):.1f} with 128 of 256. PyTorch's allocator kept blocks of "
        "former batches, as each step has other sizes.",
        "**Its segments grow now** (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`, unless `engine.env` "
        f"sets it): {peak('allocator/c128-expandable'):.1f} GiB on another such H100, and "
        f"{number(grown[48][0])} tok/s at 48 streams and {number(grown[128][0])} at 128, in place of "
        f"{number(plain[48][0])} and {number(plain[128][0])}. That was a measurement of 30 s, whose state is "
        "Partial. The former had intervals of 30 %. The cells of the table are of before.",
        "**One stream of Transformers** has no steady rate on this host: its steps wait for Python on the "
        "host. No such level holds, so the rows above keep runs by hand.",
    )
    return HEAD + "".join(map(_row, ORDER)) + "\n" + notes
