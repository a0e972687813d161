"""Switches of vLLM beside its own defaults: the part of the page that is of h200/flags and h200/batched."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu.figures import RAW, measured, number, row

SWITCHES = """
## Switches against vLLM's own defaults

One server each, 8B in bf16, `vllm bench serve` in closed loops, three rounds. The first load after a start
holds what is compiled on first use, alike for all. `as tacho` is what the plan renders for 4,096 tokens of
context.

| started with | seconds to /health | 64 streams: tok/s, TTFT p50 ms, TPOT p50 ms | 256 streams |
| --- | --- | --- | --- |
"""
SECOND_HOST = ("small-one-front-end-again", "small-stream-interval-4", "small-no-prefix-caching")
FRONTS = """
The 0.6B in the same loops, weights made up at the start (`--load-format dummy`) and 4,096 tokens of context,
on two hosts; the first start on each is cold:

| as tacho, and | host | seconds to /health | 64 streams: tok/s, TTFT p50 ms, TPOT p50 ms | 256 streams |
| --- | --- | --- | --- | --- |
"""
BATCHED = """
How many tokens a step may hold, by what the product says that a replica carries: the 8B by `tacho run` with
`slo: {ttftMilliseconds: 400, tpotMilliseconds: 25}` and a default probe (`batched`).

| `--max-num-batched-tokens` | keeps the level with | breaks it: streams, TTFT p50, TPOT p50 ms |
| --- | --- | --- |
"""
LEARNED = """
What follows for the planner:

- What tacho renders is as fast as the defaults (64 and 256 streams: within 0.2 %) and holds the memory
  that was promised. No switch that keeps the answers the same made this 8B faster by more than 1 %, so
  none is rendered for it.
- An FP8 cache gives 8 % at 256 streams and twice the tokens of context. It changes answers, so it is asked
  for (`quantization.kvCacheDtype: fp8`), not chosen.
- `--max-num-batched-tokens`: of requests that do not come in waves the default and twice as many carry the
  same at that level (their intervals overlap); of a quarter the probe was sure of six tenths as many streams
  and had no time to look further, and with all of them the first token took three times as long. So none is
  rendered.
- `--max-num-seqs 512` gives no more of an 8B than 256: the GPU is full. Graphs for decoding alone start no
  sooner and give 1 % less.
- `-O1` starts no sooner. Eager starts 22 to 26 s sooner and makes 26 % fewer tokens: a start with kept
  compiled code (`spec.cache`) is nearly as soon and loses nothing.
- Front ends for the 0.6B: four stream 1.8 times as much as one with 256 requests (two 1.6 times) and give
  the first token in a third of the time; with 64 as much, and the first token in three quarters. The
  earlier table, whose output was not kept, had 26,000 beside 17,200. Streaming every fourth token
  (`--stream-interval 4`) gives 1.3 times as much with one front end, in larger pieces; four give more and
  keep the pieces, so that is the rule. Without prefix caching one front end is no faster. The product's
  own probe of 45 s does not prove the difference: 18,000 tok/s with four (`more/small`), 16,000 to 17,000
  with one (`later/small-one-front-end`, ± 33 %), and as pods ([front-ends](front-ends),
  [one-front-end](one-front-end)) 19,000 ± 35 % and 17,000 ± 34 %: there the cluster, the client and six
  of the engine's processes share these 16 cores, which run at two speeds.
- Weights of 4 bits pay for one stream (1.3x) and less under load (AWQ none, GPTQ and compressed-tensors
  1.1x at 256); 8 bits of both weights and inputs (w8a8, fp8) pay at both ends: 1.3 and 1.4x.
"""
STREAMS = (64, 256)


def servers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RAW / "flags/flags.json").read_text())
    return found


def loads(server: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {level["streams"]: level["bench"] for level in server["levels"]}


def told(bench: dict[str, Any] | None) -> str:
    if bench is None:
        return ""
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
            yield row(name, str(each["start_seconds"]), *(told(loads(each).get(count)) for count in STREAMS))


def many() -> str:
    """512 streams, of which the engine takes as many at once as it is told to."""
    said = [
        f"{told(loads(each)[512])} with `--max-num-seqs {each['arguments'][-1]}`"
        for each in servers()
        if 512 in each["streams"]
    ]
    return f"\nWith 512 streams of the 8B: {' and '.join(said)}.\n"


def fronts() -> Iterable[str]:
    """Of the 0.6B, whose limit is the front end."""
    for each in servers():
        if each["name"].startswith("small-"):
            words = extra(each).replace("--load-format dummy", "").strip()
            name = f"`{words}`" if words else "nothing more"
            host = "second" if each["name"] in SECOND_HOST else "first"
            yield row(
                name, host, str(each["start_seconds"]), *(told(loads(each)[count]) for count in STREAMS)
            )


def batched() -> Iterable[str]:
    for size in ("2048", "default", "16384"):
        found = measured(f"batched/batched-{size}")
        capacity = found["capacity"]
        over = next(level for level in found["curve"] if level["concurrency"] > capacity["concurrency"])
        yield row(
            f"{size} (8,192)" if size == "default" else f"{int(size):,}",
            f"{capacity['concurrency']} streams, {number(capacity['outputTokensPerSecond'])} tok/s "
            f"± {number(capacity['ciPercent'], 1)} %, {capacity['boundary']}",
            f"{over['concurrency']}: {over['ttftMillisecondsP50']}, {over['tpotMillisecondsP50']}",
        )


def section() -> Iterable[str]:
    yield SWITCHES
    yield from switches()
    yield many()
    yield FRONTS
    yield from fronts()
    yield BATCHED
    yield from batched()
    yield LEARNED
