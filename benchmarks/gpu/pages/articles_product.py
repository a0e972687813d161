"""The figures beside the articles as the product measured them, of docs/results/articles: cells of
benchmarks/gpu/articles.yaml by `tacho run` on two H200s and before on an H100.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.recorded import RAW, bullets, measurement_of, number, row
from tacho_contract.units import GIB

H200, SECOND, H100 = RAW / "articles", RAW / "articles/second", RAW.parent / "h100/articles"
HEAD = """
## Through the product

Cells of [articles.yaml](../../../benchmarks/gpu/articles.yaml) by `tacho run`, 2026-11-27, one after the
other: vLLM 0.26.0 and Transformers 5.19.0, 128 tokens in and 100 out, hosts of 16 cores. Cells with
`front-ends` have four HTTP front ends of vLLM, the others one. Again, on a host with a GPU:

    MATRIX=benchmarks/gpu/articles.yaml bash benchmarks/gpu/session.sh run ARCHIVES OUT 560s

A peak is that of the whole process, with its CUDA context. vLLM's is its budget. "Holds" as on [the H200's
page](../h200/outstanding.md).
"""
TABLE = """
### {title}

[Raw data](../../../benchmarks/gpu/{raw}).

| cell | peak GiB: planned, found | levels that hold: streams, tok/s | other levels |
| --- | --- | --- | --- |
"""


def cells(host: Path) -> list[str]:
    return sorted(each.stem for each in host.glob("*.yaml"))


def cell(name: str, host: Path = H100) -> dict[str, Any]:
    return measurement_of(host / f"{name}.yaml")


def peak(name: str, host: Path = H100) -> float:
    """GiB of the whole process."""
    return float(cell(name, host)["memory"]["peakBytes"]) / GIB


def planned(name: str, host: Path = H100) -> float:
    """GiB, for full contexts of all streams."""
    return float(cell(name, host)["memory"]["predictedBytes"]) / GIB


def levels(name: str, host: Path = H100) -> dict[int, tuple[float, list[str]]]:
    """Tokens a second and doubts, by streams."""
    found = cell(name, host)
    return {
        each["concurrency"]: (
            float(each["outputTokensPerSecond"]),
            held.doubts(found, each, began_mixed=True),
        )
        for each in found["curve"]
    }


def holding(name: str, host: Path = H200) -> dict[int, float]:
    """Tokens a second by streams, of the levels that hold."""
    return {at: rate for at, (rate, doubts) in levels(name, host).items() if not doubts}


def level(name: str, host: Path, streams: int = 1) -> dict[str, Any]:
    return next(each for each in cell(name, host)["curve"] if each["concurrency"] == streams)


def rate(name: str, host: Path, streams: int = 1) -> float:
    return float(level(name, host, streams)["outputTokensPerSecond"])


def interval_percent(name: str, host: Path, streams: int = 1) -> float:
    return float(level(name, host, streams)["ciPercent"])


def _row(name: str, host: Path) -> str:
    good = ", ".join(f"{at}: {number(rate)}" for at, rate in holding(name, host).items())
    other = ", ".join(f"{at}: {number(rate)}" for at, (rate, doubts) in levels(name, host).items() if doubts)
    return row(name, f"{planned(name, host):.1f}, {peak(name, host):.1f}", good or "none", other or "none")


def _table(title: str, host: Path) -> str:
    rows = "".join(_row(name, host) for name in cells(host))
    return TABLE.format(title=title, raw=host.relative_to(RAW.parent)) + rows


def _scored(names: Iterable[str], share: str) -> str:
    found = [float(cell(name, H200)["againstPlan"][share]) for name in names]
    return f"{min(found):.0f} to {max(found):.0f} %"


def _notes() -> str:
    small, large, whole = "allocator/c64", "allocator/c128-short", "transformers-8b"
    one, four = "vllm-8b", "vllm-8b-front-ends"
    fast, slow = (one, four, "vllm-8b-nf4-front-ends"), (whole, f"{whole}-nf4", f"{whole}-int8")
    unsteady = [interval_percent(f"{whole}-{form}", H200) for form in ("nf4", "one", "nf4-one")]
    now = ", ".join(
        f"{planned(name, H200):.1f} and {peak(name, H200):.1f} {what}"
        for name, what in ((whole, "in 16 bits"), (f"{whole}-nf4", "in NF4"), (f"{whole}-int8", "in int8"))
    )
    return bullets(
        "**Transformers under load held more than was planned**, on the H100. Planned and found, in GiB: "
        f"{planned(small):.1f} and {peak(small):.1f} with 64 streams of 1,024 tokens, "
        f"{planned(whole):.1f} and {peak(whole):.1f} with 128, "
        f"{planned(large):.1f} and {peak(large):.1f} with 128 of 256. PyTorch's allocator kept blocks of "
        "former batches, as each step has other sizes.",
        "**Its segments grow now** (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`, unless `engine.env` "
        f"sets it). On the H200 with that default: {now}. So the plan is an upper bound: it has room for "
        "full contexts of all streams.",
        "**One stream of Transformers** has a steady rate on few hosts: its steps wait for Python on the "
        f"host. On the first H200 one cell had it (± {interval_percent(whole, H200):.1f} %), and the next "
        f"ones had intervals of {min(unsteady):.0f} to {max(unsteady):.0f} %.",
        "**Front ends**: with four the 8B had "
        f"{number(rate(four, H200, 256))} tok/s at 256 streams, with one {number(rate(one, H200, 256))} ± "
        f"{interval_percent(one, H200, 256):.0f} %, which does not hold. By the engine's own count a first "
        f"token took {level(four, H200, 256)['engineTtftMilliseconds']} ms, with one "
        f"{level(one, H200, 256)['engineTtftMilliseconds']}.",
        "**Expected before each cell ran**, by the plan in its status. Measured over expected on the first "
        f"H200, one stream: {_scored(fast, 'decodePercent')} with vLLM in 16 bits and NF4, "
        f"{_scored(slow, 'decodePercent')} with Transformers. At the planned streams: "
        f"{_scored(fast, 'outputPercent')} and {_scored(slow, 'outputPercent')}. The plan of Transformers "
        "says ± 70 %, as hosts differ.",
        "**Slow clients**: `vllm-8b-one` on the second H200 is `ClientBound`, and provisional.",
    )


def section() -> str:
    return (
        HEAD
        + _table("The first H200", H200)
        + _table("Another H200", SECOND)
        + _table("An H100, before the allocator's change", H100)
        + "\n"
        + _notes()
    )
