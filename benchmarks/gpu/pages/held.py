"""Which recorded figures hold: a level's streams must be what its rate and its latencies say. Pure.

Little's law: streams = requests a second x mean latency. `benchmarks.gpu.truth` checks it from the stamps of
each request. A recorded status has no stamps, so its levels are held against what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOLERANCE = 0.03
"""How far the streams may be from rate x latency, as a share."""
LEAST_REQUESTS = 5
LARGEST_INTERVAL_PERCENT = 10.0
LEAST_WINDOW_REQUESTS = 2.0
"""Latencies that fit a window in which requests after the first begin and end."""
DISTURBED = frozenset({"Contended", "OtherTraffic"})
"""Flags of a measurement that spare none of its levels."""


def balanced(streams: float, requests_per_second: float, latency_seconds: float) -> bool:
    """Whether a closed loop of so many streams can have had this rate and this mean latency."""
    return abs(requests_per_second * latency_seconds / streams - 1) <= TOLERANCE


def bench_share(level: Mapping[str, Any]) -> float:
    """Rate x latency over the streams of a level of `vllm bench serve`, by its means over the whole run."""
    bench = level["bench"]
    return float(bench["request_throughput"] * bench["mean_e2el_ms"] / 1000 / level["streams"])


def bench_holds(level: Mapping[str, Any]) -> bool:
    return abs(bench_share(level) - 1) <= TOLERANCE


def doubts(
    measurement: Mapping[str, Any], level: Mapping[str, Any], *, began_mixed: bool = False
) -> list[str]:
    """Why a level of a status does not hold; empty where it does.

    A loop that ``began_mixed`` started in its steady mix of prompts and answers, and followed the requests
    of its window to their ends: its window may be shorter than they are.
    """
    found = [f"flag {flag}" for flag in level.get("flags") or ()]
    found += [f"flag {flag}" for flag in sorted(DISTURBED & set(measurement.get("flags") or ()))]
    if level["concurrency"] > 1:
        found += _doubts_under_load(measurement, level, began_mixed=began_mixed)
    if level["requests"] < LEAST_REQUESTS:
        found.append(f"{level['requests']} requests")
    interval = level.get("ciPercent")
    if interval is None:
        found.append("no interval")
    elif float(interval) > LARGEST_INTERVAL_PERCENT:
        found.append(f"± {float(interval):.1f} %" if float(interval) <= 100 else "± over 100 %")
    if "requestsPerSecond" not in level:
        return [*dict.fromkeys(found), "no rate"]
    share = littles_share(measurement, level)
    if abs(share - 1) > TOLERANCE:
        found.append(f"rate x latency is {share:.2f} of the streams")
    return list(dict.fromkeys(found))


def littles_share(measurement: Mapping[str, Any], level: Mapping[str, Any]) -> float:
    """Rate x latency over the streams of a level of a status."""
    rate = float(level["requestsPerSecond"])
    return rate * _latency_seconds(measurement, level) / float(level["concurrency"])


def _doubts_under_load(
    measurement: Mapping[str, Any], level: Mapping[str, Any], *, began_mixed: bool
) -> list[str]:
    found = []
    if measurement["state"] != "Complete":
        found.append(str(measurement["state"]).lower())
    if measurement.get("confidence") != "Clean":
        found.append(str(measurement.get("confidence", "no confidence")).lower())
    if not level.get("steady"):
        found.append("not steady")
    window = float(level["windowSeconds"]) / _latency_seconds(measurement, level)
    if window < LEAST_WINDOW_REQUESTS and not began_mixed:
        found.append(f"window of {window:.2f} requests")
    return found


def _latency_seconds(measurement: Mapping[str, Any], level: Mapping[str, Any]) -> float:
    """Of the median request; without a median to the last token, of its first token and its gaps."""
    if "endToEndMillisecondsP50" in level:
        return float(level["endToEndMillisecondsP50"]) / 1000
    gaps = float(level["tpotMillisecondsP50"]) * (measurement["workload"]["outputTokens"] - 1)
    return (float(level["ttftMillisecondsP50"]) + gaps) / 1000
