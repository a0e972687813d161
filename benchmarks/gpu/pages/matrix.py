"""benchmarks/lab/h200/matrix.md: cells by `tacho run` on one H200 and on two, and servers by hand.

Read from h200/matrix, two, more, later and batched (`tacho run`), h200/start (by hand and by `tacho run`),
h200/edges (both, by benchmarks/planner/h200/starts.json), h200/truth and h200/flags (servers by hand).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages import held, pods, switches
from benchmarks.gpu.pages.loops import figures, levels as recorded_loops, littles_share, rate
from benchmarks.gpu.pages.recorded import (
    RAW,
    bullets,
    fill,
    measured,
    number,
    places,
    read,
    row,
    share,
    times,
)
from benchmarks.planner import starts
from benchmarks.planner.cases import account, called_fitting, predict
from tacho_contract.units import GIB

PARTS = ("weights GiB", "KV-cache tokens", "CUDA graphs GiB")
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
        for level in sorted(recorded_loops(f"truth/{server}.json"), key=lambda each: each["streams"]):
            attained = f"{level['slo_attainment_percent']:.1f}"
            yield row(server, *figures(level), attained, f"{littles_share(level):.3f}")


def loop_rate(server: str, streams: int) -> float:
    return rate(recorded_loops(f"truth/{server}.json", streams)[0])


def front_ends(log: str) -> int:
    """How many HTTP front ends a server of vLLM had, by its log."""
    return len(set(re.findall(r"ApiServer_(\d+)", (RAW / log).read_text()))) or 1


def of_loops() -> dict[str, Any]:
    apart = {n: loop_rate("8b-bf16-again", n) / loop_rate("8b-bf16", n) - 1 for n in (64, 204, 230, 256)}
    small = ("0.6b-one-front-end", "0.6b-four-front-ends")
    assert {front_ends(f"truth/{server}.log") for server in small} == {1}
    low, high = sorted(loop_rate(server, 256) for server in small)
    return {
        "apart": -100 * apart[64],
        "rest": 100 * max(abs(each) for streams, each in apart.items() if streams > 64),
        "fp8": times(loop_rate("8b-fp8", 256), loop_rate("8b-bf16", 256)),
        "low": number(low),
        "high": number(high),
    }


def fits() -> Iterable[str]:
    for place in places():
        found = measured(place).get("memory") or {}
        if "actualWeightsBytes" in found:
            pairs = pods.memory(found, of_weights=2)
            yield row(place, *(" / ".join(pairs.get(part, "-")) for part in PARTS))


def single(place: str) -> float:
    """Tokens a second of a cell's one stream; KeyError where they do not hold."""
    measurement = measured(place)
    level = measurement["curve"][0]
    if level["concurrency"] != 1 or held.doubts(measurement, level):
        raise KeyError(f"one stream of {place} does not hold")
    return float(level["outputTokensPerSecond"])


def quantizations() -> str:
    """Of one stream, over 16 bits."""
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
    return bullets(f"**Quantizations** over 16 bits: {ratios}.")


def seconds_of_start(place: str) -> int:
    """Of the engine, to its first answer on /health."""
    startup = measured(place)["startup"]
    return sum(int(startup[f"{phase}Seconds"]) for phase in ("load", "compile", "graph"))


def start_rows() -> Iterable[str]:
    for name, cold, warm in (
        ("8B", "matrix/llama-8b-bf16-cold", "matrix/llama-8b-bf16-warm"),
        ("0.6B", "matrix/small", "matrix/small-one-front-end"),
        ("8B, Python's compiled code kept too", "later/llama-8b-bf16-cold", "later/llama-8b-bf16-warm"),
    ):
        first, second = seconds_of_start(cold), seconds_of_start(warm)
        yield row(name, f"{first} s", f"{second} s", f"{second / first:.2f}")


def of_starts() -> dict[str, Any]:
    """What `tacho run` takes beside the engine, and what imports take."""
    summary = read("matrix/summary.json")
    warm = next(cell for cell in summary["cells"] if cell["cell"] == "llama-8b-bf16-warm")
    log = (RAW / "later/imports.log").read_text()
    imports = [float(found) for found in re.findall(r"^import (\S+)$", log, re.M)]
    found = read("start/overhead.json")
    hand, engine = (
        " and ".join(f"{each[name]:.1f}" for each in found["rounds"]) for name in ("by_hand", "engine")
    )
    return {
        "import_least": min(imports),
        "import_most": max(imports),
        "around": warm["wall_seconds"] - warm["startup"]["totalSeconds"],
        "added": found["added_seconds"],
        "added_in_a_pod": found["added_in_a_pod_seconds"],
        "by_hand": hand,
        "engine": engine,
    }


def edges() -> tuple[list[str], str]:
    """Rows of starts at the edge of what fits, and those that ended otherwise than planned then."""
    found = {
        start.name.removeprefix("edges/"): start
        for start in starts.starts()
        if start.name.startswith("edges/")
    }
    rows = []
    for name, start in found.items():
        plan = predict(start.case)
        rows.append(
            row(
                name,
                number(plan.budget_bytes / GIB, 2),
                number(account(start.case).request_bytes / GIB, 2),
                number(plan.available_bytes / GIB, 2),
                number(start.row["actual"]["kvGiB"], 2),
                "yes" if start.row["started"] else "no",
                "fits" if called_fitting(start.case) else "does not",
            )
        )
    exceptions = (
        f"`{name}`" for name, start in found.items() if start.row["started"] == name.endswith("-short")
    )
    return rows, " and ".join(exceptions)


def of_bench() -> dict[str, Any]:
    """One stream by `vllm bench serve` beside the probe."""
    recorded = read("flags/beside.json")
    bench = next(level for level in recorded["levels"] if level["streams"] == 1)["bench"]["output_throughput"]
    found = recorded["probe"]["measured"]
    own = next(level for level in found["curve"] if level["concurrency"] == 1)
    if held.doubts(found, own):
        raise KeyError("one stream beside the benchmark does not hold")
    mine = float(own["outputTokensPerSecond"])
    return {"bench": bench, "probe": mine, "bench_error": share(mine, bench)}


def step_milliseconds(log: str) -> str:
    """Of Transformers at a length met first, at 1 and 16 streams, in one process."""
    lines = (RAW / "steps" / log).read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")][:2]
    return " and ".join(f"{each['p50']:.1f}" for each in found)


def page() -> str:
    every = levels()
    at_the_edge, exceptions = edges()
    return fill(
        "matrix",
        withdrawn=sum(bool(doubts) for _, _, doubts in every),
        levels=len(every),
        one_stream=one_stream(),
        two=times(single("two/llama-8b-tp2"), single("two/llama-8b-tp1")),
        quantizations=quantizations(),
        loops=loops(),
        **of_loops(),
        under_load=under_load(),
        starts=start_rows(),
        **of_starts(),
        fits=fits(),
        edges=at_the_edge,
        exceptions=exceptions,
        **of_bench(),
        own_step=step_milliseconds("mended.log"),
        cudnn_step=step_milliseconds("cudnn.log"),
        switches=switches.section(),
    )
