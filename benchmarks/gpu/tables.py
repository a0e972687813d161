"""What the cells on the H200 gave, as one page; writes docs/results/h200/matrix.md.

    python -m benchmarks.gpu.tables [--check]

Read from h200/matrix, h200/two, h200/more, h200/later, h200/batched (`tacho run`), h200/start (by hand and by
`tacho run`), h200/edges (both, by benchmarks/planner/h200/starts.json) and h200/flags (servers by hand under
``vllm bench serve``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.gpu import edges, switched
from benchmarks.gpu.figures import RAW, ROOT, measured, number, point, row, share

PAGE = ROOT / "docs/results/h200/matrix.md"
HEAD = """# The 8B matrix on one H200, and on two

Written by `python -m benchmarks.gpu.tables` from [raw data](../../../benchmarks/gpu/h200): vLLM 0.26.0,
Transformers 5.19.0, bitsandbytes 0.50.2, torch 2.11.0 (CUDA 13.0), driver 580.159.04, 16 virtual cores (32
on the host of two). Random weights in the shapes of Llama-3.1-8B, Llama-2-7B, Mistral-7B, Phi-2,
Qwen3-0.6B and Qwen3-30B-A3B with 12 of its 48 layers (`moe`): speed and memory are theirs, the text is
noise. 512 tokens in, 200 out (Transformers 64; `llama-8b-2k` and `-8k`: 2,048 and 8,192 in). One run of
each, 2026-11-21. How to repeat: [benchmarks/gpu](../../../benchmarks/gpu).
"""
CELLS = """
## By `tacho run`

Planned, started, probed and stopped by the product; probes of 20 to 25 s (Transformers 30 to 40), half of
the default, but for `more/llama-8b-default-probe`, `more/small`, `later/small-one-front-end` and `batched`,
which have the default of 45 s and, but for one, are clean. `±` is half the 95 % interval in percent as the
status has it. A flag in brackets says that the figure is provisional.

`matrix` and `two` ran first, and showed three faults of the measuring, mended before `more`:

- At its power limit of 700 W this GPU falls from 1,875 to 1,515 MHz under 256 streams of an 8B. That was
  flagged `Throttled`, so that no figure of a busy 8B was ever clean; it is how the GPU works in service,
  and is told without a flag now.
- Noise of all tokens holds half characters, which engines keep back until the other half comes: of
  `small`, `moe` and the W4A16 cells there the time to the first token is too long (`ClientBound`), or no
  text came at all. In `more` the noise is words.
- Transformers: steps of one stream took 20 ms or 45, those of many streams always the longer. torch takes
  cuDNN's attention on this GPU, which is planned anew for each length of a batch
  ([steps](../../../benchmarks/gpu/h200/steps)): 69 to 74 ms at a length met for the first time. The backend
  does without these kernels: 34 to 39 ms in the same run, so 383 instead of 162 tok/s with 16 streams. In
  service: `later`; the rows of Transformers in `matrix` and `more` are of before. What is left, steps of 26
  or 45 ms, is the host: a loop of plain Python there, with nothing else running, took 0.92 ms for the same
  work at best, 0.98 half of the time and 1.69 to 1.77 one time in twenty (1.8x, as 45 is of 26), and such
  steps are Python's. The probe says so by an interval of 118 %.

| cell | one: tok/s, TTFT, TPOT ms | most streams: tok/s, TPOT ms | said to carry | load+compile+graphs s |
| --- | --- | --- | --- | --- |
"""
FITS = """
## Predicted before the start, and what the engine then said

Predictions are those of the time; what the planner has learned of these cells since:
[planner](../planner.md#memory).

| cell | weights, GiB | KV-cache tokens | graphs, GiB |
| --- | --- | --- | --- |
"""
BESIDE = """
## `vllm bench serve` beside the probe

The same server, one after the other; the benchmark by its own count, which is the server's. It asks in waves
of equal requests (`--ignore-eos`, three rounds), the probe keeps as many running and draws the answers'
lengths within 25 %, so that prompts come between other requests' tokens.

| streams | `vllm bench serve`: tok/s, TPOT ms | the probe: tok/s (interval), TPOT ms | tok/s apart |
| --- | --- | --- | --- |
"""


def places() -> list[str]:
    """Every cell that served, in the order in which they ran."""
    found = []
    for folder in ("matrix", "two", "more", "later", "batched"):
        for cell in json.loads((RAW / folder / "summary.json").read_text())["cells"]:
            if cell["exit_code"] == 0:
                found.append(f"{folder}/{cell['cell']}")
    return found


def cells() -> Iterable[str]:
    for place in places():
        found = measured(place)
        curve, startup = found.get("curve") or [], found["startup"]
        start = " + ".join(str(startup.get(f"{phase}Seconds", 0)) for phase in ("load", "compile", "graph"))
        if not curve:
            yield row(place, "gave no figure: its answers had no text", "", "", start)
            continue
        one, most = curve[0], curve[-1]
        capacity = found["capacity"]
        flags = [flag for flag in found.get("flags") or [] if found["confidence"] == "Provisional"]
        said = f"{number(capacity['outputTokensPerSecond'])} at {capacity['concurrency']}"
        yield row(
            place,
            f"{point(one)}, {one['ttftMillisecondsP50']}, {one['tpotMillisecondsP50']}",
            f"{most['concurrency']}: {point(most)}, {most['tpotMillisecondsP50']}",
            f"{said}{' (provisional)' if flags else ''}",
            start,
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


def scaled() -> str:
    """What two GPUs gave over one, from the cells themselves."""
    one, two = (measured(f"two/llama-8b-tp{count}")["curve"] for count in (1, 2))
    pairs = [
        (first["concurrency"], float(second["outputTokensPerSecond"]) / float(first["outputTokensPerSecond"]))
        for first in one
        for second in two
        if first["concurrency"] == second["concurrency"]
    ]
    said = ", ".join(f"{ratio:.2f}x at {streams}" for streams, ratio in pairs)
    return (
        f"\nTensor parallel over two GPUs (NVLink, its multicast off) beside one of them: {said}. "
        "A replica on each GPU would be 2x, so two GPUs pay where a single stream's speed or the "
        "model's size asks for them.\n"
    )


def seconds_of_start(place: str) -> int:
    """Of the engine, to its first answer on /health."""
    startup = measured(place)["startup"]
    return sum(int(startup[f"{phase}Seconds"]) for phase in ("load", "compile", "graph"))


def starts() -> str:
    told = []
    for name, cold, warm in (
        ("8B", "matrix/llama-8b-bf16-cold", "matrix/llama-8b-bf16-warm"),
        ("0.6B", "matrix/small", "matrix/small-one-front-end"),
        (
            "8B with Python's own compiled code kept too",
            "later/llama-8b-bf16-cold",
            "later/llama-8b-bf16-warm",
        ),
    ):
        first, second = seconds_of_start(cold), seconds_of_start(warm)
        told.append(f"{name} {first} s, then {second} s ({second / first:.2f})")
    summary = json.loads((RAW / "matrix/summary.json").read_text())
    warm_cell = next(cell for cell in summary["cells"] if cell["cell"] == "llama-8b-bf16-warm")
    rest = warm_cell["wall_seconds"] - warm_cell["startup"]["totalSeconds"]
    without = seconds_of_start("later/llama-8b-2k")
    return (
        f"\nThe second start with kept compiled code over the first: {'; '.join(told)}. vLLM imports itself "
        "three times in a row, 18 s each where the modules have no bytecode (`later/imports.log`): as in an "
        "image built without, whose container cannot be written. tacho keeps that as well since, where the "
        f"image has none; on the host before, `later/llama-8b-2k` took {without} s with all but that kept. "
        "The first start of a host reads everything from its disk. Everything of `tacho run` outside of the "
        "engine's start and the probe (its start, inspecting, planning, draining, stopping) took "
        f"{rest:.1f} s.\n"
    )


def beside() -> Iterable[str]:
    told = json.loads((RAW / "flags/beside.json").read_text())
    curve = {level["concurrency"]: level for level in told["probe"]["measured"]["curve"]}
    for level in told["levels"]:
        bench, own = level["bench"], curve.get(level["streams"])
        rate = bench["output_throughput"]
        first = f"{number(rate, 1)}, {bench['median_tpot_ms']:.2f}"
        if own is None:
            yield row(str(level["streams"]), first, "not tried", "")
            continue
        mine = float(own["outputTokensPerSecond"])
        yield row(
            str(level["streams"]), first, f"{point(own)}, {own['tpotMillisecondsP50']}", share(mine, rate)
        )


def mixed() -> str:
    """The benchmark with lengths that differ, twice on two hosts, and the probe after the second."""
    first = json.loads((RAW / "later/beside-256.json").read_text())["levels"]
    told = json.loads((RAW / "flags/beside-mixed.json").read_text())
    before = ", ".join(f"{bench_rate(level)} at {level['streams']}" for level in first)
    said = ", ".join(
        f"{bench_rate(level)} at {level['streams']} (TPOT {level['bench']['median_tpot_ms']:.1f} ms)"
        for level in told["levels"]
    )
    found = told["probe"]["measured"]
    tried = ", ".join(
        f"{point(level)} at {level['concurrency']} (TPOT {level['tpotMillisecondsP50']} ms)"
        for level in found["curve"]
    )
    most, bench = found["curve"][-1], told["levels"][-1]
    apart = share(float(most["outputTokensPerSecond"]), bench["bench"]["output_throughput"])
    return (
        "\nWith 256 streams its waves gave 9,839 tok/s (below), the probe of such a server 8,700 ± 1.8 % "
        "(`more/llama-8b-default-probe`). With lengths from half to one and a half times the mean, so that "
        f"streams do not keep step, and four rounds, its own figure is {said}, with the beginning and the "
        f"end, where fewer run; on another host {before} (`later/beside-256.json`). The probe of the same "
        f"server then, {found['state'].lower()} and {found['confidence'].lower()}: {tried}; with 256 streams "
        f"{apart} apart, within its interval (`flags/beside-mixed.json`). Users who do not come in waves get "
        "what the probe says.\n"
    )


def bench_rate(level: dict[str, Any]) -> str:
    return number(level["bench"]["output_throughput"])


def added() -> str:
    """What `tacho run` takes beside the engine."""
    found = json.loads((RAW / "start/overhead.json").read_text())
    rounds = found["rounds"]
    parts = ", ".join(
        f"{each['before_runtime']:.2f} + {each['runtime_to_engine']:.2f} + {each['after_healthy']:.2f} s"
        for each in rounds
    )
    hand = " and ".join(f"{each['by_hand']:.1f}" for each in rounds)
    engine = " and ".join(f"{each['engine']:.1f}" for each in rounds)
    return (
        "\nWhat tacho adds to a start (0.6B, the same command and environment by hand and through `tacho "
        "run`, one after the other, nothing measured; `python -m benchmarks.gpu.overhead`): to inspect and "
        "plan, from the runtime to the engine's process, and from its first healthy answer to readiness "
        f"{parts} in two rounds, so 1.6 s, of which a pod has {found['added_in_a_pod_seconds']:.2f}. The "
        f"engine itself took {hand} s by hand and {engine} s through tacho: its own scatter is larger.\n"
    )


def page() -> str:
    parts = [HEAD, CELLS, *cells(), scaled(), starts(), added(), FITS, *fits(), *edges.section()]
    parts += [BESIDE, *beside(), mixed()]
    return "".join([*parts, *switched.section()])


def main(arguments: Sequence[str]) -> int:
    if "--check" in arguments:
        if PAGE.exists() and PAGE.read_text() == page():
            return 0
        print(f"{PAGE.relative_to(ROOT)} has drifted: run python -m benchmarks.gpu.tables")
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
