"""docs/results/h100/goals.md: the probe's goals by one command, `benchmarks/gpu/goals.sh`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

from benchmarks.gpu.goals import comparison
from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.h100_alone import H100
from benchmarks.gpu.pages.recorded import bullets, number

PAIRED, ONE_RUN, FIRST, FIRST_SMALL = (
    H100 / name for name in ("goals-paired", "goals-one-run", "goals", "goals-small")
)
LARGE, SMALL = ("8b-bf16", "8b-fp8"), "0.6b"
SEARCH = ("8b-bf16", "ttft-300ms")
HEAD = """# The probe's goals by one command, on H100s

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h100/goals-paired), where
the commands are. Servers of vLLM 0.26.0 on one host of an H100, 2026-11-26, one after the other: the shape of
Llama-3.1-8B in 16 bits and in FP8. 512 tokens in and 200 out. The server, the probe and the loop's clients
shared 16 cores.

Each level by the probe stands between two loops of it: a host that changes within minutes changes all three.
Their mean is the truth. The probe's windows took {least:.0f} to {most:.0f} s, the loops' 16 s and more. After
each search came a loop of the streams that it found.

"""
SMALL_HEAD = """
## Qwen3-0.6B

On another such host, with four front ends. Two loops of one level differ by up to {apart:.0f} % of
tokens a second, a minute apart: no probe can be as near to both as the goals ask. {flagged} of {levels}
levels say that something disturbed them.

"""
ONE_RUN_HEAD = """
## All servers in one run

On a host of four H100s with 64 cores, 2026-11-27: `goals.sh` for each server at the same time, on a GPU and
16 cores of its own, all in 15 minutes ([raw data](../../../benchmarks/gpu/h100/goals-one-run)). The fourth
GPU served models with experts. On this host two loops of one level differ by up to {apart:.0f} % for the 8B
and {apart_small:.0f} % for the 0.6B, which had four front ends. No server was alone on its host.

"""
FIRST_HEAD = """
## Levels first, then loops

Runs of 2026-11-25, when the probe measured all levels and the loops came minutes later: the 8B in 16 bits
([raw data](../../../benchmarks/gpu/h100/goals)), whose larger loops had no time left, and on another host the
0.6B ([raw data](../../../benchmarks/gpu/h100/goals-small)), before whose searches time was over.

"""


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


def tables(of: probe.Comparison) -> str:
    """Levels alone."""
    return probe.page(of).partition("\n## ")[0].removeprefix(probe.CELLS)


def page() -> str:
    large, small = chosen(*LARGE), chosen(SMALL)
    levels = [level for _, level, _, _ in probe.errors(large)]
    windows = [level.window_seconds for level in levels if level.window_seconds]
    of_small = [level for _, level, _, _ in probe.errors(small)]
    head = HEAD.format(least=min(windows), most=max(windows))
    small_head = SMALL_HEAD.format(
        apart=apart(small),
        flagged=sum(bool(level.flags) for level in of_small),
        levels=len(of_small),
    )
    searches = probe.page(small).removeprefix(probe.CELLS).replace("## ", "### ")
    one_run_head = ONE_RUN_HEAD.format(
        apart=apart(chosen(*LARGE, run=ONE_RUN)),
        apart_small=apart(chosen(SMALL, run=ONE_RUN)),
    )
    one_run = probe.page(comparison(ONE_RUN)).removeprefix(probe.CELLS).replace("## ", "### ")
    return "".join(
        (
            *(head, probe.page(large), "\n", noise(large)),
            *(small_head, searches),
            *(one_run_head, one_run),
            *(FIRST_HEAD, tables(comparison(FIRST)), "\n", tables(comparison(FIRST_SMALL))),
        )
    )
