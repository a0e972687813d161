"""benchmarks/lab/h100/README.md: the probe beside long loops on H100s, and the memory of these servers."""

from __future__ import annotations

from benchmarks.gpu.pages import same_seconds
from benchmarks.gpu.pages.probe import BF16, BOTH, FP8, Comparison, page as comparison, truth
from benchmarks.gpu.pages.recorded import RAW, bullets, fill, number, row, share
from benchmarks.planner.cases import predict
from benchmarks.planner.starts import starts
from tacho_contract.units import GIB

WARM_BF16, WARM_FP8, SMALL, MOE = f"{BF16}-warm", f"{FP8}-warm", "0.6b", "moe-bf16"
APART_SMALL, APART_SMALL_WARM, APART_MOE, LATER_MOE = (
    *("0.6b-apart", "0.6b-apart-warm"),
    *("moe-apart", "moe-later"),
)
LOOPS = {
    server: f"{server}-again" if server.endswith("-warm") else server
    for server in (
        *(BF16, WARM_BF16, WARM_FP8, SMALL, MOE),
        *(APART_SMALL, APART_SMALL_WARM, APART_MOE, LATER_MOE),
    )
}
H100 = Comparison(
    raw=RAW.parent / "h100/probe",
    truths={server: (loop,) for server, loop in LOOPS.items()},
    probes={server: (loop.replace(server, f"{server}-levels"),) for server, loop in LOOPS.items()},
    edges={
        (WARM_BF16, "tpot-20ms"): {"tpot": 20.0},
        (WARM_BF16, "ttft-1s-tpot-25ms"): BOTH,
        (WARM_FP8, "tpot-15ms"): {"tpot": 15.0},
        (WARM_FP8, "ttft-1s-tpot-25ms"): BOTH,
        (APART_SMALL, "ttft-1s-tpot-15ms"): {"ttft": 1000.0, "tpot": 15.0},
        (APART_SMALL_WARM, "ttft-1s-tpot-15ms"): {"ttft": 1000.0, "tpot": 15.0},
        (APART_MOE, "ttft-2s-tpot-40ms"): {"ttft": 2000.0, "tpot": 40.0},
    },
)
SAME_MODEL = {
    "Llama-3.1-8B in 16 bits": (BF16, WARM_BF16),
    "Qwen3-0.6B": (SMALL, APART_SMALL, APART_SMALL_WARM),
    "Qwen3-30B-A3B": (MOE, APART_MOE, LATER_MOE),
}
STARTS = (BF16, WARM_BF16, WARM_FP8, SMALL, MOE)
"""A start of each; later ones found the same."""


def memory_row(server: str) -> str:
    start = next(start for start in starts() if start.name == f"h100/probe/{server}")
    planned, told = predict(start.case), start.row["actual"]
    figures = (
        (planned.weights_bytes / GIB, told["weightsGiB"], 3),
        (planned.cache.tokens, told["kvTokens"], 0),
        (planned.graph_bytes / GIB, told["graphGiB"], 2),
    )
    cells = (f"{number(a, n)} / {number(b, n)} ({share(a, b)})" for a, b, n in figures)
    return row(server, *cells)


def repeats() -> str:
    """How far loops of one level differ that ran on other starts of the same model."""
    lines = []
    for title, servers in SAME_MODEL.items():
        rates: dict[int, list[float]] = {}
        for level in (
            each for server in servers for name in H100.truths[server] for each in truth(H100, name)
        ):
            rates.setdefault(level.streams, []).append(level.rate)
        wide = {streams: max(each) / min(each) - 1 for streams, each in rates.items() if len(each) > 1}
        most, streams = max((share, streams) for streams, share in wide.items())
        lines.append(f"{title}: {len(wide)} levels, up to {100 * most:.1f} % apart (at {streams} streams).")
    return bullets(*lines)


def page() -> str:
    return fill(
        "h100",
        levels=comparison(H100),
        **same_seconds.figures(H100),
        repeats=repeats(),
        memory=map(memory_row, STARTS),
    )
