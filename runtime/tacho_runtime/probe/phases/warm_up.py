"""First requests: until the engine answers as fast as it will, and knows the sizes that will be measured."""

from __future__ import annotations

from tacho_runtime.probe import time_plan
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.session import ProbeSession

WARM_OUTPUT_TOKENS = 8
AGREEMENT = 0.10
MOST_WARM_REQUESTS = 4


async def warm_up(bench: ProbeSession) -> tuple[float, float]:
    """(seconds to the first token, seconds a token), once two requests agree. Raises RequestFailed.

    The times are the best seen, to plan with: what disturbs a machine that is still starting other things
    should not shorten what is measured. A prompt that takes more than a third of the probe's time is cut to a
    quarter.
    """
    clock = bench.clock
    stop = clock.left() * 0.85
    times: list[float] = []
    tpots: list[float] = []
    while not times or (len(times) < MOST_WARM_REQUESTS and clock.left() > stop):
        workload = bench.shape.workload
        size, timeout_seconds = workload.input_tokens, clock.patience() / 3
        output_tokens = min(WARM_OUTPUT_TOKENS, workload.output_tokens)
        try:
            stream = await bench.engine.ask(size, output_tokens, timeout_seconds)
        except RequestFailed as error:
            if error.answered or times or size < 64 or timeout_seconds < 1:
                raise
            bench.shape = time_plan.quartered(bench.shape, timeout_seconds, bench.advice)
            continue
        times.append((stream.ttft_milliseconds or 0.0) / 1000)
        tpots.append((stream.tpot_milliseconds or 0.0) / 1000)
        if len(times) > 1 and abs(times[-1] - times[-2]) <= AGREEMENT * times[-1]:
            break
    return min(times), min(tpots)
