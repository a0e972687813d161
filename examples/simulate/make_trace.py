"""Writes trace.csv: half an hour of made-up requests, drawn from one seed.

    python make_trace.py > trace.csv

They arrive by themselves, about one a second; from the tenth to the eighteenth minute four a second. Prompts
and answers are long, and some are very long.
"""

from __future__ import annotations

import random

SECONDS, QUIET, BUSY = 1800, 1.0, 4.0
BUSY_FROM, BUSY_TO = 600, 1080

draw = random.Random(20261121)  # noqa: S311 - traffic that is the same each time, nothing secret
print("time_s,input_tokens,output_tokens")
time = 0.0
while True:
    time += draw.expovariate(BUSY if BUSY_FROM <= time < BUSY_TO else QUIET)
    if time >= SECONDS:
        break
    prompt = min(16_000, round(draw.lognormvariate(7.4, 0.9)))
    answer = min(4_000, 1 + round(draw.lognormvariate(6.6, 0.6)))
    print(f"{time:.2f},{prompt},{answer}")
