"""benchmarks/lab/h100/goals.md: the probe's goals by one command, `benchmarks/gpu/goals.sh`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h100_alone import H100
from benchmarks.gpu.pages.recorded import bullets, fill, number

PAIRED, ONE_RUN, FIRST, FIRST_SMALL = (
    H100 / name for name in ("goals-paired", "goals-one-run", "goals", "goals-small")
)
LARGE, SMALL = ("8b-bf16", "8b-fp8"), "0.6b"
SEARCH = ("8b-bf16", "ttft-300ms")


def chosen(*servers: str, run: Path = PAIRED) -> probe.Comparison:
    """The servers' part of a run."""
    found = comparison(run)
    return replace(
        found,
        truths={server: found.truths[server] for server in servers},
        probes={server: found.probes[server] for server in servers},
        edges={search: bounds for search, bounds in found.edges.items() if search[0] in servers},
    )


def apart(of: probe.Comparison) -> float:
    """How far two loops of one level are apart at most, in percent of the lower rate."""
    return max(100 * (max(rates) / min(rates) - 1) for _, _, _, rates in probe.errors(of))


def waits(of: probe.Comparison, server: str) -> Iterator[str]:
    """TTFT p95 of the loops of a server, by rising streams."""
    for level in probe.merged(of, server):
        assert level.ttft95 is not None
        yield f"{number(level.ttft95)} ms at {level.streams}"


def noise(of: probe.Comparison) -> str:
    pairs = [
        [level.ttft95 for level in probe.truth(of, server) if level.streams == streams and level.ttft95]
        for server in of.truths
        for streams in (16, 64, 128, 256)
    ]
    spread = sorted(100 * (max(pair) / min(pair) - 1) for pair in pairs)
    deciding = sorted(0.05 * level["requests"] for server in of.truths for level in of.read(server)["levels"])
    return bullets(
        f"**TTFT p95** of two loops of one level differs by {spread[0]:.0f} to {spread[-1]:.0f} %, "
        f"{mean(spread):.0f} % on average: {deciding[0]:.0f} to {deciding[-1]:.0f} requests lie above it. "
        "The goal is 20 %.",
        f"**{SEARCH[0]} with TTFT 300 ms** has no one edge: the loops had "
        f"{', '.join(waits(of, SEARCH[0]))} streams.",
    )


def levels_alone(of: probe.Comparison) -> str:
    return probe.tables(of).partition("\n## ")[0]


def below_a_heading(of: probe.Comparison) -> str:
    return probe.tables(of).replace("## ", "### ")


def page() -> str:
    large, small = chosen(*LARGE), chosen(SMALL)
    windows = [level.window_seconds for _, level, _, _ in probe.errors(large) if level.window_seconds]
    of_small = [level for _, level, _, _ in probe.errors(small)]
    return fill(
        "h100_goals",
        least=min(windows),
        most=max(windows),
        large=probe.page(large),
        noise=noise(large),
        apart_other=apart(small),
        flagged=sum(bool(level.flags) for level in of_small),
        levels=len(of_small),
        small=below_a_heading(small),
        apart=apart(chosen(*LARGE, run=ONE_RUN)),
        apart_small=apart(chosen(SMALL, run=ONE_RUN)),
        one_run=below_a_heading(comparison(ONE_RUN)),
        first=levels_alone(comparison(FIRST)),
        first_small=levels_alone(comparison(FIRST_SMALL)),
    )
