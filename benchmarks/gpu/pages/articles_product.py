"""The figures beside the articles as the product measured them, of benchmarks/lab/articles: cells of
benchmarks/gpu/articles.yaml by `tacho run` on two H200s and before on an H100.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.gpu.pages import held
from benchmarks.gpu.pages.recorded import RAW, measurement_of, number, row
from tacho_contract.units import GIB

H200, SECOND, H100 = RAW / "articles", RAW / "articles/second", RAW.parent / "h100/articles"


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


def tables() -> dict[str, list[str]]:
    """Rows of each host."""
    hosts = {"h200": H200, "second": SECOND, "h100": H100}
    return {name: [_row(cell, host) for cell in cells(host)] for name, host in hosts.items()}


def _scored(names: Iterable[str], share: str) -> str:
    found = [float(cell(name, H200)["againstPlan"][share]) for name in names]
    return f"{min(found):.0f} to {max(found):.0f} %"


def _both(name: str, host: Path = H100) -> str:
    return f"{planned(name, host):.1f} and {peak(name, host):.1f}"


def notes() -> dict[str, Any]:
    """Figures below the tables."""
    whole, one, four = "transformers-8b", "vllm-8b", "vllm-8b-front-ends"
    fast, slow = (one, four, "vllm-8b-nf4-front-ends"), (whole, f"{whole}-nf4", f"{whole}-int8")
    unsteady = [interval_percent(f"{whole}-{form}", H200) for form in ("nf4", "one", "nf4-one")]
    return {
        "small": _both("allocator/c64"),
        "whole": _both(whole),
        "large": _both("allocator/c128-short"),
        "now": _both(whole, H200),
        "now_nf4": _both(f"{whole}-nf4", H200),
        "now_int8": _both(f"{whole}-int8", H200),
        "steady": interval_percent(whole, H200),
        "least": min(unsteady),
        "most": max(unsteady),
        "four": number(rate(four, H200, 256)),
        "one": number(rate(one, H200, 256)),
        "interval": interval_percent(one, H200, 256),
        "first_four": level(four, H200, 256)["engineTtftMilliseconds"],
        "first_one": level(one, H200, 256)["engineTtftMilliseconds"],
        "alone_vllm": _scored(fast, "decodePercent"),
        "alone_transformers": _scored(slow, "decodePercent"),
        "load_vllm": _scored(fast, "outputPercent"),
        "load_transformers": _scored(slow, "outputPercent"),
    }
