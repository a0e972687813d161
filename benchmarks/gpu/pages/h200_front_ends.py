"""benchmarks/lab/h200/front-ends.md: one to four HTTP front ends of vLLM beside long loops, on H200s."""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import mean, median
from typing import Any

from benchmarks.gpu.pages import probe, recorded
from benchmarks.gpu.pages.loops import levels, littles_share, pair, rate
from benchmarks.gpu.pages.recorded import RAW, fill, number, row

FOLDER = RAW / "one-to-four"
BOTH = {"ttft": 1000.0, "tpot": 25.0}
TTFT = {"ttft": 300.0}
FRONT_ENDS = (("1", ("fp8-one",)), ("2", ("fp8-two",)), ("4", ("fp8-four", "fp8-four-third")))
CLIENTS = (
    ("Python, 8 processes", ("first-four-py8",)),
    ("Python, 2 processes", ("first-four-py2",)),
    ("compiled", ("first-four",)),
    ("compiled, sampling at temperature 1", ("first-four-warm",)),
)
CONNECTIONS = (
    ("kept, metrics read each 0.25 s", "small-four-base-{}"),
    ("kept, metrics read each 5 s", "small-four-rare-{}"),
    ("one a request, 0.25 s", "small-four-fresh-{}"),
    ("one a request, 5 s", "small-four-both-{}"),
    ("kept, two processes of Python, 5 s", "small-four-py-rare-{}"),
)


def read(name: str) -> Any:
    return recorded.read(FOLDER / f"{name}.json")


def loops(*names: str, streams: int = 0) -> list[dict[str, Any]]:
    return [level for name in names for level in levels(FOLDER / f"{name}.json", streams)]


def mean_rate(found: list[dict[str, Any]]) -> float:
    return mean(rate(level) for level in found)


def mean_ttft95(found: list[dict[str, Any]]) -> float:
    return mean(level["ttft_ms"]["p95"] for level in found)


def fp8() -> Iterator[str]:
    for count, names in FRONT_ENDS:
        for level in sorted(loops(*names), key=lambda one: int(one["streams"])):
            streams, ttft, tpot = str(level["streams"]), pair(level["ttft_ms"]), pair(level["tpot_ms"], 1)
            held = number(littles_share(level) * level["streams"])
            yield row(count, streams, number(rate(level)), ttft, tpot, held)


def fp8_figures() -> dict[str, Any]:
    more, longer = [], []
    for one, four in ((128, 128), (254, 256)):
        few, many = loops("fp8-one", streams=one), loops("fp8-four", streams=four)
        more.append(100 * (mean_rate(few) / mean_rate(many) - 1))
        longer.append(mean_ttft95(few) / mean_ttft95(many))
    every = loops(*(name for _, names in FRONT_ENDS for name in names))
    uneven = sorted(int(level["streams"]) for level in every if not level["steady"])
    before, after = (loops("fp8-one", streams=streams)[0]["tpot_ms"]["p50"] for streams in (254, 290))
    return {
        "more": f"{min(more):.0f} to {max(more):.0f}",
        "longer": f"{min(longer):.1f} and {max(longer):.1f}",
        "step": 100 * (after / before - 1),
        "unsteady": " and ".join(map(str, uneven)),
    }


def comparison() -> probe.Comparison:
    return probe.Comparison(
        raw=FOLDER,
        truths={"fp8-one": ("fp8-one",)},
        probes={},
        edges={("fp8-one", "both"): BOTH, ("fp8-one", "both-again"): BOTH},
    )


def searches() -> Iterator[str]:
    for _, measured, true in probe.edge_errors(comparison()):
        assert not isinstance(true, str)
        yield search("1", "TTFT 1 s and TPOT 25 ms", measured, number(true[0]), float(true[1]))
    (most,) = loops("fp8-four-third", streams=1024)
    assert most["ttft_ms"]["p95"] <= TTFT["ttft"]
    yield search("4", "TTFT 300 ms", read("fp8-four-ttft-300ms"), "1,024 and more", rate(most))


def search(count: str, kept: str, measured: dict[str, Any], streams: str, true: float) -> str:
    capacity = measured["capacity"]
    found = probe.cell(float(capacity["outputTokensPerSecond"]), true, probe.EDGE_GOAL_PERCENT, 0)
    both = f"{number(capacity['concurrency'])} / {streams}"
    return row(count, kept, str(capacity["boundary"]), both, found)


def clients() -> Iterator[str]:
    for name, files in CLIENTS:
        found = loops(*files, streams=256)
        rates = ", ".join(number(rate(level)) for level in found)
        yield row(name, rates, ", ".join(number(level["tpot_ms"]["p50"], 1) for level in found))


def busy() -> tuple[str, str, str]:
    """CPUs of the engine's loop, percent of the GPU, percent of that loop in launching; four front ends."""
    four = [line for line in (FOLDER / "cpu.txt").read_text().splitlines() if int(line[:10]) < 1795725590]
    core = [float(found.group(1)) for line in four if (found := re.search(r"([\d.]+) \d+ VLLM::Eng", line))]
    times = [line.split(", ") for line in (FOLDER / "clocks.txt").read_text().splitlines()]
    gpu = [int(each[2].split()[0]) for each in times if "20:35:30" < each[0][11:19] < "20:39:45"]
    launching = read("stacks")["four"]
    share = 100 * launching["forward"] / launching["samples"]
    return f"{median(core):.2f}", f"{min(gpu)} to {max(gpu)}", f"{share:.0f}"


def apart(levels: list[dict[str, Any]]) -> float:
    rates = [rate(level) for level in levels]
    return 100 * (max(rates) / min(rates) - 1)


PAIRS = (
    *(("4", "first-again", f"first-again-{streams}", streams) for streams in (16, 64, 128, 256)),
    *(("1", "first-one", f"first-one-{streams}", streams) for streams in (128, 256)),
)


def small() -> Iterator[str]:
    for count, name, probed, streams in PAIRS:
        point = read(probed)["curve"][-1]
        found = loops(name, streams=streams)
        rates = [number(rate(level)) for level in found]
        late = ", ".join(number(level["ttft_ms"]["p95"]) for level in found)
        flags = ", ".join(point.get("flags", ())) or "-"
        measured = number(float(point["outputTokensPerSecond"]))
        yield row(count, str(streams), rates[0], measured, rates[1] if rates[1:] else "-", late, flags)


def small_figures() -> dict[str, str]:
    fewer, late = [], []
    for streams in (128, 256):
        one, four = (loops(name, streams=streams) for name in ("first-one", "first-again"))
        fewer.append(100 * (1 - mean_rate(four) / mean_rate(one)))
        late.append(mean_ttft95(four) / mean_ttft95(one))
    return {
        "apart_small": f"{max(apart(loops(name, streams=streams)) for _, name, _, streams in PAIRS):.0f}",
        "fewer_small": " and ".join(f"{share:.0f}" for share in fewer),
        "late": " and ".join(f"{share:.2f}" for share in late),
    }


def connections() -> Iterator[str]:
    for name, file in CONNECTIONS:
        found = loops(file.format(1), file.format(2))
        late = ", ".join(number(level["ttft_ms"]["p95"]) for level in found)
        yield row(name, ", ".join(number(rate(level)) for level in found), late)


def page() -> str:
    core, gpu, eager = busy()
    each = [mean_rate(loops(*files, streams=256)) for _, files in CLIENTS[:3]]
    kept, fresh = (
        mean_rate(loops(*(f"small-four-{one}-{again}" for one in kinds for again in (1, 2))))
        for kinds in (("base", "rare"), ("fresh", "both"))
    )
    return fill(
        "h200_front_ends",
        fp8=fp8(),
        **fp8_figures(),
        searches=searches(),
        clients=clients(),
        apart=f"{apart(loops('first-four', streams=256)):.0f}",
        between=f"{100 * (max(each) / min(each) - 1):.0f}",
        core=core,
        gpu=gpu,
        eager=eager,
        small=small(),
        **small_figures(),
        connections=connections(),
        fewer=f"{100 * (1 - kept / fresh):.0f}",
        kept=" and ".join(number(rate(level)) for level in loops("fp8-four", streams=128)),
        fresh=number(rate(loops("fp8-four-fresh")[0])),
    )
