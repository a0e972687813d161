"""Every measurement on a GPU that has a long load test of as many concurrent requests on the same server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.gpu.pages import h100, probe
from benchmarks.gpu.pages.loops import littles_share, rate
from benchmarks.gpu.pages.recorded import RAW, RESULTS, read, resource

H100 = RAW.parent / "h100"
EARLIER = RAW / "probe"
"""Of a probe with windows of 3 to 5 s."""
RUNS = (
    *(H100 / name for name in ("goals", "goals-small", "goals-paired", "goals-one-run")),
    *(RAW / name for name in ("goals", "goals-edges", "goals-budgets", "goals-repeated", "one-to-four")),
    *(RAW / f"goals-{name}" for name in ("small", "small-pinned", "experts/first", "experts/second")),
    *(RAW / f"goals-tensor/{name}" for name in ("first", "second")),
    *(RAW / f"vllm-0.32{name}/goals" for name in ("", "-four", "-unseen")),
)
"""Folders of load tests, NAME.json, and measurements, NAME-….json, of the same servers."""
CACHED = ("goals-experts", "goals-tensor")
"""Runs whose servers were warmed up with the prompts of their first load test."""
PODS = (
    *(H100 / name for name in ("pods-alone", "pods-warm")),
    *(RAW / f"pods-{name}" for name in ("checked", "loop", "looped", "repeated")),
    RAW / "vllm-0.32-pods",
)
"""Folders of pods, each with load tests after its measurement, truth.json."""
APART = 1.1
"""Load tests of as many requests whose rates differ by more are no reference."""
GIVEN = "no search"
"""A measurement's message begins so if its concurrency was given."""
LARGE = "Dense, 16 bits"
SMALL = "Dense 0.6B"
EIGHT = "Dense, FP8 or W8A8"
FOUR = "Dense, 4 bits (AWQ, GPTQ)"
NF4 = "Dense, NF4"
EXPERTS = "Mixture of experts"
GPUS = "Two GPUs"
OTHERS = "Transformers, CTranslate2"
CLASSES = {
    "tp2": GPUS,
    "transformers": OTHERS,
    "ct2": OTHERS,
    "moe": EXPERTS,
    "gpt-oss": EXPERTS,
    "0.6b": SMALL,
    "first-": SMALL,
    "small-": SMALL,
    "front-ends": SMALL,
    "fp8": EIGHT,
    "w8a8": EIGHT,
    "awq": FOUR,
    "gptq": FOUR,
    "nf4": NF4,
    "8b-": LARGE,
    "7b": LARGE,
}
"""Classes of models by a part of a server's name; the first that fits."""


@dataclass(frozen=True)
class Pair:
    """One rate of a measurement, and the load tests of as many requests."""

    place: str
    server: str
    concurrency: int
    found: float
    interval_percent: float
    warned: bool
    rates: tuple[float, ...]
    """Of the load tests that hold Little's law."""
    seconds: tuple[float, ...]
    """Of the same load tests."""
    pod: bool = False

    @property
    def kind(self) -> str:
        """The class of the model."""
        return next(kind for part, kind in CLASSES.items() if part in f"{self.server}-")

    @property
    def version(self) -> str:
        """Of vLLM."""
        return "0.32" if "vllm-0.32" in self.place else "0.26"

    @property
    def judged(self) -> bool:
        """Whether the load tests agree."""
        return bool(self.rates) and max(self.rates) <= APART * min(self.rates)

    @property
    def off_percent(self) -> float:
        """By how much the measurement is above its load tests."""
        return 100 * (self.found / mean(self.rates) - 1)

    @property
    def held(self) -> bool:
        """Whether the measurement's own interval holds the load tests."""
        return abs(self.off_percent) <= self.interval_percent


def place_of(folder: Path) -> str:
    return str(folder.relative_to(RAW.parent))


def steps(measurement: Mapping[str, Any], *, searched: bool) -> Iterator[tuple[int, float, float]]:
    """(concurrency, tokens per second, interval in percent) of the rates that a measurement stands for: its
    capacity, and the concurrencies that were given.
    """
    figures = [] if searched else [*measurement["curve"]]
    capacity = measurement.get("capacity")
    if capacity and capacity["concurrency"] not in [each["concurrency"] for each in figures]:
        figures.append(capacity)
    for each in figures:
        if each["concurrency"] > 1 and "ciPercent" in each:
            yield each["concurrency"], float(each["outputTokensPerSecond"]), float(each["ciPercent"])


def warned(measurement: Mapping[str, Any]) -> bool:
    """Whether `status` calls a measurement provisional, or its capacity unverified."""
    unverified = (measurement.get("capacity") or {}).get("verified") is False
    return measurement["confidence"] == probe.PROVISIONAL or unverified


def steady(levels: list[dict[str, Any]], concurrency: int) -> list[dict[str, Any]]:
    """Load tests of as many requests that hold Little's law."""
    return [
        level
        for level in levels
        if level["streams"] == concurrency and abs(littles_share(level) - 1) <= probe.LITTLE_WITHIN
    ]


def _of(
    measurement: Mapping[str, Any],
    levels: list[dict[str, Any]],
    place: str,
    server: str,
    *,
    pod: bool = False,
) -> Iterator[Pair]:
    searched = not pod and not str(measurement.get("message", "")).startswith(GIVEN)
    for concurrency, found, interval in steps(measurement, searched=searched):
        if any(level["streams"] == concurrency for level in levels):
            tests = steady(levels, concurrency)
            rates, seconds = tuple(map(rate, tests)), tuple(float(test["window_seconds"]) for test in tests)
            yield Pair(
                place, server, concurrency, found, interval, warned(measurement), rates, seconds, pod=pod
            )


def of_run(folder: Path) -> Iterator[Pair]:
    """By the names of the files: a measurement is of the server with the longest name that it begins with."""
    files = {file.stem: content for file in sorted(folder.glob("*.json")) if (content := read(file))}
    tests = {name: content["levels"] for name, content in files.items() if "levels" in content}
    cached = any(part in str(folder) for part in CACHED)
    for name, content in files.items():
        if "curve" not in content:
            continue
        server = max((each for each in tests if name.startswith(f"{each}-")), key=len, default=None)
        if server:
            yield from _of(content, tests[server][cached:], f"{place_of(folder)}/{name}", server)


def of_comparison(of: probe.Comparison) -> Iterator[Pair]:
    """Of runs whose files are named in another way."""
    for server, names in of.probes.items():
        levels = [level for name in of.truths[server] for level in of.read(name)["levels"]]
        searches = [f"{server}-{search}" for other, search in of.edges if other == server]
        for name in (*names, *searches):
            yield from _of(of.read(name), levels, f"{place_of(of.raw)}/{name}", server)


def of_pods(folder: Path) -> Iterator[Pair]:
    for file in sorted(folder.glob("*/truth.json")):
        path = file.with_name("resource.yaml")
        if not path.exists():
            path = RESULTS / "h200" / folder.name.removeprefix("pods-") / file.parent.name / path.name
        (newest, *_) = resource(path)["status"]["measurements"]
        place = f"{place_of(folder)}/{file.parent.name}"
        yield from _of(newest, read(file)["levels"], place, file.parent.name, pod=True)


@cache
def pairs() -> tuple[Pair, ...]:
    """All of them, but for those of the earlier probe."""
    return (
        *(pair for folder in RUNS for pair in of_run(folder)),
        *of_comparison(h100.H100),
        *(pair for folder in PODS for pair in of_pods(folder)),
    )


@cache
def earlier() -> tuple[Pair, ...]:
    return tuple(of_comparison(probe.H200))
