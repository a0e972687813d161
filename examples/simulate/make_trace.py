"""Writes trace.csv: an hour of made-up requests, drawn from one seed.

    python make_trace.py > trace.csv

They arrive by themselves, and as many as in a day that is short: one in two seconds at its ends, six a second
at its middle. Prompts and answers are long, and some are very long.
"""

from __future__ import annotations

import math
import random

SECONDS, QUIET, BUSY = 3600, 0.5, 6.0

draw = random.Random(20261121)  # noqa: S311 - traffic that is the same each time, nothing secret
print("time_s,input_tokens,output_tokens")
time = 0.0
while True:
    time += draw.expovariate(BUSY)
    if time >= SECONDS:
        break
    rate = QUIET + (BUSY - QUIET) * math.sin(math.pi * time / SECONDS) ** 4
    if draw.random() >= rate / BUSY:
        continue
    prompt = min(16_000, round(draw.lognormvariate(7.4, 0.9)))
    answer = min(4_000, 1 + round(draw.lognormvariate(6.6, 0.6)))
    print(f"{time:.2f},{prompt},{answer}")
