"""First requests: until the engine answers as fast as it will, and knows the sizes that will be measured."""

from __future__ import annotations

from tacho_runtime.probe import time_plan
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.session import ProbeSession

WARM_INPUT_TOKENS, WARM_OUTPUT_TOKENS = 16, 8
AGREEMENT = 0.10
MOST_WARM_REQUESTS = 4
BURSTS = (8, 32, 128)


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


async def warm_batches(bench: ProbeSession, concurrency: int, *, ttft: float, tpot: float) -> None:
    """Short bursts, so that no batch size is seen for the first time while it is measured.

    Not where even these few tokens are dear: engines that compile for a batch size are fast.
    """
    clock = bench.clock
    stop = clock.left() * 0.9
    if ttft + WARM_OUTPUT_TOKENS * tpot > 0.05 * clock.left():
        return
    took = 0.0
    for size in sorted({*(burst for burst in BURSTS if burst < concurrency), concurrency}):
        # The next one may take as much longer as it is larger.
        if size == 1 or clock.left() - 4 * took < stop:
            continue
        began = clock.now()
        await bench.engine.burst(size, WARM_INPUT_TOKENS, WARM_OUTPUT_TOKENS, clock.patience() / 4)
        took = clock.now() - began
