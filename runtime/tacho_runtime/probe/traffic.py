"""Whether the engine worked for anybody else: its own counters beside what came here. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tacho_runtime.probe.asking.counters import Counters
from tacho_runtime.probe.ports import Reading, Trace

NS = 1e9
AGREEMENT = 0.03
"""Counted by both sides alike: the engine's counters are taken, which need no chunk to be counted."""
OTHERS_SHARE = 0.03
"""More than that made for nobody here is other traffic."""
FINE = 0.004
"""Of a window's tokens, in a step or two: the ends matter less than chunks that hold several tokens."""
MOST_BEHIND = 1.25
"""Of what came: with nobody else's requests so much may wait in a front end or on its way, and more is not
believed. One H200 made 5 % more than came of 256 streams of a small model."""
SHORTEST_SECONDS = 1.0
"""A window that both sides can cut alike to a percent."""
FEW_TOKENS = 8.0
"""Made around the ends of a request on its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What the counters say of a window."""

    factor: float = 1.0
    """What the tokens counted here are to be multiplied with."""
    counted_by: str = "Client"
    excess: float = 0.0
    """What the engine made beyond what came here, as a share of that: too little to be called other traffic,
    it widens the interval."""
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def agreement(trace: Trace) -> Agreement:
    """The window's tokens by the engine beside those that came here.

    Only where the counter advances with each step: where it does when a request ends, a window of a few
    requests would be rounded to whole ones; such an engine is looked at around whole requests, see
    ``others``.
    """
    company = _company(trace)
    if min(company, default=0.0) > OTHERS_SHARE:
        most = max(round((1 + share) * trace.concurrency) for share in company)
        said = f"at {trace.concurrency} streams the engine had {most} requests: something else sends some"
        return Agreement(flags=("OtherTraffic",), notes=(said,))
    found = _counted(trace, alone=len(company) > 1 and max(company) <= OTHERS_SHARE)
    # Engines that count a request when it ends let go of one that was hung up on as late: the window's first
    # reading may show some of the level before.
    late = company if trace.readings and trace.readings[0].counters.by_step else company[-1:]
    return replace(found, excess=max(found.excess, *late, 0.0)) if not found.flags else found


def _company(trace: Trace) -> list[float]:
    """By how much the engine had more requests than came from here, at each reading, as a share of these. A
    step of many streams hides a few others from a count of tokens, and nothing from a count of requests."""
    counted = [(one.counters.running, one.counters.waiting) for one in trace.readings]
    here = max(1, trace.concurrency)
    return [
        max(0.0, (running + (waiting or 0.0)) / here - 1)
        for running, waiting in counted
        if running is not None
    ]


def _counted(trace: Trace, *, alone: bool) -> Agreement:
    """``alone``: by its gauges the engine had nobody else's requests."""
    ends = [one for one in trace.readings if one.counters.generated_tokens is not None]
    if len(ends) < 2 or not ends[0].counters.by_step:
        return Agreement()
    first, last = ends[0], ends[-1]
    made = (last.counters.generated_tokens or 0.0) - (first.counters.generated_tokens or 0.0)
    seconds = (last.stamp_ns - first.stamp_ns) / NS
    here = math.fsum(trace.bins) / (len(trace.bins) * trace.bin_nanoseconds / NS) if trace.bins else 0.0
    if seconds < SHORTEST_SECONDS or made <= 0 or here <= 0:
        return Agreement()
    factor = made / seconds / here
    # Both sides cut the window a step apart at either end, and a step brings each stream a token.
    step = 2 * trace.concurrency / max(1.0, made)
    if alone and 1 + OTHERS_SHARE + step < factor <= MOST_BEHIND:
        said = (
            f"at {trace.concurrency} streams the engine made {made / seconds:.0f} tokens/s, of which "
            f"{here:.0f} arrived in the time: what brings them is behind"
        )
        return Agreement(excess=factor - 1, notes=(said,))
    if factor > 1 + OTHERS_SHARE + step:
        said = (
            f"at {trace.concurrency} streams the engine made {made / seconds:.0f} tokens/s, of which "
            f"{here:.0f} came here: something else sends requests"
        )
        return Agreement(flags=("OtherTraffic",), notes=(said,))
    if factor < 1 - AGREEMENT - step:
        said = f"at {trace.concurrency} streams more came here than the engine counts: its count is taken"
        return Agreement(factor=factor, counted_by="Engine", notes=(said,))
    # Where the ends of the window are not worth a step, the engine's count is the finer one.
    if step < FINE:
        return Agreement(factor=factor, counted_by="Engine", excess=max(0.0, factor - 1))
    return Agreement(excess=max(0.0, factor - 1))


def others(before: Reading, after: Reading, *, received: float) -> float | None:
    """Tokens that the engine made for somebody else between two readings around requests that all ended;
    None where it does not count, or was restarted."""
    made = made_between(before.counters, after.counters)
    return None if made is None else made - received


def made_between(before: Counters, after: Counters) -> float | None:
    if before.generated_tokens is None or after.generated_tokens is None:
        return None
    made = after.generated_tokens - before.generated_tokens
    return made if made >= 0 else None


def is_foreign(others_tokens: float | None, *, received: float) -> bool:
    return others_tokens is not None and others_tokens > OTHERS_SHARE * received + FEW_TOKENS
