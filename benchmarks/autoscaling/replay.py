"""A run on a cluster with mock engines, replayed in virtual time: the same replicas, the same requests kept?

    python -m benchmarks.autoscaling.replay TRAJECTORY.json [--ttft 2] [--seeds 9] [--followed] [--unverified]

TRAJECTORY.json is what tests/e2e/test_autoscaling.py leaves in build/trajectories: each request with its
time, and what replicas there were; recorded/ has a whole one and the beginnings of two. The engines' law,
the behavior and the client are that test's, the starts are those that the trajectory shows. Each seed sends
the requests to other pods, as a Service does. ``--followed``: replicas are those that the cluster asked for,
whatever today's law of scaling would. ``--unverified``: the operator had no clean measurement, as on a busy
machine, and counted requests at once. ``--until`` so many seconds: only what was seen by then. Prints how
many of the looks have as many replicas asked for as the simulator, give or take one, and how many first
tokens came in time.
"""

from __future__ import annotations

import argparse
import heapq
import json
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from tacho_operator.core.scaling.law.types import Bounds, Capacity, Pace, Policy, Rules
from tacho_operator.simulate.capacity import capacity_at
from tacho_operator.simulate.engine_law import EngineLaw
from tacho_operator.simulate.policies import tacho
from tacho_operator.simulate.policy import Choice, Factory, Setting, View
from tacho_operator.simulate.result import Result
from tacho_operator.simulate.run import Faults, simulate
from tacho_operator.simulate.trace import Trace

LAW = EngineLaw(
    steps=((1, 0.061), (3, 0.063)),
    prefill_tokens_per_second=20_000,
    step_tokens=None,
    max_num_seqs=3,
    reserves=True,
    kv_cache_tokens=100_000,
    ttft_fixed_seconds=0.020,
)
LEAST, MOST = 1, 6
UP = Rules(window_seconds=0, paces=(Pace(kind="Pods", value=3, period_seconds=4),))
DOWN = Rules(window_seconds=10, paces=(Pace(kind="Pods", value=1, period_seconds=4),))
BLIND = ("killed", "cut", "killed", "killed", "hanging")
"""What became of the operator, its network or a pod, in order of time."""
HANG_SECONDS = 60.0
CLIENTS = 200
"""Requests that the test has on their way at a time. One that comes when there are as many waits until one of
them is answered, and its time to the first token begins when it is sent."""
GIVEN_UP_SECONDS = 120.0
"""After which the test takes a request for lost."""


def starts(moments: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Seconds from each replica that was asked for to one that was ready, in the order of both."""
    asked: list[float] = []
    found = []
    for before, after in pairwise(moments):
        more = after["replicas"] - before["replicas"]
        asked += [after["time_s"]] * max(0, more)
        if more < 0:
            asked = asked[:more]
        for _ in range(max(0, after["ready"] - before["ready"])):
            if asked:
                found.append(after["time_s"] - asked.pop(0))
    return tuple(found)


def sent(requests: Sequence[dict[str, Any]]) -> list[float]:
    """When each of the requests, by the time at which it came, left the client."""
    answer = (requests[0]["output_tokens"] - 1) * LAW.step_seconds(LAW.max_num_seqs) if requests else 0.0
    busy: list[float] = []
    left = []
    for item in requests:
        when = item["time_s"]
        while busy and busy[0] <= when:
            heapq.heappop(busy)
        if len(busy) >= CLIENTS:
            when = heapq.heappop(busy)
        heapq.heappush(busy, when + (GIVEN_UP_SECONDS if item["ttft_s"] is None else item["ttft_s"]) + answer)
        left.append(when)
    return left


class Followed:
    """A policy that asks for what the cluster asked for at the same time: what a look sees came about between
    it and the one before, on the mean in the middle."""

    name, source = "recorded", "the recording"
    period_seconds = 0.25

    def __init__(self, moments: Sequence[dict[str, Any]]) -> None:
        looks = [moment["time_s"] for moment in moments]
        self._times = [(before + after) / 2 for before, after in zip([0.0, *looks], looks, strict=False)]
        self._replicas = [moment["replicas"] for moment in moments]

    def decide(self, view: View) -> Choice:
        look = max(0, bisect_right(self._times, view.now_seconds) - 1)
        return Choice(replicas=self._replicas[look], sentence="as it was recorded")


def run(
    recorded: dict[str, Any], ttft_seconds: float, seed: int, *, unverified: bool, followed: bool = False
) -> tuple[Result, Trace]:
    requests = sorted(recorded["requests"], key=lambda item: float(item["time_s"]))
    trace = Trace(
        name="recorded",
        time_seconds=tuple(sent(requests)),
        input_tokens=tuple(item["input_tokens"] for item in requests),
        output_tokens=tuple(item["output_tokens"] for item in requests),
    )
    prompt, answer = round(mean(trace.input_tokens)), round(mean(trace.output_tokens))
    capacity = capacity_at(
        LAW, input_tokens=prompt, output_tokens=answer, ttft_seconds=None, tpot_seconds=None
    )
    if unverified:
        capacity = Capacity(
            concurrency=capacity.concurrency,
            kv_cache_tokens=LAW.kv_cache_tokens,
            input_tokens=prompt,
            output_tokens=answer,
            unverified="the measurement is provisional",
        )
    found = starts(recorded["moments"])
    setting = Setting(
        least=LEAST,
        most=MOST,
        capacity=capacity,
        slo_ttft_seconds=ttft_seconds,
        slo_tpot_seconds=None,
        cold_start_seconds=median(found) if found else recorded["cold_start_s"],
        law=LAW,
        initial=recorded["moments"][0]["replicas"],
    )
    asked = Policy(bounds=Bounds(least=LEAST, most=MOST), up=UP, down=DOWN)
    factory: Factory = partial(tacho.make_with, asked, period_seconds=recorded["period_s"])
    if followed:

        def factory(_: object) -> Followed:
            return Followed(recorded["moments"])

    blind = [(begin, until) for begin, until in recorded.get("blind", ())]
    faults = Faults(
        decider_lost=()
        if followed
        else tuple(span for span, kind in zip(blind, BLIND, strict=False) if kind == "killed"),
        metrics_lost=tuple(span for span, kind in zip(blind, BLIND, strict=False) if kind == "cut"),
        hanging=tuple((span[0], None) for span, kind in zip(blind, BLIND, strict=False) if kind == "hanging"),
        hang_seconds=HANG_SECONDS,
        hanging_goes_on=True,
        cold_start_seconds=found,
        starts_in_order=True,
    )
    return simulate(trace, setting, factory, seed=seed, faults=faults), trace


def compared(recorded: dict[str, Any], result: Result) -> dict[str, float]:
    """What share of the looks agrees, and how far the worst is off."""
    times = [moment.time_seconds for moment in result.trajectory]
    off = []
    for look in recorded["moments"]:
        moment = result.trajectory[max(0, bisect_right(times, look["time_s"]) - 1)]
        off.append(abs(moment.asked - look["replicas"]))
    return {
        "sharePercent": 100 * sum(item <= 1 for item in off) / len(off),
        "mostOff": max(off),
        "keptPercent": 100 * result.slo_attainment,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trajectory", type=Path)
    parser.add_argument("--ttft", type=float, default=2.0, help="seconds in which a first token is in time")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--unverified", action="store_true")
    parser.add_argument("--followed", action="store_true")
    parser.add_argument("--until", type=float, help="seconds")
    given = parser.parse_args()
    recorded = json.loads(given.trajectory.read_text())
    if given.until is not None:
        for rows in ("moments", "requests"):
            recorded[rows] = [item for item in recorded[rows] if item["time_s"] <= given.until]
    found = []
    for seed in range(given.seeds):
        asked = {"unverified": given.unverified, "followed": given.followed}
        result, trace = run(recorded, given.ttft, seed, **asked)
        found.append(compared(recorded, result))
    requests = recorded["requests"]
    kept = sum(item["ttft_s"] is not None and item["ttft_s"] <= given.ttft for item in requests)
    shares = sorted(item["keptPercent"] for item in found)
    told = {
        "requests": len(trace),
        "looks": len(recorded["moments"]),
        "startSeconds": [round(item, 1) for item in starts(recorded["moments"])],
        "looksWithinOnePercent": round(mean(item["sharePercent"] for item in found), 1),
        "mostOff": max(item["mostOff"] for item in found),
        "keptPercentRecorded": round(100 * kept / len(requests), 1),
        "keptPercentSimulated": round(median(shares), 1),
        "keptPercentRange": [round(shares[0], 1), round(shares[-1], 1)],
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
