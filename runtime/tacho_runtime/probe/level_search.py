"""Chooses the next level of concurrency to measure, and when to stop. Pure: every choice has its reason.

The model: the time between a stream's tokens is alpha + beta x streams. An engine computes one prompt in the
time p, so it accepts at most 1/p requests per second.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tacho_contract.units import counted

Boundary = Literal["", "Edge", "Plateau", "Floor", "NeverMet"]
"""How the capacity was found; "": a further level can change it, or no level is usable."""

MAX_STREAMS = 256
"""Most streams, where neither an SLO nor the plan sets more."""
MAX_STREAMS_UNDER_SLO = 2048
FIRST_STREAMS = 8
MOST_TIMES = 6
"""Largest ratio of a level's streams to those of the next lower level."""
EDGE_SHARE = 0.06
"""Distance, as a share of the streams, of two levels that show the edge of the SLO."""
PLATEAU_STREAMS, PLATEAU_GAIN = 1.25, 1.02
"""Defines a plateau: 1.25 times the streams give less than 1.02 times the throughput."""
FLAT_STREAMS = 4.0
"""Ratio of two levels' streams up to which equal throughput has no peak between them."""
WAITING_SHARE = 0.1
"""Share of a level's streams that wait for their first token, from which requests queue."""
PLATEAU_ERROR = 0.1
"""Largest sum of two rates' relative errors for a plateau, where an SLO shows the edge: on an H200 142 and
210 streams gave 7,600 tokens/s with errors of 9 and 23 %, and long loops 7,700 and 8,430."""
KNEE_SHARE = 0.9
"""Share of the highest throughput that defines the knee: the fewest streams that reach it."""
KNEE_AIM = 0.92
"""Share of the highest throughput that is aimed at, so that a slightly lower level is still the knee."""
KNEE_NEAR = 0.95
"""Highest share of the highest throughput with which a level counts as the knee itself."""
KNEE_CLOSE = 1.25
"""The knee is known when the next lower level that was tried has more than 1/1.25 of its streams."""
RATIO_ERROR = 0.02
"""Relative error of a latency percentile from a cohort, by chance of single requests."""
NO_FIGURE = "one stream has no rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedLevel:
    """One measured level with a known rate, a known verdict on the SLO, or both."""

    concurrency: int
    output_tokens_per_second: float
    """Throughput; NaN: unknown."""
    ttft_ratio: float | None = None
    """The SLO's percentile of TTFT divided by its limit; None: no limit."""
    tpot_ratio: float | None = None
    tpot_error: float = 0.0
    """Standard error of ``tpot_ratio``, as a share of it."""
    rate_error: float = 0.0
    """Half the interval of the rate, as a share of the rate."""
    waiting_share: float = 0.0
    """Share of its streams that wait longer for a first token than a single one does (Little's law)."""

    @property
    def rated(self) -> bool:
        return math.isfinite(self.output_tokens_per_second) and self.output_tokens_per_second > 0

    @property
    def slo_ratio(self) -> float | None:
        return max((one for one in (self.ttft_ratio, self.tpot_ratio) if one is not None), default=None)

    @property
    def cycle_seconds(self) -> float:
        """Seconds between two tokens of a stream, including its share of the prompts."""
        return self.concurrency / self.output_tokens_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """Limits of the search: the highest level, the SLO's limits, the prompt time, the engine's slots."""

    top: int
    """Most streams that may be tried."""
    full: bool = False
    """Whether the engine processes at most ``top`` requests at a time, so that more streams only wait."""
    prompt_seconds: float = 0.0
    """Seconds per prompt, if prompts delay each other; else 0."""
    output_tokens: int = 1
    ttft_seconds: float = 0.0
    """Limit of TTFT in the SLO, in seconds; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStep:
    """The next level to measure; ``concurrency`` None: the search has ended."""

    concurrency: int | None
    reason: str
    boundary: Boundary = ""


def top_level(*, desired: int, slots: int, has_slo: bool) -> tuple[int, str]:
    """(the highest level to try, the reason).

    ``desired``: the concurrency of the plan. ``slots``: the engine's own limit, 0 where that is unknown.
    """
    if slots:
        return slots, f"the engine runs {counted(slots, 'request')} at a time"
    top = max(MAX_STREAMS_UNDER_SLO if has_slo else MAX_STREAMS, desired)
    return top, f"at most {top} streams are tried"


def next_level(tried: Sequence[TriedLevel], limits: SearchLimits) -> SearchStep:
    """The next level above one stream to measure, given the measured ones (one stream among them), or the
    end."""
    step = _next_level(tried, limits)
    at_top = any(one.concurrency == limits.top for one in tried)
    if limits.full and at_top and step.boundary == "Floor":
        return replace(step, boundary="Plateau")
    return step


def _next_level(tried: Sequence[TriedLevel], limits: SearchLimits) -> SearchStep:
    if all(one.slo_ratio is None for one in tried):
        rated = [one for one in tried if one.rated]  # others tell nothing of a knee
        if not rated or _top_is_close(tried, max(one.concurrency for one in rated), limits.top):
            return _towards_knee(rated)
        return _climb_over(tried, rated, limits) or _climb(rated, limits, math.inf) or _towards_knee(rated)
    low, high = bracket(tried)
    if low is None:
        return SearchStep(concurrency=None, reason="one stream misses the SLO", boundary="NeverMet")
    if high is None:
        kept = [one for one in tried if one.concurrency <= low.concurrency]
        step = _climb(kept, limits, predicted_edge(kept, limits))
        return step or SearchStep(
            concurrency=None, reason=_keeping(low.concurrency), boundary=_boundary(kept)
        )
    return _between(tried, low, high)


def bracket(tried: Sequence[TriedLevel]) -> tuple[TriedLevel | None, TriedLevel | None]:
    """(the highest level below which all levels meet the SLO, the lowest that misses it); None: there is
    none."""
    ordered = sorted(tried, key=lambda one: one.concurrency)
    high = next((one for one in ordered if (one.slo_ratio or 0.0) > 1), None)
    kept = [one for one in ordered if high is None or one.concurrency < high.concurrency]
    return (kept[-1] if kept else None), high


def predicted_cycle(tried: Sequence[TriedLevel], streams: int) -> float:
    """Predicted seconds per token of a stream at that many streams, by the line through the two nearest
    levels.

    With one known level, at least its value; 0 where no level has a rate.
    """
    rated = sorted((one for one in tried if one.rated), key=lambda one: abs(one.concurrency - streams))[:2]
    if len(rated) < 2:
        return rated[0].cycle_seconds if rated else 0.0
    low, high = sorted(rated, key=lambda one: one.concurrency)
    slope = (high.cycle_seconds - low.cycle_seconds) / (high.concurrency - low.concurrency)
    return max(rated[0].cycle_seconds / 2, low.cycle_seconds + slope * (streams - low.concurrency))


def predicted_edge(kept: Sequence[TriedLevel], limits: SearchLimits) -> float:
    """Predicted number of streams at which the SLO is missed; infinity where it never is.

    The lowest of three: the time per token reaches its limit, waiting requests reach theirs, or prompts take
    up the engine's whole time.
    """
    levels = sorted(kept, key=lambda one: one.concurrency)[-2:]
    if len(levels) < 2:
        return math.inf
    first, last = levels
    found = [math.inf, _where_waiting_ends(first, last, limits)]
    if first.tpot_ratio is not None and last.tpot_ratio is not None and last.tpot_ratio > first.tpot_ratio:
        found.append(_crossing(first, last, first.tpot_ratio, last.tpot_ratio))
    if limits.prompt_seconds and last.ttft_ratio is not None and first.rated and last.rated:
        slope = (last.cycle_seconds - first.cycle_seconds) / (last.concurrency - first.concurrency)
        alone = last.cycle_seconds - slope * last.concurrency
        fewest = limits.prompt_seconds / limits.output_tokens
        if fewest > slope and alone > 0:
            found.append(alone / (fewest - slope))
    # What has been kept refutes a prediction below it.
    return min(edge for edge in found if edge > last.concurrency)


def _where_waiting_ends(first: TriedLevel, last: TriedLevel, limits: SearchLimits) -> float:
    """Streams at which waiting requests reach the TTFT limit; infinity where none wait at ``last``. If the
    engine accepts no more requests, each further stream waits for one request of all."""
    if first.ttft_ratio is None or last.ttft_ratio is None or not last.rated:
        return math.inf
    within_limit = last.output_tokens_per_second / limits.output_tokens * limits.ttft_seconds
    waiting = (last.ttft_ratio - first.ttft_ratio) * within_limit
    if waiting < max(1.0, WAITING_SHARE * last.concurrency):
        return math.inf
    return last.concurrency + (1 - last.ttft_ratio) * within_limit


def _climb(kept: Sequence[TriedLevel], limits: SearchLimits, edge: float) -> SearchStep | None:
    """The next higher level; None: the throughput no longer rises, or no higher level is allowed."""
    low = max(one.concurrency for one in kept)
    if low >= limits.top or _boundary(kept) == "Plateau":
        return None
    if low < FIRST_STREAMS:
        return SearchStep(concurrency=min(FIRST_STREAMS, limits.top), reason="several streams")
    # A little beyond the edge: with a level below, that shows it. Beside a queue, more streams only wait.
    queue = edge == math.inf and max(kept, key=lambda one: one.concurrency).waiting_share >= WAITING_SHARE
    times = PLATEAU_STREAMS if queue else MOST_TIMES
    desired = min(times * low, math.ceil((1 + EDGE_SHARE / 2) * edge) if edge < math.inf else math.inf)
    nearest = low + close_to(low)
    most = f"{limits.top} streams is the maximum" if desired >= limits.top else f"more than {low} streams"
    return SearchStep(concurrency=min(limits.top, max(nearest, math.ceil(desired))), reason=most)


def _top_is_close(tried: Sequence[TriedLevel], low: int, top: int) -> bool:
    """Whether the highest allowed level has no known rate, but is close enough to one that has."""
    return low < top <= KNEE_CLOSE * low and any(one.concurrency == top for one in tried)


def _climb_over(
    tried: Sequence[TriedLevel], rated: Sequence[TriedLevel], limits: SearchLimits
) -> SearchStep | None:
    """A level above the first of several streams, if only that one has no known rate. None: search as
    usual."""
    low, highest = (max(one.concurrency for one in found) for found in (rated, tried))
    if highest != FIRST_STREAMS or not FIRST_STREAMS / 2 <= low < FIRST_STREAMS < limits.top:
        return None
    return SearchStep(concurrency=min(limits.top, MOST_TIMES * low), reason=f"more than {low} streams")


def _boundary(kept: Sequence[TriedLevel]) -> Boundary:
    """Plateau, if the highest level has hardly more throughput than a lower one; else Floor."""
    rated = sorted((one for one in kept if one.rated), key=lambda one: one.concurrency)
    flat = any(
        PLATEAU_STREAMS * one.concurrency <= rated[-1].concurrency
        and rated[-1].output_tokens_per_second < PLATEAU_GAIN * one.output_tokens_per_second
        and (one.slo_ratio is None or one.rate_error + rated[-1].rate_error <= PLATEAU_ERROR)
        for one in rated
    )
    return "Plateau" if flat else "Floor"


def _between(tried: Sequence[TriedLevel], low: TriedLevel, high: TriedLevel) -> SearchStep:
    """The next level between both: by the secant if TPOT misses the SLO, by bisection if TTFT does."""
    fewest, most = low.concurrency, high.concurrency
    apart = close_to(fewest)
    falls = high.output_tokens_per_second * PLATEAU_GAIN < low.output_tokens_per_second
    if most <= FLAT_STREAMS * fewest and not falls and _boundary((low, high)) == "Plateau":
        reason = f"{_keeping(fewest)}, and {most} bring no more throughput"
        return SearchStep(concurrency=None, reason=reason, boundary="Plateau")
    if _boundary([one for one in tried if one.concurrency <= fewest]) == "Plateau":
        reason = f"{_keeping(fewest)}, and bring no more throughput than fewer do"
        return SearchStep(concurrency=None, reason=reason, boundary="Plateau")
    if most - fewest <= apart:
        reason = f"{_keeping(fewest)}, {most} miss it"
        return SearchStep(concurrency=None, reason=reason, boundary="Edge")
    inside = sum(fewest <= one.concurrency <= most or one.concurrency > most for one in tried) - 2
    guess = round(math.sqrt(fewest * most))
    if (high.ttft_ratio or 0.0) <= 1 and inside < 3:
        guess = math.floor(edge_between(low, high) + 1e-9)
    # Beside a level that was just tried the step is as short as the edge has to be known.
    nearest = (
        min(max(guess, fewest + apart), most - apart) if most - fewest > 2 * apart else (fewest + most) // 2
    )
    return SearchStep(
        concurrency=min(max(nearest, fewest + 1), most - 1),
        reason=f"between {counted(fewest, 'stream')}, which keep the SLO, and {most}, which miss it",
    )


def uncertain_streams(low: TriedLevel, high: TriedLevel) -> float:
    """Standard error, in streams, of the edge between ``low`` and ``high``, as their times per token vary; 0
    where these do not set it."""
    error = max(low.tpot_error, high.tpot_error)
    below, above = low.tpot_ratio, high.tpot_ratio
    if not error or below is None or above is None or not _is_by_tpot(high):
        return 0.0
    return min(
        float(low.concurrency), error * (high.concurrency - low.concurrency) / max(above - below, 1e-9)
    )


def close_to(streams: int) -> int:
    """How many streams above ``streams`` a level may be, so that missing the SLO there shows the edge
    precisely."""
    return max(1, math.floor(EDGE_SHARE * streams))


def _keeping(streams: int) -> str:
    return f"{counted(streams, 'stream')} {'meets' if streams == 1 else 'meet'} the SLO"


def _crossing(low: TriedLevel, high: TriedLevel, below: float, above: float) -> float:
    """Number of streams at which the line through both levels reaches the limit of the SLO."""
    return low.concurrency + (1 - below) / (above - below) * (high.concurrency - low.concurrency)


def edge_between(low: TriedLevel, high: TriedLevel) -> float:
    """Streams at which the SLO is first missed: by the line between both levels' times per token, else in the
    middle."""
    below, above = low.tpot_ratio, high.tpot_ratio
    if below is None or above is None or not _is_by_tpot(high):
        return (low.concurrency + high.concurrency) / 2
    return _crossing(low, high, below, above)


def _is_by_tpot(high: TriedLevel) -> bool:
    """Whether ``high`` misses the SLO by its times per token alone."""
    return (high.tpot_ratio or 0.0) > 1 >= (high.ttft_ratio or 0.0)


def knee_of(tried: Sequence[TriedLevel]) -> TriedLevel | None:
    """The knee: the fewest streams with nine tenths of the highest throughput; None where no level has a
    throughput."""
    known = [one for one in tried if one.rated]
    if not known:
        return None
    highest = max(one.output_tokens_per_second for one in known)
    enough = [one for one in known if one.output_tokens_per_second >= KNEE_SHARE * highest]
    return min(enough, key=lambda one: one.concurrency)


def _towards_peak(tried: Sequence[TriedLevel], *, flat: bool = False) -> SearchStep | None:
    """A level beside the one with the highest throughput, where that may be higher still: before one that has
    clearly less, with ``flat`` between two far apart that have as much. None: there is none."""
    rated = sorted((one for one in tried if one.rated), key=lambda one: one.concurrency)
    most = max((one.output_tokens_per_second for one in rated), default=0.0)
    for low, high in itertools.pairwise(rated):
        times = high.concurrency / low.concurrency
        rate, next_rate = low.output_tokens_per_second, high.output_tokens_per_second
        falls = PLATEAU_GAIN * (1 + high.rate_error) * next_rate < (1 - low.rate_error) * rate
        alike = flat and times > FLAT_STREAMS and next_rate < PLATEAU_GAIN * rate
        apart = high.concurrency - low.concurrency > 1 and times > KNEE_CLOSE
        if most in (rate, next_rate) and apart and (falls or alike):
            return SearchStep(
                concurrency=max(low.concurrency + 1, math.isqrt(low.concurrency * high.concurrency)),
                reason=f"between {low.concurrency} and {high.concurrency} streams, where more may be reached",
                boundary="Plateau",
            )
    return None


def _towards_knee(tried: Sequence[TriedLevel]) -> SearchStep:
    step = _towards_peak(tried) or _below_knee(tried)
    return step if step.concurrency else _towards_peak(tried, flat=True) or step


def _below_knee(tried: Sequence[TriedLevel]) -> SearchStep:
    knee = knee_of(tried)
    if knee is None:
        return SearchStep(concurrency=None, reason=NO_FIGURE, boundary="Floor")
    rated = {one.concurrency: one for one in tried if one.rated}
    highest = max(one.output_tokens_per_second for one in rated.values())
    under = max((one for one in rated if one < knee.concurrency), default=0)
    boundary: Boundary = "Plateau" if max(rated) > knee.concurrency else "Floor"
    if not under:
        reason = "one stream reaches nine tenths of the highest throughput"
        return SearchStep(concurrency=None, reason=reason, boundary=boundary)
    close = knee.concurrency - under <= 1 or knee.concurrency <= KNEE_CLOSE * under
    if close or knee.output_tokens_per_second <= KNEE_NEAR * highest:
        share = knee.output_tokens_per_second / highest
        not_under = f"{under} {'does' if under == 1 else 'do'} not"
        reason = f"{knee.concurrency} streams reach {share:.0%} of the highest throughput, {not_under}"
        return SearchStep(concurrency=None, reason=reason, boundary=boundary)
    guess = _reaching(rated[under], knee, KNEE_AIM * highest)
    return SearchStep(
        concurrency=min(max(guess, under + 1), knee.concurrency - 1),
        reason=f"between {under} and {knee.concurrency} streams, where the throughput flattens",
        boundary=boundary,
    )


def _reaching(below: TriedLevel, above: TriedLevel, rate: float) -> int:
    """Number of streams that reach ``rate``. The time per token of all streams, C / X(C), is taken as a line
    between both levels, as for ITL(C) = alpha + beta x C."""
    low, high = below.concurrency, above.concurrency
    slope = (above.cycle_seconds - below.cycle_seconds) / (high - low)
    left = 1 - rate * slope
    found = rate * (below.cycle_seconds - slope * low) / left if left > 0 else math.inf
    return round(found) if low < found < high else round(math.sqrt(low * high))
