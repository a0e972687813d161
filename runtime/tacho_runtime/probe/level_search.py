"""Which level to measure next, and when enough is known. Pure: every choice comes with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_contract.units import counted

MAX_STREAMS = 256
"""Maximum number of streams that the probe tries, where the engine itself accepts that many."""
EDGE_SHARE = 0.05
"""Levels that are so close, one within the service level and one beyond, show the edge."""
FAR_SHORT = 0.85
"""Of the limit of the service level."""
KNEE_SHARE = 0.9
"""Share of the highest throughput: the lowest number of streams that reaches it is the knee."""
KNEE_AIM = 0.92
"""Aimed at, so that a knee that is a little less than it promised is still one."""
KNEE_NEAR = 0.95
"""A level with at most this share of the highest throughput is the knee itself."""
KNEE_CLOSE = 1.25
"""The knee is known when the next lower level that was tried has more than 1/1.25 of its streams."""
PLATEAU_GAIN = 1.05
NO_FIGURE = "one stream could not be measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedLevel:
    """One level that tells a rate, whether it keeps the service level, or both."""

    concurrency: int
    output_tokens_per_second: float
    """Not a number: it tells no rate."""
    slo_ratio: float | None = None
    """Latency over its limit; None without a service level."""

    @property
    def rated(self) -> bool:
        return math.isfinite(self.output_tokens_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStep:
    """``concurrency`` None: the search is over, with ``boundary``."""

    concurrency: int | None
    reason: str
    boundary: str = ""


def top_level(
    *, desired: int, slots: int, kv_cache_tokens: int | None, request_tokens: int
) -> tuple[int, str]:
    """(the highest level worth trying, why). ``desired``: what the plan counts with; ``slots``: the engine's
    own limit, 0 where it has none that is known."""
    if slots:
        top, why = slots, f"the engine runs {counted(slots, 'request')} at a time"
    else:
        top, why = max(MAX_STREAMS, desired), f"at most {max(MAX_STREAMS, desired)} streams are tried"
    if kv_cache_tokens:
        fitting = max(1, kv_cache_tokens // max(1, request_tokens))
        if fitting < top:
            top = fitting
            why = (
                f"the KV cache of {kv_cache_tokens} tokens holds {counted(fitting, 'request')} of "
                f"{request_tokens}"
            )
    return max(1, top), why


def next_level(tried: Sequence[TriedLevel], *, top: int) -> SearchStep:
    """The next level above one, given those that were tried (one stream among them)."""
    if not tried:
        return SearchStep(concurrency=None, reason=NO_FIGURE, boundary="Floor")
    levels = {one.concurrency: one for one in tried}
    if top > 1 and not any(one.concurrency >= top for one in tried):
        return SearchStep(concurrency=top, reason=f"{top} streams is the maximum")
    if any(one.slo_ratio is not None for one in tried):
        return _towards_edge(levels)
    return _towards_knee(levels)


def _towards_edge(levels: dict[int, TriedLevel]) -> SearchStep:
    kept = [level for level, one in levels.items() if one.slo_ratio is not None and one.slo_ratio <= 1]
    broken = sorted(level for level, one in levels.items() if one.slo_ratio is not None and one.slo_ratio > 1)
    low = max((level for level in kept if not broken or level < broken[0]), default=0)
    if not low:
        return SearchStep(concurrency=None, reason="one stream misses the SLO", boundary="NeverMet")
    high = broken[0] if broken else 0
    if not high:
        boundary = _top_boundary(levels)
        return SearchStep(concurrency=None, reason=_keeping(low), boundary=boundary)
    apart = max(1, math.floor(EDGE_SHARE * low))
    if high - low <= apart:
        return SearchStep(
            concurrency=None,
            reason=f"{_keeping(low)}, {high} miss it",
            boundary="Edge",
        )
    guess = _crossing(levels, low, high)
    # Beside a level that was just tried the step is as short as the edge has to be known.
    nearest = min(max(guess, low + apart), high - apart) if high - low > 2 * apart else (low + high) // 2
    return SearchStep(
        concurrency=min(max(nearest, low + 1), high - 1),
        reason=f"between {low} streams, which meet the SLO, and {high}, which miss it",
    )


def _keeping(streams: int) -> str:
    return f"{counted(streams, 'stream')} {'meets' if streams == 1 else 'meet'} the SLO"


def _crossing(levels: dict[int, TriedLevel], low: int, high: int) -> int:
    """The most streams that should keep the service level.

    By the line through the two neighbours, which is the law of most engines. Where a level that it named fell
    far short of the limit the law bends upwards: then by the line between the logarithms, and by the middle
    of those where even that has not closed the gap to a quarter.
    """
    below, above = levels[low].slo_ratio or 0.0, levels[high].slo_ratio or 0.0
    inner = sum(1 for level in levels if level > 1) - 1
    middle = round(math.sqrt(low * high))
    if above <= below or below <= 0 or (inner >= 3 and high > KNEE_CLOSE * low):
        return middle
    if inner >= 1 and below < FAR_SHORT:
        share: float = math.log(1 / below) / math.log(above / below)
        return round(low * math.pow(high / low, share))
    return math.floor(low + (1 - below) / (above - below) * (high - low) + 1e-9)


def _top_boundary(levels: dict[int, TriedLevel]) -> str:
    top = max(levels)
    below = [one.output_tokens_per_second for level, one in levels.items() if level < top and one.rated]
    gained = levels[top].output_tokens_per_second
    return "Plateau" if below and gained < PLATEAU_GAIN * max(below) else "Floor"


def knee_of(tried: Sequence[TriedLevel]) -> TriedLevel | None:
    """The fewest streams with nine tenths of the highest throughput that was seen; None where no level has a
    throughput that is a number."""
    known = [one for one in tried if one.rated]
    if not known:
        return None
    highest = max(one.output_tokens_per_second for one in known)
    enough = [one for one in known if one.output_tokens_per_second >= KNEE_SHARE * highest]
    return min(enough, key=lambda one: one.concurrency)


def _towards_knee(levels: dict[int, TriedLevel]) -> SearchStep:
    knee = knee_of(tuple(levels.values()))
    if knee is None:
        return SearchStep(concurrency=None, reason=NO_FIGURE, boundary="Floor")
    rated = {level: one for level, one in levels.items() if one.rated}
    highest = max(one.output_tokens_per_second for one in rated.values())
    under = max((level for level in levels if level < knee.concurrency), default=0)
    boundary = "Plateau" if max(rated) > knee.concurrency else _top_boundary(rated)
    if not under:
        reason = "one stream reaches nine tenths of the highest throughput"
        return SearchStep(concurrency=None, reason=reason, boundary=boundary)
    close = knee.concurrency - under <= 1 or knee.concurrency <= KNEE_CLOSE * under
    if close or knee.output_tokens_per_second <= KNEE_NEAR * highest:
        share = knee.output_tokens_per_second / highest
        not_under = f"{under} {'does' if under == 1 else 'do'} not"
        reason = f"{knee.concurrency} streams reach {share:.0%} of the highest throughput, {not_under}"
        return SearchStep(concurrency=None, reason=reason, boundary=boundary)
    guess = _reaching(levels[under], knee, KNEE_AIM * highest)
    return SearchStep(
        concurrency=min(max(guess, under + 1), knee.concurrency - 1),
        reason=f"between {under} and {knee.concurrency} streams, where the throughput flattens",
    )


def _reaching(below: TriedLevel, above: TriedLevel, rate: float) -> int:
    """Streams at which ``rate`` is reached, with the time a token takes of all streams' time, C / X(C), taken
    as a line between the two: it is one where ITL(C) = alpha + beta x C."""
    low, high = below.concurrency, above.concurrency
    if not below.rated or min(below.output_tokens_per_second, above.output_tokens_per_second) <= 0:
        return round(math.sqrt(low * high))
    per_low, per_high = low / below.output_tokens_per_second, high / above.output_tokens_per_second
    slope = (per_high - per_low) / (high - low)
    left = 1 - rate * slope
    found = rate * (per_low - slope * low) / left if left > 0 else math.inf
    return round(found) if low < found < high else round(math.sqrt(low * high))
