"""docs/results/h200/front-ends.md: one to four HTTP front ends of vLLM beside long loops, on H200s."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.gpu.pages import probe
from benchmarks.gpu.pages.loops import littles_share
from benchmarks.gpu.pages.recorded import RAW, number, row

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
HEAD = """# HTTP front ends on H200s

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200/one-to-four),
where the commands are. vLLM 0.26.0 on three machines of one H200 each, with 16 virtual cores, 2026-11-26.
512 tokens in and 200 out. A loop's window is 10 to 24 s. Its client is one compiled process, unless said.

## Llama-3.1-8B in FP8

| front ends | streams | tok/s | TTFT p50, p95 ms | TPOT p50, p95 ms | streams by Little's law |
| --- | --- | --- | --- | --- | --- |
"""
FP8_END = """
With one front end 128 and 256 streams have {more} % more tokens a second than with four, and a TTFT p95
that is {longer} times as long. Requests that wait in one front end reach the engine in groups. So fewer
steps have a prompt, and those are slow. A TPOT of 25 ms breaks between 254 and 290 streams, where a step
takes {step:.0f} % longer. The loops of {unsteady} streams are off by more than 3 % by Little's law: their
rates are no truth of 3 %.

## Searches beside loops

| front ends | 95 of 100 requests keep | probe ends at | streams: probe / truth | tok/s: probe / truth |
| --- | --- | --- | --- | --- |
"""
SEARCHES_END = """
With one front end TTFT is [no steady figure](goals.md#a-ttft-under-load-is-no-steady-figure): five
searches for 300 ms ended at 159 to 288 streams. **With four front ends all 1,024 streams of the engine
keep 300 ms**, by the probe and by the loop. So where an SLO limits TTFT, more front ends carry more.
Where it limits TPOT, or nothing, one carries more of this model.

## Qwen3-0.6B: which client

256 streams and four front ends, on the first machine, within four minutes.

| client | tok/s | TPOT p50, ms |
| --- | --- | --- |
"""
CLIENTS_END = """
The clients do not matter: two loops of one client differ by {apart} %, clients by {between} %. What limits is
vLLM's own loop, which used {core} of a CPU in the median, while the GPU was busy for {gpu} % of its time. Its
steps with a prompt have no CUDA graph: {eager} % of the loop's time went into launching the model's kernels.
Such a loop is as fast as its host: on [another](goals.md#qwen3-06b) it had 15,775 tok/s. A level of the probe
stands between two loops:

| front ends | streams | loop, tok/s | probe, tok/s | loop, tok/s | loops' TTFT p95, ms | the probe says |
| --- | --- | --- | --- | --- | --- | --- |
"""
SMALL_END = """
The loops of one level differ by up to {apart} %, so they are no truth of 3 %. With one front end the probe
says `FrontendBound`: with 256 streams the engine had 223 requests. In loops of 128 and 256 streams four front
ends have {fewer} % fewer tokens a second than one, and {late} of its TTFT p95. On
[another host](matrix.md#switches-against-vllms-own-defaults) they had 82 % more tokens.

## Qwen3-0.6B: connections

64 streams and four front ends, on the second machine, two rounds.

| connections | tok/s | TTFT p95, ms |
| --- | --- | --- |
"""
END = """
A new connection for each request is what `tacho probe` has. With many front ends a connection that is
kept stays with its front end, and loops have {fewer} % fewer tokens a second. With 256 streams there is
no difference. Nor is there with the 8B, at 128 streams: {kept} tok/s, and {fresh} with new connections.
"""


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def loops(*names: str, streams: int = 0) -> list[dict[str, Any]]:
    return [level for name in names for level in read(name)["levels"] if streams in (0, level["streams"])]


def rate(level: dict[str, Any]) -> float:
    return float(level["output_tokens_per_second"]["server"])


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def pair(figures: dict[str, float], digits: int = 0) -> str:
    return f"{number(figures['p50'], digits)}, {number(figures['p95'], digits)}"


def fp8() -> Iterator[str]:
    for count, names in FRONT_ENDS:
        for level in sorted(loops(*names), key=lambda one: int(one["streams"])):
            streams, ttft, tpot = str(level["streams"]), pair(level["ttft_ms"]), pair(level["tpot_ms"], 1)
            held = number(littles_share(level) * level["streams"])
            yield row(count, streams, number(rate(level)), ttft, tpot, held)


def fp8_end() -> str:
    near = [(("fp8-one", 128), ("fp8-four", 128)), (("fp8-one", 254), ("fp8-four", 256))]
    more, longer = [], []
    for one, four in near:
        few, many = (loops(name, streams=streams) for name, streams in (one, four))
        more.append(100 * (mean([rate(level) for level in few]) / mean([rate(level) for level in many]) - 1))
        late = [mean([level["ttft_ms"]["p95"] for level in found]) for found in (few, many)]
        longer.append(late[0] / late[1])
    every = loops(*(name for _, names in FRONT_ENDS for name in names))
    uneven = sorted((level for level in every if not level["steady"]), key=lambda one: int(one["streams"]))
    before, after = (loops("fp8-one", streams=streams)[0]["tpot_ms"]["p50"] for streams in (254, 290))
    return FP8_END.format(
        more=f"{min(more):.0f} to {max(more):.0f}",
        longer=f"{min(longer):.1f} and {max(longer):.1f}",
        step=100 * (after / before - 1),
        unsteady=" and ".join(str(level["streams"]) for level in uneven),
    )


def comparison() -> probe.Comparison:
    return probe.Comparison(
        raw=FOLDER,
        truths={"fp8-one": ("fp8-one",)},
        probes={},
        edges={("fp8-one", "both"): BOTH, ("fp8-one", "both-again"): BOTH},
        head="",
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
    launching = json.loads((FOLDER / "stacks.json").read_text())["four"]
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


def small_end() -> str:
    fewer, late = [], []
    for streams in (128, 256):
        one, four = (loops(name, streams=streams) for name in ("first-one", "first-again"))
        fewer.append(100 * (1 - mean([rate(level) for level in four]) / mean([rate(level) for level in one])))
        ttfts = [mean([level["ttft_ms"]["p95"] for level in found]) for found in (four, one)]
        late.append(ttfts[0] / ttfts[1])
    return SMALL_END.format(
        apart=f"{max(apart(loops(name, streams=streams)) for _, name, _, streams in PAIRS):.0f}",
        fewer=" and ".join(f"{share:.0f}" for share in fewer),
        late=" and ".join(f"{share:.2f}" for share in late),
    )


def connections() -> Iterator[str]:
    for name, file in CONNECTIONS:
        found = loops(file.format(1), file.format(2))
        late = ", ".join(number(level["ttft_ms"]["p95"]) for level in found)
        yield row(name, ", ".join(number(rate(level)) for level in found), late)


def page() -> str:
    core, gpu, eager = busy()
    alike = loops("first-four", streams=256)
    each = [mean([rate(level) for level in loops(*files, streams=256)]) for _, files in CLIENTS[:3]]
    kept, fresh = (
        mean(
            [
                rate(level)
                for level in loops(*(f"small-four-{one}-{again}" for one in kinds for again in (1, 2)))
            ]
        )
        for kinds in (("base", "rare"), ("fresh", "both"))
    )
    text = (
        *(HEAD, *fp8(), fp8_end(), *searches()),
        *(SEARCHES_END, *clients()),
        CLIENTS_END.format(
            apart=f"{apart(alike):.0f}",
            between=f"{100 * (max(each) / min(each) - 1):.0f}",
            core=core,
            gpu=gpu,
            eager=eager,
        ),
        *small(),
        small_end(),
        *connections(),
        END.format(
            fewer=f"{100 * (1 - kept / fresh):.0f}",
            kept=" and ".join(number(rate(level)) for level in loops("fp8-four", streams=128)),
            fresh=number(rate(loops("fp8-four-fresh")[0])),
        ),
    )
    return "".join(text)
