"""A run on a cluster with mock engines, replayed in virtual time: the same replicas, the same requests kept?

    python -m benchmarks.autoscaling.replay TRAJECTORY.json [--ttft 2] [--seeds 9] [--followed]
        [--by-chance] [--unverified]

TRAJECTORY.json is what tests/e2e/test_autoscaling.py leaves in build/trajectories: each request with its
time, and what replicas there were; recorded/ has whole ones and beginnings. The engines' model, the behavior
and the client are that test's, the starts are those that the trajectory shows. Requests go to the pods that
answered them, where that was recorded and those serve; elsewhere, and ``--by-chance``, each seed sends them
to others, as a Service does. When in its period the operator looked is not recorded, nor when its next
process began: each seed takes other times. ``--followed``: replicas are those that the cluster asked for,
whatever today's law of scaling would. ``--unverified``: the operator had no clean measurement, as on a busy
machine, and counted requests at once; a recording that has its measurements says so itself. ``--until`` so
many seconds: only what was seen by then. Prints how many of the looks have as many replicas asked for as the
simulator, give or take one, and how many first tokens came in time.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from benchmarks.autoscaling import bounds
from benchmarks.autoscaling.capacity import capacity_at
from benchmarks.autoscaling.concurrent_prefill import ReservingPrefill
from benchmarks.autoscaling.recorded_policies import AsTheyWent, Followed, lasts
from tacho_contract.measurement import Workload
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.plan import Plan
from tacho_operator.api.status.status import AutoscalingStatus
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.algorithm.types import (
    Bounds,
    Pace,
    Policy as ScalingPolicy,
    ReplicaCapacity,
    Rules,
)
from tacho_operator.shell.pod_http import TIMEOUT_SECONDS
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies import tacho
from tacho_simulate.policy import Setting, SimulatedPolicy
from tacho_simulate.result import Result
from tacho_simulate.run import Faults, simulate
from tacho_simulate.trace import Trace


class KnownPrefill(ReservingPrefill):
    """All prompts are the same: 7 of their 8 blocks are known."""

    computed_share = 1 / 8


MODEL = PerformanceModel(
    steps=((1, 0.061), (3, 0.063)),
    prefill_tokens_per_second=160_000,
    max_num_seqs=3,
    kv_cache_tokens=100_000,
    ttft_fixed_seconds=0.020,
    replica=KnownPrefill,
)
"""Prompts are computed at 20,000 tokens a second, of which an eighth is left to compute."""
LEAST, MOST = 1, 6
UP = Rules(window_seconds=0, paces=(Pace(kind="Pods", value=3, period_seconds=4),))
DOWN = Rules(window_seconds=10, paces=(Pace(kind="Pods", value=1, period_seconds=4),))
BLIND = ("killed", "cut", "killed", "killed", "hanging")
"""What became of the operator, its network or a pod, in order of time, where a recording does not say it."""
HANG_SECONDS = 60.0
LEAST_WHILE_HANGING, LASTING_SECONDS = 2, 12.0
"""The test's minReplicas from the hanging's begin on, and for how long before its end they are 1 again."""
FORGOTTEN = "killed, bursts forgotten"
"""What went wrong where the operator was killed, and its bursts were removed from the resource's status."""
SPREADS = ((math.sqrt(5) - 1) / 2, *(math.sqrt(prime) for prime in (2, 3, 7, 11, 13)))
"""Multiples of each fall evenly into a period, however many there are, and independently of the others."""
CLIENTS = 200
"""Requests that the test has on their way at a time. One that comes when there are as many waits until one of
them is answered, and its time to the first token begins when it is sent."""
GIVEN_UP_SECONDS = 120.0
"""After which the test takes a request for lost."""


def starts(recorded: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Seconds that each replica took, by the recorded looks."""
    return bounds.starts([bounds.Moment(**moment) for moment in recorded])


def sent(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests in the order in which they left the client, each with when it did: as it was recorded,
    else as its clients' number allows."""
    if all(item.get("sent_s") is not None for item in requests):
        return sorted(requests, key=lambda item: float(item["sent_s"]))
    answer = (requests[0]["output_tokens"] - 1) * MODEL.step_seconds(MODEL.max_num_seqs) if requests else 0.0
    busy: list[float] = []
    left = []
    for item in sorted(requests, key=lambda item: float(item["time_s"])):
        when = item["time_s"]
        while busy and busy[0] <= when:
            heapq.heappop(busy)
        if len(busy) >= CLIENTS:
            when = heapq.heappop(busy)
        heapq.heappush(busy, when + (GIVEN_UP_SECONDS if item["ttft_s"] is None else item["ttft_s"]) + answer)
        left.append(item | {"sent_s": when})
    return left


def dealt(requests: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """The pod that answered each, by the order of their first answers; () where that was not recorded."""
    pods: dict[str, int] = {}
    for item in sorted(requests, key=_first_token):
        if item.get("pod") is not None:
            pods.setdefault(item["pod"], len(pods))
    return tuple(pods.get(item.get("pod"), len(pods)) for item in requests) if pods else ()


def _first_token(item: dict[str, Any]) -> float:
    return math.inf if item["ttft_s"] is None else item["sent_s"] + item["ttft_s"]


def carried(
    recorded: dict[str, Any], trace: Trace, *, unverified: bool
) -> tuple[tuple[float, ReplicaCapacity], ...]:
    """What the operator took a replica to carry, each with since when: of its measurements where those were
    recorded, else as the law has it. Probe pods measure on while the first pod serves."""
    prompt, answer = round(mean(trace.input_tokens)), round(mean(trace.output_tokens))
    if recorded.get("measurements"):
        plan = Plan.model_validate(recorded["plan"]) if recorded.get("plan") else None
        shape = Workload(input_tokens=prompt, output_tokens=answer)
        first = {"time_s": 0.0, "measurements": recorded["measurements"]}
        return tuple(
            (
                item["time_s"],
                capacity_of(map(MeasurementEntry.model_validate, item["measurements"]), plan, shape),
            )
            for item in (first, *recorded.get("measured_later", ()))
        )
    if unverified:
        unknown = ReplicaCapacity(
            concurrency=MODEL.max_num_seqs,
            kv_cache_tokens=MODEL.kv_cache_tokens,
            input_tokens=prompt,
            output_tokens=answer,
            unverified="the measurement is provisional",
        )
        return ((0.0, unknown),)
    lengths = {"input_tokens": prompt, "output_tokens": answer}
    return ((0.0, capacity_at(MODEL, **lengths, ttft_seconds=None, tpot_seconds=None)),)


def run(
    recorded: dict[str, Any],
    ttft_seconds: float,
    seed: int,
    *,
    unverified: bool,
    followed: bool = False,
    by_chance: bool = False,
    phases: Sequence[float] = (),
) -> tuple[Result, Trace]:
    """``phases``: when each process of the operator began to look, 0 to 1 of the time in which it must have;
    by the seed for those that are not given."""
    requests = sent(recorded["requests"])
    trace = Trace(
        name="recorded",
        time_seconds=tuple(item["sent_s"] for item in requests),
        input_tokens=tuple(item["input_tokens"] for item in requests),
        output_tokens=tuple(item["output_tokens"] for item in requests),
    )
    pods = () if by_chance else dealt(requests)
    capacities = carried(recorded, trace, unverified=unverified)
    found = starts(recorded["moments"])
    usual = median(found) if found else recorded["cold_start_s"]
    # What the operator knew of starts is told at the end: longer than all that followed was the first pod's.
    first = recorded["cold_start_s"] if recorded["cold_start_s"] > max(found, default=math.inf) else 0.0

    def phase_of(process: int) -> float:
        return phases[process] if process < len(phases) else seed * SPREADS[process % len(SPREADS)] % 1

    setting = Setting(
        min_replicas=LEAST,
        max_replicas=MOST,
        capacity=capacities[0][1],
        slo_ttft_seconds=ttft_seconds,
        slo_tpot_seconds=None,
        cold_start_seconds=max(first, usual),
        model=MODEL,
        initial_replicas=recorded["moments"][0]["replicas"],
        initial_start_seconds=first,
        first_decision_seconds=None if followed else recorded["period_s"] * (1 + phase_of(0)),
    )
    times, since = lasts(requests, pods), [begins for begins, _ in capacities]

    def factory(setting: Setting) -> SimulatedPolicy:
        if followed:
            return AsTheyWent(Followed(recorded["moments"]), times, followed=True)
        policy = tacho.Tacho(
            setting,
            partial(_policy_at, recorded, ttft_seconds),
            period_seconds=recorded["period_s"],
            capacity_at=lambda now: capacities[bisect_right(since, now) - 1][1],
            stored_at=partial(_stored_at, recorded),
        )
        return AsTheyWent(policy, times, followed=False)

    hung = None
    if pods and recorded.get("hung"):
        # None where the recording is read only up to before the pod that hangs has answered anything.
        hung = next(
            (p for item, p in zip(requests, pods, strict=True) if item["pod"] == recorded["hung"]), None
        )
    faults = Faults(
        scaler_outages=() if followed else tuple(_outages(recorded, phase_of)),
        metrics_outages=tuple(_spans(recorded, "cut")),
        hanging=tuple((begins, hung) for begins, _ in _spans(recorded, "hanging")),
        unanswered_seconds=0.0 if followed else TIMEOUT_SECONDS,
        hang_seconds=HANG_SECONDS,
        hang_resumes=True,
        cold_start_seconds=found,
        starts_in_order=True,
    )
    return simulate(trace, setting, factory, seed=seed, faults=faults, assigned_pods=pods), trace


def _spans(recorded: dict[str, Any], kind: str) -> list[bounds.Span]:
    """When that went wrong."""
    kinds = recorded.get("blind_kinds", BLIND)
    return [
        (span[0], span[1]) for span, of in zip(recorded.get("blind", ()), kinds, strict=False) if of == kind
    ]


def _kills(recorded: dict[str, Any]) -> list[bounds.Span]:
    return sorted(_spans(recorded, "killed") + _spans(recorded, FORGOTTEN))


def _outages(recorded: dict[str, Any], phase_of: Callable[[int], float]) -> Iterator[bounds.Span]:
    """When no operator ran. The next one begins before it is ready, which is the recorded end."""
    for process, (begins, ends) in enumerate(_kills(recorded), start=1):
        yield begins, ends - (ends - begins) * phase_of(process)


def _stored_at(recorded: dict[str, Any], now: float, stored: AutoscalingStatus) -> AutoscalingStatus:
    """Without bursts where the test removed those while no operator ran."""
    forgotten = any(begins <= now <= ends for begins, ends in _spans(recorded, FORGOTTEN))
    return stored.model_copy(update={"bursts": []}) if forgotten else stored


def _policy_at(recorded: dict[str, Any], ttft_seconds: float, now: float) -> ScalingPolicy:
    """What the test had the resource ask for at a time."""
    if recorded.get("default"):  # nothing but bounds and the SLO
        return ScalingPolicy(bounds=Bounds(least=LEAST, most=MOST), ttft_seconds=ttft_seconds)
    hanging = any(begins <= now < ends - LASTING_SECONDS for begins, ends in _spans(recorded, "hanging"))
    return ScalingPolicy(
        bounds=Bounds(least=LEAST_WHILE_HANGING if hanging else LEAST, most=MOST), up=UP, down=DOWN
    )


class Attained(NamedTuple):
    """A run of the cluster or of the simulator."""

    kept_percent: float
    """SLO attainment."""
    gpu_seconds: float
    """Replicas that were requested, times seconds."""


def compared_runs(recorded: dict[str, Any], ttft_seconds: float, tries: int) -> tuple[Attained, Attained]:
    """The recorded run, and a simulated one. Of each process of the operator, ``tries`` times are tried at
    which it may have begun to look: that counts with which replicas are the nearest until its end."""
    requests = recorded["requests"]
    kept = sum(item["ttft_s"] is not None and item["ttft_s"] <= ttft_seconds for item in requests)
    cluster = Attained(100 * kept / len(requests), recorded_gpu_seconds(recorded))
    ends = [*(begins for begins, _ in _kills(recorded)), math.inf]
    phases: list[float] = []
    begins, result = 0.0, None
    for process, end in enumerate(ends):
        tried = [[*phases, number / tries] for number in range(tries)]
        rest = [0.5] * (len(ends) - process - 1)
        found = [run(recorded, ttft_seconds, 0, unverified=False, phases=[*each, *rest])[0] for each in tried]
        off = [_off(recorded, result, begins, end) for result in found]
        nearest = off.index(min(off))
        phases, result, begins = tried[nearest], found[nearest], end
    assert result is not None
    return cluster, Attained(100 * result.slo_attainment, gpu_seconds(result))


def recorded_gpu_seconds(recorded: dict[str, Any]) -> float:
    steps = [(moment["time_s"], moment["replicas"]) for moment in recorded["moments"]]
    return _area(steps, max(item["time_s"] for item in recorded["requests"]))


def gpu_seconds(result: Result) -> float:
    return _area([(item.time_seconds, item.desired) for item in result.trajectory], result.duration_seconds)


def _area(steps: Sequence[tuple[float, int]], last: float) -> float:
    """Replicas that were requested until ``last``, times seconds."""
    ends = [min(last, begins) for begins, _ in (*steps[1:], (last, 0))]
    return sum(count * max(0.0, end - begins) for (begins, count), end in zip(steps, ends, strict=True))


def _off(recorded: dict[str, Any], result: Result, begins: float, ends: float) -> int:
    """Replicas by which the looks of that time differ, in all."""
    times = [item.time_seconds for item in result.trajectory]
    return sum(
        abs(result.trajectory[max(0, bisect_right(times, look["time_s"]) - 1)].desired - look["replicas"])
        for look in recorded["moments"]
        if begins <= look["time_s"] < ends
    )


def compared(recorded: dict[str, Any], result: Result) -> dict[str, float]:
    """What share of the looks agrees, and how far the worst is off: at its time, and at the nearest that the
    simulator has within a look of the scaler before or after."""
    times = [moment.time_seconds for moment in result.trajectory]
    off, nearly = [], []
    for look in recorded["moments"]:
        when, beat = look["time_s"], recorded["period_s"]
        first, here, last = (max(0, bisect_right(times, at) - 1) for at in (when - beat, when, when + beat))
        off.append(abs(result.trajectory[here].desired - look["replicas"]))
        nearly.append(
            min(abs(item.desired - look["replicas"]) for item in result.trajectory[first : last + 1])
        )
    return {
        "sharePercent": 100 * sum(item <= 1 for item in off) / len(off),
        "mostOff": max(off),
        "meanOff": mean(off),
        "mostOffWithinALook": max(nearly),
        "keptPercent": 100 * result.slo_attainment,
    }


def upto(recorded: dict[str, Any], until: float) -> dict[str, Any]:
    """The recording as it was after ``until`` seconds."""
    found = {
        rows: [item for item in recorded[rows] if item["time_s"] <= until] for rows in ("moments", "requests")
    }
    return {**recorded, **found, "blind": [span for span in recorded.get("blind", ()) if span[0] <= until]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trajectory", type=Path)
    parser.add_argument("--ttft", type=float, default=2.0, help="seconds in which a first token is in time")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--unverified", action="store_true")
    parser.add_argument("--followed", action="store_true")
    parser.add_argument("--by-chance", action="store_true")
    parser.add_argument("--until", type=float, help="seconds")
    given = parser.parse_args()
    recorded = json.loads(given.trajectory.read_text())
    if given.until is not None:
        recorded = upto(recorded, given.until)
    found, spent = [], []
    for seed in range(given.seeds):
        asked = {
            "unverified": given.unverified,
            "followed": given.followed,
            "by_chance": given.by_chance,
        }
        result, trace = run(recorded, given.ttft, seed, **asked)
        found.append(compared(recorded, result))
        spent.append(gpu_seconds(result))
    requests = recorded["requests"]
    kept = sum(item["ttft_s"] is not None and item["ttft_s"] <= given.ttft for item in requests)
    shares = sorted(item["keptPercent"] for item in found)
    apart = [abs(share - 100 * kept / len(requests)) for share in shares]
    told = {
        "requests": len(trace),
        "looks": len(recorded["moments"]),
        "startSeconds": [round(item, 1) for item in starts(recorded["moments"])],
        "looksWithinOnePercent": round(mean(item["sharePercent"] for item in found), 1),
        "mostOff": max(item["mostOff"] for item in found),
        "mostOffWithinALook": max(item["mostOffWithinALook"] for item in found),
        "keptPercentRecorded": round(100 * kept / len(requests), 1),
        "keptPercentSimulated": round(median(shares), 1),
        "keptPercentRange": [round(shares[0], 1), round(shares[-1], 1)],
        "seedsWithinTwoPoints": f"{sum(item <= 2 for item in apart)} of {len(apart)}",
        "gpuSecondsRecorded": round(recorded_gpu_seconds(recorded)),
        "gpuSecondsSimulated": round(median(spent)),
        "gpuSecondsRange": [round(min(spent)), round(max(spent))],
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
