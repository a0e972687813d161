"""The throughput of a closed loop from whole cycles: from one request's first token to another's. Pure.

Where a prompt stops everybody's tokens for a while, as on a CPU or with long prompts, tokens come in bursts:
a window that holds one prompt more or less than its tokens stand for is off by a tenth, and its bins say of
themselves that they know nothing. A cycle holds whole prompts. Its time is ``prompts * a + tokens * b``,
fitted by least squares, and a request of the workload's length takes ``a + length * b``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_runtime.probe.statistics import lag_one, t_975

FEWEST_CYCLES = 5
MOST_CYCLES = 40
"""More are joined: enough for Student's t, and each then ends within many steps rather than in one."""
COLLINEAR = 1e-9
FARTHEST = 2.0
"""Cycles of more tokens, or fewer, than a request by this factor do not tell what such a request takes."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """From the bin in which a request's first token came to the bin of a later one's, that one included."""

    seconds: float
    tokens: float
    prompts: int


@dataclass(frozen=True, slots=True)
class CycleRate:
    tokens_per_second: float
    ci_percent: float
    """Half the 95 % interval, in percent of the rate."""


def cycles(bins: Sequence[float], started: Sequence[int], bin_seconds: float) -> list[Cycle]:
    """``bins``: tokens in equal bins of time. ``started``: requests whose first token came in them."""
    begins = [place for place, count in enumerate(started) if count]
    each = max(1, math.ceil(sum(started[place] for place in begins[1:]) / MOST_CYCLES)) if begins else 1
    found: list[Cycle] = []
    opened, prompts = (begins[0], 0) if begins else (0, 0)
    for place in begins[1:]:
        prompts += started[place]
        if prompts < each:
            continue
        tokens = math.fsum(bins[opened + 1 : place + 1])
        found.append(Cycle((place - opened) * bin_seconds, tokens, prompts))
        opened, prompts = place, 0
    return found


def rate_of(found: Sequence[Cycle], output_tokens: float, *, step_seconds: float = 0.0) -> CycleRate | None:
    """Of requests that have ``output_tokens`` on average; None below FEWEST_CYCLES, or where cycles like
    these do not tell what such a request takes.

    Weighted by prompts, as a cycle of several varies as several do; neighbours that are slow together count
    for fewer. No interval is narrower than a step of the engine is of all cycles: where in one the first of
    them begins and the last one ends, none of them shows.
    """
    n = len(found)
    if n < FEWEST_CYCLES:
        return None
    prompts = math.fsum(one.prompts for one in found)
    tokens = math.fsum(one.tokens for one in found)
    seconds = math.fsum(one.seconds for one in found)
    if not output_tokens / FARTHEST <= tokens / prompts <= FARTHEST * output_tokens:
        return None
    squares = math.fsum(one.tokens**2 / one.prompts for one in found)
    crossed = math.fsum(one.seconds * one.tokens / one.prompts for one in found)
    determinant = prompts * squares - tokens**2
    if determinant <= COLLINEAR * prompts * squares:
        per_prompt, per_token = 0.0, seconds / tokens if tokens else math.inf
        spread = 1 / prompts
    else:
        per_prompt = (squares * seconds - tokens * crossed) / determinant
        per_token = (prompts * crossed - tokens * seconds) / determinant
        spread = (squares - 2 * output_tokens * tokens + output_tokens**2 * prompts) / determinant
    request_seconds = per_prompt + per_token * output_tokens
    if not 0 < request_seconds < math.inf:
        return None
    off = [
        (one.seconds - per_prompt * one.prompts - per_token * one.tokens) / math.sqrt(one.prompts)
        for one in found
    ]
    lag = min(max(lag_one(off), 0.0), 0.9)
    alike = (1 + lag) / (1 - lag)
    freedom = max(1.0, n / alike - 2)
    variance = math.fsum(one * one for one in off) / (n - 2) * spread * alike
    varied = t_975(freedom) * math.sqrt(variance) / request_seconds
    return CycleRate(output_tokens / request_seconds, 100 * max(varied, step_seconds / seconds))
