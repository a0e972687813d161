"""The part of matrix.md that sets switches of vLLM beside its own defaults, from h200/flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages.held import bench_holds
from benchmarks.gpu.pages.recorded import fill, number, read, row, times

SECOND_HOST = ("small-one-front-end-again", "small-stream-interval-4", "small-no-prefix-caching")
STREAMS = (64, 256)
SAME_ANSWERS = ("8b-tacho", "8b-batch-2048", "8b-batch-16384", "8b-o1", "8b-graphs-decode-only")


def servers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read("flags/flags.json")
    return found


def loads(server: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """By streams, those that hold."""
    return {level["streams"]: level["bench"] for level in server["levels"] if bench_holds(level)}


def figures_of(server: dict[str, Any], streams: int) -> str:
    if streams not in server["streams"]:
        return ""
    bench = loads(server).get(streams)
    if bench is None:
        return "-"
    rate, first, each = (bench[name] for name in ("output_throughput", "median_ttft_ms", "median_tpot_ms"))
    return f"{number(rate)}, {number(first)}, {number(each, 2)}"


def extra(server: dict[str, Any]) -> str:
    return " ".join(word for word in server["arguments"] if word not in ("--max-model-len", "4096"))


def switches() -> Iterable[str]:
    """Of the 8B."""
    names = {"8b-defaults": "nothing", "8b-tacho": "as tacho: `--max-model-len 4096`"}
    for each in servers():
        if each["name"].startswith("8b-") and 512 not in each["streams"]:
            name = names.get(each["name"], f"as tacho, `{extra(each)}`")
            yield row(name, str(each["start_seconds"]), *(figures_of(each, count) for count in STREAMS))


def fronts() -> Iterable[str]:
    """Of the 0.6B, whose limit is the front end."""
    for each in servers():
        if each["name"].startswith("small-"):
            words = extra(each).replace("--load-format dummy", "").strip()
            name = f"`{words}`" if words else "nothing more"
            host = "second" if each["name"] in SECOND_HOST else "first"
            yield row(name, host, str(each["start_seconds"]), *(figures_of(each, count) for count in STREAMS))


def figure(name: str, streams: int, what: str = "output_throughput") -> float:
    """Of a server's load; KeyError where it does not hold."""
    server = next(each for each in servers() if each["name"] == name)
    return float(loads(server)[streams][what])


def ratio(name: str, base: str, streams: int, what: str = "output_throughput") -> str:
    return times(figure(name, streams, what), figure(base, streams, what))


def section() -> str:
    base = {n: figure("8b-tacho", n) for n in STREAMS}
    gains = [
        bench["output_throughput"] / base[n] - 1
        for server in servers()
        if server["name"] in SAME_ANSWERS
        for n, bench in loads(server).items()
    ]
    one, two, four = "small-one-front-end", "small-two-front-ends", "small-four-front-ends"
    return fill(
        "switches",
        switches=switches(),
        fronts=fronts(),
        apart=100 * max(abs(base[n] / figure("8b-defaults", n) - 1) for n in STREAMS),
        gain=100 * max(gains),
        cache=ratio("8b-kv-fp8", "8b-tacho", 256),
        eager=ratio("8b-eager", "8b-tacho", 64),
        more=number(figure("8b-512-sequences", 512)),
        four=ratio(four, one, 256),
        two=ratio(two, one, 256),
        first=ratio(four, one, 256, "median_ttft_ms"),
        fewer=ratio(four, one, 64),
    )
