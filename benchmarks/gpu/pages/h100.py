"""docs/results/h100/README.md: the probe beside long loops on H100s, and the memory of these servers."""

from __future__ import annotations

from benchmarks.gpu.pages import same_seconds
from benchmarks.gpu.pages.probe import BF16, BOTH, FP8, Comparison, page as comparison, truth
from benchmarks.gpu.pages.recorded import RAW, bullets, number, row, share
from benchmarks.planner.cases import predict
from benchmarks.planner.starts import starts
from tacho_contract.units import GIB

WARM_BF16, WARM_FP8, SMALL, MOE = f"{BF16}-warm", f"{FP8}-warm", "0.6b", "moe-bf16"
APART_SMALL, APART_SMALL_WARM, APART_MOE, LATER_MOE = (
    "0.6b-apart",
    "0.6b-apart-warm",
    "moe-apart",
    "moe-later",
)
H100 = Comparison(
    raw=RAW.parent / "h100/probe",
    truths={
        BF16: (BF16,),
        WARM_BF16: (f"{WARM_BF16}-again",),
        WARM_FP8: (f"{WARM_FP8}-again",),
        SMALL: (SMALL,),
        MOE: (MOE,),
        APART_SMALL: (APART_SMALL,),
        APART_SMALL_WARM: (f"{APART_SMALL_WARM}-again",),
        APART_MOE: (APART_MOE,),
        LATER_MOE: (LATER_MOE,),
    },
    probes={
        BF16: (f"{BF16}-levels",),
        WARM_BF16: (f"{WARM_BF16}-levels-again",),
        WARM_FP8: (f"{WARM_FP8}-levels-again",),
        SMALL: (f"{SMALL}-levels",),
        MOE: (f"{MOE}-levels",),
        APART_SMALL: (f"{APART_SMALL}-levels",),
        APART_SMALL_WARM: (f"{APART_SMALL_WARM}-levels-again",),
        APART_MOE: (f"{APART_MOE}-levels",),
        LATER_MOE: (f"{LATER_MOE}-levels",),
    },
    edges={
        (WARM_BF16, "tpot-20ms"): {"tpot": 20.0},
        (WARM_BF16, "ttft-1s-tpot-25ms"): BOTH,
        (WARM_FP8, "tpot-15ms"): {"tpot": 15.0},
        (WARM_FP8, "ttft-1s-tpot-25ms"): BOTH,
        (APART_SMALL, "ttft-1s-tpot-15ms"): {"ttft": 1000.0, "tpot": 15.0},
        (APART_SMALL_WARM, "ttft-1s-tpot-15ms"): {"ttft": 1000.0, "tpot": 15.0},
        (APART_MOE, "ttft-2s-tpot-40ms"): {"ttft": 2000.0, "tpot": 40.0},
    },
    head="""# The probe beside long loops

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h100/probe), where the
commands are. Servers of vLLM 0.26.0 on two H100s of a host, 2026-11-24 and 25, mostly two at a time:
Llama-3.1-8B in 16 bits and in FP8, Qwen3-0.6B with four front ends, and Qwen3-30B-A3B. `warm` is a second
start. 512 tokens in and 200 out. The truth of a level is a closed loop of 30 to 55 s, with the stamps of
every request. The probe's levels share `--budget 120s`, in windows of 11 to 36 s.

A server, the probe and the loop's clients shared 16 cores. With `apart`
and `later` the clients had cores of their own. Windows of 4.4 s came where a level was faster than
fewer streams foretold. The present probe, of `later` alone, gives the rest of its share to the window.
The 0.6B is bound by the CPUs, whose speed here changes by half within minutes: its probes say that they are
provisional, and nothing acts on them.

""",
)
SAME_MODEL = {
    "Llama-3.1-8B in 16 bits": (BF16, WARM_BF16),
    "Qwen3-0.6B": (SMALL, APART_SMALL, APART_SMALL_WARM),
    "Qwen3-30B-A3B": (MOE, APART_MOE, LATER_MOE),
}
REPEATS = """
## What these hosts repeat

Tokens a second of loops of the same model and streams, on two or three starts. A probe cannot be nearer to
a loop than another loop is:

"""
MEMORY = """
## Memory

No constant of the planner is from these servers. Planned from the headers / found in the logs:

| server | weights GiB | KV-cache tokens | CUDA graphs GiB |
| --- | --- | --- | --- |
"""
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
    apart = {}
    for title, servers in SAME_MODEL.items():
        rates: dict[int, list[float]] = {}
        for level in (
            each for server in servers for name in H100.truths[server] for each in truth(H100, name)
        ):
            rates.setdefault(level.streams, []).append(level.rate)
        wide = {streams: max(each) / min(each) - 1 for streams, each in rates.items() if len(each) > 1}
        apart[title] = (len(wide), *max((share, streams) for streams, share in wide.items()))
    return REPEATS + bullets(
        *(
            f"{title}: {levels} levels, up to {100 * most:.1f} % apart (at {streams} streams)."
            for title, (levels, most, streams) in apart.items()
        )
    )


def page() -> str:
    return (
        comparison(H100) + same_seconds.section(H100) + repeats() + MEMORY + "".join(map(memory_row, STARTS))
    )
