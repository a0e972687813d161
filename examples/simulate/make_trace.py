"""Writes an hour of made-up requests, drawn from one seed.

    python make_trace.py > trace.csv
    python make_trace.py 20261122 > next-day.csv

They arrive by themselves, and as many as in a day that is short: one in two seconds at its ends, six a second
at its middle. Prompts and answers are long, and some are very long.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator

SECONDS, QUIET, BUSY = 3600, 0.5, 6.0
CHANGE_SECONDS = (900, 1800)
SEED = 20261121


def rows(seed: int, *, prompts: float = 1.0, answers: float = 1.0) -> Iterator[tuple[float, int, int]]:
    """Seconds, prompt tokens and answer tokens of each request.

    Lengths are multiplied by ``prompts`` and ``answers`` from the end of CHANGE_SECONDS on, and by less
    before.
    """
    draw, time = random.Random(seed), 0.0  # noqa: S311 - traffic that is the same each time, nothing secret
    while (time := time + draw.expovariate(BUSY)) < SECONDS:
        rate = QUIET + (BUSY - QUIET) * math.sin(math.pi * time / SECONDS) ** 4
        if draw.random() >= rate / BUSY:
            continue
        begins, ends = CHANGE_SECONDS
        changed = min(1.0, max(0.0, (time - begins) / (ends - begins)))
        prompt = min(16_000, round(prompts**changed * draw.lognormvariate(7.4, 0.9)))
        yield time, prompt, min(4_000, 1 + round(answers**changed * draw.lognormvariate(6.6, 0.6)))


if __name__ == "__main__":
    print("time_s,input_tokens,output_tokens")
    for time, prompt, answer in rows(int((*sys.argv[1:], SEED)[0])):
        print(f"{time:.2f},{prompt},{answer}")
