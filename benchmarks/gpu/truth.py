"""The truth that a probe is held against: long steady closed loops, with the stamps of every request kept.

    python -m benchmarks.gpu.truth URL OUT.json --levels 16 64 128 256 [--input 512] [--output 200]
        [--seconds 60] [--requests 200] [--repeat 2] [--processes 8] [--vocabulary 32000] [--budget 540]
        [--append] [--client PROGRAM [--fresh] [--temperature 0]] [--scrape-seconds 0.25]

A level is a closed loop: each stream sends its next request when one ends. Streams start one after the
other, over one request's time. The first request of each has a residual length (uniform in 1..OUTPUT), so
the loop begins in its steady mix of prompts and answers. The window opens one request's time after every
stream has ended its first. It closes after SECONDS, and not before REQUESTS requests were sent in it.
Requests *sent* in the window count, each followed to its end while all streams go on. First requests
count in no latency.

Tokens are those of the server's usage and counter: one event may hold several. The check of a level: tokens a
second x sum(latencies) / sum(tokens) of these requests equals the streams within 3 %. Standard library only.

PROGRAM is closed_loop, built by `CGO_ENABLED=0 go build .` in the folder of that name: one light process in
place of Python's. --fresh: a new connection for each request, as `tacho probe` has.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.gpu.loop_clients import SAMPLE_SECONDS, Answer, CompiledLoop, Loop

HISTOGRAMS = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
)


def scrape(url: str) -> dict[str, float]:
    """The server's own counters and gauges, summed over engines."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        text = response.read().decode()
    found: dict[str, float] = {"time": time.monotonic()}
    names = ["generation_tokens_total", "prompt_tokens_total", "num_requests_running", "num_requests_waiting"]
    names += [f"{name}_{part}" for name in HISTOGRAMS for part in ("sum", "count")]
    names += ["num_preemptions_total"]
    for name in names:
        values = re.findall(rf"^(?:vllm:|tacho_server_){name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        if values:
            found[name] = sum(map(float, values))
    return found


def quantile(values: list[float], share: float) -> float | None:
    """By the nearest rank; None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None


def percentiles(values: list[float]) -> dict[str, float | None]:
    return {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95), "mean": _mean(values)}


def measure(options: argparse.Namespace, streams: int, service_seconds: float, seed: int) -> dict[str, Any]:
    """One level, with its raw answers."""
    loop = (CompiledLoop if options.client else Loop)(options, streams, service_seconds, seed)
    began = time.monotonic()
    while not loop.mixed:
        time.sleep(SAMPLE_SECONDS)
        loop.poll()
        if time.monotonic() - began > 6 * options.seconds + 120:
            raise SystemExit(f"{streams} streams: the loop never became steady")
    time.sleep(service_seconds)
    before, opened = scrape(options.url), time.monotonic()
    gauges: list[tuple[float, float]] = []
    while (open_for := time.monotonic() - opened) < 3 * options.seconds:
        time.sleep(SAMPLE_SECONDS)
        loop.poll()
        if open_for >= len(gauges) * options.scrape_seconds:
            found = scrape(options.url)
            gauges.append((found.get("num_requests_running", -1), found.get("num_requests_waiting", -1)))
        if open_for >= options.seconds and sum(at >= opened for at in loop.sent) >= options.requests:
            break
    after, closed = scrape(options.url), time.monotonic()
    time.sleep(service_seconds * 1.5)  # those sent in the window end under unchanged load
    return summary(streams, loop.stop(), (opened, closed), (before, after), gauges, options)


def summary(
    streams: int,
    answers: list[Answer],
    window: tuple[float, float],
    counters: tuple[dict[str, float], dict[str, float]],
    gauges: list[tuple[float, float]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Figures of one level, its check, and its raw answers in columns."""
    opened, closed = window
    before, after = counters
    good = [answer for answer in answers if not answer.error]
    sent = [a for a in good if opened <= a.sent < closed and not a.first_of_stream]
    span = closed - opened
    arrived = sum(opened <= a.sent + stamp < closed for a in good for stamp in a.stamps)
    counted = after["generation_tokens_total"] - before["generation_tokens_total"]
    rate = counted / (after["time"] - before["time"])
    latencies = [a.last_token - a.sent for a in sent]
    ttft = [1e3 * (a.first_token - a.sent) for a in sent]
    tpot = [1e3 * (a.last_token - a.first_token) / (a.tokens - 1) for a in sent if a.tokens > 1]
    tokens, events = sum(a.tokens for a in sent), max(1, sum(a.events for a in good))
    check = rate * sum(latencies) / tokens if tokens else math.nan
    met = [
        (a.first_token - a.sent) <= options.slo_ttft
        and (a.tokens < 2 or (a.last_token - a.first_token) / (a.tokens - 1) <= options.slo_tpot)
        for a in sent
    ]
    counts = {name: after.get(f"{name}_count", 0) - before.get(f"{name}_count", 0) for name in HISTOGRAMS}
    engine = {
        f"{name}_mean": (after[f"{name}_sum"] - before[f"{name}_sum"]) / count
        for name, count in counts.items()
        if count
    }
    return {
        "streams": streams,
        "window_seconds": round(span, 3),
        "requests": len(sent),
        "errors": sum(bool(a.error) for a in answers),
        "error_text": next((a.error for a in answers if a.error), ""),
        "output_tokens_per_second": {"server": rate, "client": arrived / span},
        "requests_per_second": len(sent) / span,
        "ttft_ms": percentiles(ttft),
        "tpot_ms": percentiles(tpot),
        "end_to_end_ms": percentiles([1e3 * value for value in latencies]),
        "slo_attainment_percent": 100 * sum(met) / len(met) if met else None,
        "streams_by_littles_law": check,
        "steady": abs(check / streams - 1) <= 0.03,
        "events_without_text_percent": 100 * sum(a.silent_events for a in good) / events,
        "tokens_per_event": sum(a.tokens for a in good) / events,
        "engine_seconds": engine,
        "preemptions": after.get("num_preemptions_total", 0) - before.get("num_preemptions_total", 0),
        "running_mean": _mean([running for running, _ in gauges]),
        "waiting_mean": _mean([waiting for _, waiting in gauges]),
        "raw": {
            "columns": ["sent_s", "ttft_ms", "end_to_end_ms", "tokens", "events", "silent_events"],
            "rows": [
                [
                    round(a.sent - opened, 4),
                    round(1e3 * (a.first_token - a.sent), 2),
                    round(1e3 * (a.last_token - a.sent), 2),
                    a.tokens,
                    a.events,
                    a.silent_events,
                ]
                for a in sent
            ],
        },
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def line(level: dict[str, Any]) -> str:
    """One level in a line."""
    ttft, tpot = level["ttft_ms"], level["tpot_ms"]
    return (
        f"{level['streams']:4d} streams: {level['output_tokens_per_second']['server']:8.1f} tok/s, "
        f"TTFT p50/p95 {ttft['p50']:.0f}/{ttft['p95']:.0f} ms, TPOT {tpot['p50']:.2f}/{tpot['p95']:.2f} ms, "
        f"n {level['requests']}, SLO {level['slo_attainment_percent']:.1f} %, "
        f"streams by Little {level['streams_by_littles_law']:.1f}, errors {level['errors']}"
    )


def seconds_of(level: dict[str, Any]) -> float:
    """Of one request of a level."""
    return max(0.5, (level["end_to_end_ms"]["p50"] or 1000) / 1e3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.truth", description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--levels", type=int, nargs="+", required=True)
    parser.add_argument("--model", default="m")
    counts = {"input": 512, "output": 200, "vocabulary": 32_000, "requests": 200, "repeat": 2, "processes": 8}
    for name, count in counts.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--budget", type=float, default=540.0, help="seconds; no level begins after them")
    parser.add_argument("--client", default="", help="a compiled client in place of Python processes")
    parser.add_argument("--temperature", type=float, default=0.0, help="of PROGRAM")
    parser.add_argument("--scrape-seconds", type=float, default=SAMPLE_SECONDS, help="of /metrics")
    parser.add_argument("--fresh", action="store_true", help="a new connection for each request; of PROGRAM")
    parser.add_argument("--append", action="store_true", help="keep the levels that OUT has")
    parser.add_argument("--slo-ttft", type=float, default=1.0, help="seconds")
    parser.add_argument("--slo-tpot", type=float, default=0.025, help="seconds")
    options = parser.parse_args()
    began = time.monotonic()
    done: list[dict[str, Any]] = []
    if options.append and options.out.exists():
        done = json.loads(options.out.read_text())["levels"]
    former = len(done)
    service = seconds_of(done[-1]) if done else options.output * 0.02
    for repeat in range(options.repeat):
        for streams in options.levels:
            if time.monotonic() - began + options.seconds + 3 * service > options.budget:
                print(f"{streams} streams, run {repeat + 1}: no time left", flush=True)
                continue
            # A loop that repeats the prompts of one before, in any file, would meet them in the prefix cache.
            seed = int(time.time())
            level = measure(options, streams, service, seed)
            service = seconds_of(level)
            done.append({"run": former + repeat + 1, "seed": seed, **level})
            print(line(level), flush=True)
            options.out.write_text(json.dumps({"command": sys.argv[1:], "levels": done}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
