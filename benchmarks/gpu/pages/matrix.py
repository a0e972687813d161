"""docs/results/h200/matrix.md: cells by `tacho run` on one H200 and on two, and servers by hand.

Read from h200/matrix, two, more, later and batched (`tacho run`), h200/start (by hand and by `tacho run`),
h200/edges (both, by benchmarks/planner/h200/starts.json), h200/truth and h200/flags (servers by hand).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import edges, held, switches
from benchmarks.gpu.pages.loops import figures, littles_share
from benchmarks.gpu.pages.recorded import (
    RAW,
    bullets,
    measured,
    number,
    paragraph,
    places,
    read,
    row,
    share,
    times,
)

HEAD = """# The 8B matrix on one H200, and on two

Written by `python -m benchmarks.gpu.pages` from [raw data](../../../benchmarks/gpu/h200). Software: vLLM
0.26.0, Transformers 5.19.0, bitsandbytes 0.50.2, torch 2.11.0 (CUDA 13.0), driver 580.159.04. The host
has 16 virtual cores, the host of two GPUs 32. Models are random weights in the shapes of
Llama-3.1-8B, Llama-2-7B, Mistral-7B, Phi-2 and Qwen3-0.6B; `moe` is Qwen3-30B-A3B with 12 of its 48 layers.
Speed and
memory are theirs, the text is noise. Requests have 512 tokens in and 200 out (`llama-8b-2k` and `-8k`:
2,048 and 8,192 in). One run of each, 2026-11-21 and 22.
"""
WITHDRAWN = """
**Withdrawn.** {withdrawn} of {levels} recorded levels are not shown: they do not hold against their own
latencies, or cannot be shown to. [Outstanding](outstanding.md) has each with its reason, and the command
that measures it again.

"""
ONE = """## One stream, by `tacho run`

Planned, started, measured and stopped by the product. `±` is half the 95 % interval.

| cell | tok/s | TTFT ms | TPOT ms | requests |
| --- | --- | --- | --- | --- |
"""
LOOPS = """
## Under load: long steady loops

Closed loops against vLLM by hand, by `benchmarks.gpu.truth`, with the stamps of every request. Tokens a
second are the server's counter. `SLO` is a TTFT of 1 s and a TPOT of 25 ms. `Little` is tokens a second x
sum(latencies) / sum(tokens), over the streams; 3 % are allowed.

| server | streams | tok/s | TTFT p50, p95 ms | TPOT p50, p95 ms | requests | SLO % | Little |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
UNDER_LOAD = """
Of the product's own levels of an 8B under load, [pods](README.md#the-8b-on-a-second-host) have those that
hold. By `tacho run` these hold, of `more/small` (0.6B, one front end):

| streams | tok/s | TTFT p50 ms | TPOT p50 ms | requests |
| --- | --- | --- | --- | --- |
"""
FITS = """
## Predicted before the start, and what the engine then said

Predictions are those of the time. [Planner](../planner.md#memory) has what it has learned since.

| cell | weights, GiB | KV-cache tokens | graphs, GiB |
| --- | --- | --- | --- |
"""
SERVERS = ("8b-bf16", "8b-bf16-again", "8b-fp8", "0.6b-one-front-end", "0.6b-four-front-ends")


def levels() -> list[tuple[str, dict[str, Any], list[str]]]:
    """(cell, level, doubts) of every recorded level by `tacho run`."""
    found = []
    for place in places():
        measurement = measured(place)
        for level in measurement.get("curve") or ():
            found.append((place, level, held.doubts(measurement, level)))
    return found


def one_stream() -> Iterable[str]:
    for place, level, doubts in levels():
        if level["concurrency"] == 1 and not doubts:
            yield row(place, *_rate(level))


def under_load() -> Iterable[str]:
    for _place, level, doubts in levels():
        if level["concurrency"] > 1 and not doubts:
            yield row(str(level["concurrency"]), *_rate(level))


def _rate(level: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{number(level['outputTokensPerSecond'])} ± {number(level['ciPercent'], 1)} %",
        level["ttftMillisecondsP50"],
        level["tpotMillisecondsP50"],
        str(level["requests"]),
    )


def loops() -> Iterable[str]:
    for server in SERVERS:
        for level in sorted(read(f"truth/{server}.json")["levels"], key=lambda each: each["streams"]):
            attained = f"{level['slo_attainment_percent']:.1f}"
            yield row(server, *figures(level), attained, f"{littles_share(level):.3f}")


def loop_rate(server: str, streams: int) -> float:
    found = (level for level in read(f"truth/{server}.json")["levels"] if level["streams"] == streams)
    return float(next(found)["output_tokens_per_second"]["server"])


def front_ends(log: str) -> int:
    """How many HTTP front ends a server of vLLM had, by its log."""
    return len(set(re.findall(r"ApiServer_(\d+)", (RAW / log).read_text()))) or 1


def learned_of_loops() -> str:
    apart = {n: loop_rate("8b-bf16-again", n) / loop_rate("8b-bf16", n) - 1 for n in (64, 204, 230, 256)}
    rest = max(abs(each) for streams, each in apart.items() if streams > 64)
    small = ("0.6b-one-front-end", "0.6b-four-front-ends")
    assert {front_ends(f"truth/{server}.log") for server in small} == {1}
    low, high = sorted(loop_rate(server, 256) for server in small)
    fp8 = times(loop_rate("8b-fp8", 256), loop_rate("8b-bf16", 256))
    return "\n" + bullets(
        f"**A second server differs.** At 64 streams it made {-100 * apart[64]:.0f} % fewer tokens. From 204 "
        f"on the two agree within {100 * rest:.1f} %.",
        f"**FP8** gave {fp8} at 256 streams.",
        f"**`0.6b-four-front-ends` had one**, as its log shows: the program that started it ignores the "
        f"switch. "
        f"The two 0.6B servers are alike, and made {number(low)} and {number(high)} tok/s at 256. The "
        f"client's "
        "eight processes share their 16 cores. Long loops of four front ends are outstanding; "
        "[a lighter client](#switches-against-vllms-own-defaults) saw four.",
    )


def fits() -> Iterable[str]:
    for place in places():
        memory = measured(place).get("memory") or {}
        if "actualWeightsBytes" not in memory:
            continue
        columns = []
        for what, unit in (("WeightsBytes", 2**30), ("KVCacheTokens", 1), ("GraphBytes", 2**30)):
            predicted, actual = memory.get(f"predicted{what}"), memory.get(f"actual{what}")
            digits = 0 if unit == 1 else 2
            columns.append(
                f"{number(predicted / unit, digits)} / {number(actual / unit, digits)} "
                f"({share(predicted, actual)})"
                if predicted and actual
                else "-"
            )
        yield row(place, *columns)


def single(place: str) -> float:
    """Tokens a second of a cell's one stream; KeyError where they do not hold."""
    measurement = measured(place)
    level = measurement["curve"][0]
    if level["concurrency"] != 1 or held.doubts(measurement, level):
        raise KeyError(f"one stream of {place} does not hold")
    return float(level["outputTokensPerSecond"])


def compared() -> str:
    """Of one stream: two GPUs over one, and quantizations over 16 bits."""
    two = times(single("two/llama-8b-tp2"), single("two/llama-8b-tp1"))
    base = single("more/llama-8b-default-probe")
    names = {
        "AWQ": "more/llama-8b-awq",
        "GPTQ": "more/llama-8b-gptq",
        "compressed-tensors W4A16": "more/llama-8b-w4a16",
        "W8A8": "more/llama-8b-w8a8",
        "FP8": "matrix/llama-8b-fp8",
        "bitsandbytes NF4": "matrix/llama-8b-nf4",
    }
    ratios = ", ".join(f"{name} {times(single(place), base)}" for name, place in names.items())
    return "\n" + bullets(
        f"**Two GPUs** (tensor parallel, NVLink, its multicast off) give one stream {two} of one GPU.",
        f"**Quantizations** over 16 bits: {ratios}.",
    )


def seconds_of_start(place: str) -> int:
    """Of the engine, to its first answer on /health."""
    startup = measured(place)["startup"]
    return sum(int(startup[f"{phase}Seconds"]) for phase in ("load", "compile", "graph"))


STARTS = """
## Starts

| cell | first start | with kept compiled code | share |
| --- | --- | --- | --- |
"""


def starts() -> Iterable[str]:
    for name, cold, warm in (
        ("8B", "matrix/llama-8b-bf16-cold", "matrix/llama-8b-bf16-warm"),
        ("0.6B", "matrix/small", "matrix/small-one-front-end"),
        ("8B, Python's compiled code kept too", "later/llama-8b-bf16-cold", "later/llama-8b-bf16-warm"),
    ):
        first, second = seconds_of_start(cold), seconds_of_start(warm)
        yield row(name, f"{first} s", f"{second} s", f"{second / first:.2f}")


def around_starts() -> str:
    """What `tacho run` takes beside the engine, and what imports take."""
    summary = read("matrix/summary.json")
    warm = next(cell for cell in summary["cells"] if cell["cell"] == "llama-8b-bf16-warm")
    rest = warm["wall_seconds"] - warm["startup"]["totalSeconds"]
    imports = [
        float(found) for found in re.findall(r"^import (\S+)$", (RAW / "later/imports.log").read_text(), re.M)
    ]
    found = read("start/overhead.json")
    rounds = found["rounds"]
    hand, engine = (" and ".join(f"{each[name]:.1f}" for each in rounds) for name in ("by_hand", "engine"))
    return "\n" + bullets(
        f"**Imports.** One import of vLLM took {min(imports):.1f} to {max(imports):.1f} s without bytecode "
        "(`later/imports.log`).",
        f"**Around the engine**, `tacho run` took {rest:.1f} s to start, inspect, plan, drain and stop.",
        f"**Added by tacho** to a start of the 0.6B: {found['added_seconds']:.2f} s, of which a pod has "
        f"{found['added_in_a_pod_seconds']:.2f} s (`python -m benchmarks.gpu.overhead`). The engine took "
        f"{hand} s "
        f"by hand, {engine} s through tacho: its own starts differ by more.",
    )


BENCH_HEADING = """
## `vllm bench serve` beside the probe

"""


def bench_section() -> str:
    recorded = read("flags/beside.json")
    bench = next(level for level in recorded["levels"] if level["streams"] == 1)["bench"]["output_throughput"]
    found = recorded["probe"]["measured"]
    own = next(level for level in found["curve"] if level["concurrency"] == 1)
    if held.doubts(found, own):
        raise KeyError("one stream beside the benchmark does not hold")
    mine = float(own["outputTokensPerSecond"])
    return paragraph(
        f"One stream on the same server, one after the other: {number(bench, 1)} tok/s by the benchmark, "
        f"{number(mine, 1)} by the probe ({share(mine, bench)}). Under load this probe's "
        "levels do not hold; [a later probe](probe.md) stands beside long loops. The benchmark's levels with "
        "mixed lengths count the ends of the run, where fewer streams are busy."
    )


STEPS = """
## Steps of Transformers

"""


def steps() -> str:
    """What cuDNN's attention costs where a length is met first, of one process each."""

    def first_met(log: str) -> list[dict[str, Any]]:
        lines = (RAW / "steps" / log).read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")][:2]

    ours, cudnn = first_met("mended.log"), first_met("cudnn.log")
    gaps = [" and ".join(f"{each['p50']:.1f}" for each in found) for found in (ours, cudnn)]
    return paragraph(
        "cuDNN's attention is planned anew for each length of a batch, so the backend does without it. A "
        "step at "
        f"a length met first took {gaps[0]} ms at 1 and 16 streams (median). With cuDNN it took {gaps[1]} ms "
        "([steps](../../../benchmarks/gpu/h200/steps)). No rate of Transformers holds: its steps vary "
        "with the "
        "host."
    )


def page() -> str:
    every = levels()
    withdrawn = sum(bool(doubts) for _, _, doubts in every)
    parts = [HEAD, WITHDRAWN.format(withdrawn=withdrawn, levels=len(every))]
    parts += [ONE, *one_stream(), compared(), LOOPS, *loops(), learned_of_loops(), UNDER_LOAD, *under_load()]
    parts += [STARTS, *starts(), around_starts(), FITS, *fits(), *edges.section()]
    parts += [BENCH_HEADING, bench_section(), STEPS, steps(), *switches.section()]
    return "".join(parts)
