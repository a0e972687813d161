"""How long a million requests take to simulate, on one core.

    python -m benchmarks.autoscaling.million [--requests 1000000] [--policy tacho ...]

Requests come by chance, twenty a second on the mean and faster and slower with the hours of a day, with
prompts of up to 2000 tokens and answers of up to 400. Prints CPU seconds, and writes million.json beside this
file.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from pathlib import Path
from random import Random

from benchmarks.autoscaling.capacity import capacity_at
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies import POLICIES
from tacho_simulate.policy import Setting
from tacho_simulate.run import simulate
from tacho_simulate.trace import Trace

MODEL = PerformanceModel(
    steps=((1, 0.010), (64, 0.025)),
    prefill_tokens_per_second=20_000,
    kv_cache_tokens=200_000,
    max_num_seqs=128,
    ttft_fixed_seconds=0.02,
)
DAY_SECONDS = 86_400
TTFT_SECONDS, TPOT_SECONDS = 0.5, 0.05


def trace_of(requests: int) -> Trace:
    rng = Random(0)
    now = 0.0
    rows = []
    for _ in range(requests):
        rate = 20 * (1 + 0.6 * math.sin(2 * math.pi * now / DAY_SECONDS))
        now += rng.expovariate(rate)
        rows.append((now, rng.randint(50, 2000), rng.randint(10, 400)))
    times, prompts, answers = zip(*rows, strict=True)
    return Trace(name=f"{requests} requests", time_seconds=times, input_tokens=prompts, output_tokens=answers)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--policy", nargs="+", default=["static", "tacho", "greedy"])
    given = parser.parse_args()
    trace = trace_of(given.requests)
    setting = Setting(
        min_replicas=2,
        max_replicas=20,
        capacity=capacity_at(
            MODEL, input_tokens=1025, output_tokens=205, ttft_seconds=TTFT_SECONDS, tpot_seconds=TPOT_SECONDS
        ),
        slo_ttft_seconds=TTFT_SECONDS,
        slo_tpot_seconds=TPOT_SECONDS,
        cold_start_seconds=60,
        model=MODEL,
        initial_replicas=8,
    )
    told: dict[str, object] = {
        "requests": given.requests,
        "days": round(trace.duration_seconds / DAY_SECONDS, 2),
    }
    for policy in given.policy:
        began = time.process_time()
        result = simulate(trace, setting, POLICIES[policy], seed=0)
        told[policy] = {
            "cpuSeconds": round(time.process_time() - began, 1),
            "sloAttainmentPercent": round(100 * result.slo_attainment, 2),
            "gpuHours": round(result.gpu_hours, 1),
        }
    told["peakMemoryMiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(told, indent=1))
    (Path(__file__).parent / "million.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
