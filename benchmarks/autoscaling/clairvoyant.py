"""GPU-hours that no policy can do without, whatever it knows of the future: a lower bound.

A request takes at least its prompt's time and, for each further token, the smallest share of a step that any
batch gives. A kept request has this work by its deadline. The minimum of replicas runs anyway and serves by
deadline; work beyond it needs further replica time, none of it lost to queues, whole replicas, cold starts or
a full KV cache. Requests that may miss the SLO save at most their own work.
"""

from __future__ import annotations

import heapq
import math

from tacho_simulate.policy import Setting
from tacho_simulate.trace import Trace


def bound_gpu_hours(trace: Trace, setting: Setting, attainment: float) -> float:
    """Of every policy that keeps this share of the requests."""
    model, end = setting.model, trace.duration_seconds
    ttft, tpot = setting.slo_ttft_seconds or math.inf, setting.slo_tpot_seconds or math.inf
    token_seconds = min(model.step_seconds(batch) / batch for batch in range(1, model.max_num_seqs + 1))
    rows = zip(trace.time_seconds, trace.input_tokens, trace.output_tokens, strict=True)
    work = [
        (
            when,
            when + ttft + (answer - 1) * tpot,
            prompt / model.prefill_tokens_per_second + (answer - 1) * token_seconds,
        )
        for when, prompt, answer in rows
    ]
    missed = len(work) - math.ceil(attainment * len(work) - 1e-9)
    saved = math.fsum(heapq.nlargest(missed, (seconds for _, _, seconds in work)))
    further = math.fsum(_unserved(work, setting.min_replicas, end)) - saved
    return (setting.min_replicas * end + max(0.0, further)) / 3600


def _unserved(work: list[tuple[float, float, float]], replicas: int, end: float) -> list[float]:
    """Seconds of ``work`` (arrival, deadline, seconds) that replicas cannot do by deadlines up to ``end``.

    The earliest deadline is served first, which loses the least.
    """
    waiting: list[tuple[float, float]] = []
    lost: list[float] = []
    now = 0.0
    for arrival, deadline, seconds in [*work, (end, math.inf, 0.0)]:
        while waiting and now < arrival:
            due, left = heapq.heappop(waiting)
            ends = min(now + left / replicas, due, arrival)
            left -= max(0.0, ends - now) * replicas
            now = max(now, ends)
            if left > 1e-9 and due <= now:
                lost.append(left)
            elif left > 1e-9:
                heapq.heappush(waiting, (due, left))
        now = max(now, arrival)
        heapq.heappush(waiting, (deadline, seconds))
    lost += [left for due, left in waiting if due <= end]
    return lost
