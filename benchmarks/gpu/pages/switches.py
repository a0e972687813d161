"""The part of matrix.md that sets switches of vLLM beside its own defaults, from h200/flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.pages.held import bench_holds
from benchmarks.gpu.pages.recorded import bullets, number, read, row, times

HEAD = """
## Switches against vLLM's own defaults

By hand: one server each, `vllm bench serve` in closed loops, equal requests in waves, three rounds. A
load stands here where its rate x mean latency is within 3 % of its streams; `-` is one that is not. `as
tacho` is what the plan renders for 4,096 tokens of context. First, the 8B in bf16:

| started with | seconds to /health | 64 streams: tok/s, TTFT p50 ms, TPOT p50 ms | 256 streams |
| --- | --- | --- | --- |
"""
SECOND_HOST = ("small-one-front-end-again", "small-stream-interval-4", "small-no-prefix-caching")
FRONTS = """
The 0.6B in the same loops, its weights made up at the start (`--load-format dummy`). The first start on
each of two hosts is cold:

| as tacho, and | host | seconds to /health | 64 streams: tok/s, TTFT p50 ms, TPOT p50 ms | 256 streams |
| --- | --- | --- | --- | --- |
"""
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


def learned() -> str:
    apart = max(abs(figure("8b-tacho", n) / figure("8b-defaults", n) - 1) for n in STREAMS)
    held = {each["name"]: loads(each) for each in servers()}
    base = {n: figure("8b-tacho", n) for n in STREAMS}
    gains = [
        bench["output_throughput"] / base[n] - 1 for name in SAME_ANSWERS for n, bench in held[name].items()
    ]
    one, two, four = "small-one-front-end", "small-two-front-ends", "small-four-front-ends"
    return "\nWhat follows for the planner:\n\n" + bullets(
        f"**The defaults stay.** What tacho renders is within {100 * apart:.1f} % of them. No switch that "
        f"keeps the "
        f"answers the same made this 8B faster by more than {100 * max(gains):.1f} %.",
        f"**An FP8 cache** gives {ratio('8b-kv-fp8', '8b-tacho', 256)} at 256 streams and twice the "
        f"tokens of "
        "context. It changes answers, so users ask for it (`quantization.kvCacheDtype: fp8`).",
        f"**Eager mode** gives {ratio('8b-eager', '8b-tacho', 64)} at 64 streams. A start with kept "
        f"compiled code "
        "loses nothing.",
        f"**More streams** than 256 give no more: {number(figure('8b-512-sequences', 512))} tok/s at 512 "
        f"with "
        "`--max-num-seqs 512`.",
        f"**Front ends** for the 0.6B at 256 streams: four give {ratio(four, one, 256)} of one, two "
        f"{ratio(two, one, 256)}. The first token of four takes {ratio(four, one, 256, 'median_ttft_ms')} "
        f"of the "
        f"time. At 64 streams four give {ratio(four, one, 64)}.",
        "**By the product** front ends of the 0.6B are outstanding: cells with one and four were Partial "
        "on 2026-11-27 ([raw data](../../../benchmarks/gpu/h200/articles/small)), and the pods' intervals "
        "exceed 20 %. [The 8B](../articles/README.md#through-the-product) has both. So is what "
        "`--max-num-batched-tokens` carries at a service level.",
    )


def section() -> Iterable[str]:
    yield HEAD
    yield from switches()
    yield FRONTS
    yield from fronts()
    yield learned()
