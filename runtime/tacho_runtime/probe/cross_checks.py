"""Compares the client's measurements with the engine's counters, and with the client's own delays. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tacho_runtime.probe.engine_under_test import ClientHealth, LoadTrace
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tacho_runtime.probe.load.streams import StreamResult

CLIENT_BOUND = "ClientBound"
LAG_MILLISECONDS = 5.0
LATE_SEND_MILLISECONDS = 10.0
CPU_SHARE = 0.8
OUTSIDE_SHARE, OUTSIDE_MILLISECONDS = 0.2, 10.0
"""Limits of the part of TTFT that is spent outside the engine: a fifth and 10 ms. A note is written if both
are exceeded.
"""


def client_lateness(health: ClientHealth, tpot_milliseconds: float) -> str:
    """A message about delays of the probe itself; "" where they are below half of the time per token.

    Such short delays are normal: on few CPUs an engine delays every other process.
    """
    fine = tpot_milliseconds / 2
    lag, late = health.lag_milliseconds_p99, health.late_send_milliseconds_p99
    found = []
    if lag > max(LAG_MILLISECONDS, fine):
        found.append(f"was late by {lag:.0f} ms")
    if late > max(LATE_SEND_MILLISECONDS, fine):
        found.append(f"sent requests {late:.0f} ms after they were due")
    if health.cpu_share > CPU_SHARE:
        found.append(f"used {health.cpu_share:.0%} of a CPU")
    return f"the probe client {' and '.join(found)}: engine capacity may be higher" if found else ""


def time_outside_engine(
    before: CounterReading, after: CounterReading, streams: Sequence[StreamResult]
) -> str:
    """A message about the part of TTFT spent outside the engine, by the engine's own sum for these requests.

    "" where that part is small, the engine has no such sum, or other clients' requests are in it.
    """
    ours = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
    its = engine_ttft_milliseconds((before, after))
    first, last = before.counters.ttft_seconds_count or 0.0, after.counters.ttft_seconds_count or 0.0
    if its is None or last - first != len(ours):
        return ""
    mine = math.fsum(ours) / len(ours)
    if mine - its <= max(OUTSIDE_SHARE * mine, OUTSIDE_MILLISECONDS):
        return ""
    return f"{mine - its:.0f} ms of the {mine:.0f} ms to the first token passed outside the engine"


def engine_ttft_milliseconds(readings: Sequence[CounterReading]) -> float | None:
    """Mean TTFT between the first and the last of ``readings``, by the engine's own sum and count.

    None where the engine does not count it, or sent no first token in that time.
    """
    known = [
        (one.counters.ttft_seconds_sum, one.counters.ttft_seconds_count)
        for one in readings
        if one.counters.ttft_seconds_sum is not None and one.counters.ttft_seconds_count is not None
    ]
    if len(known) < 2 or known[-1][1] <= known[0][1] or known[-1][0] < known[0][0]:
        return None  # nor where a sum falls: it is that of a restarted engine, or of another one
    return 1000 * (known[-1][0] - known[0][0]) / (known[-1][1] - known[0][1])


LOADED_SHARE, LOADED_MILLISECONDS = 0.25, 20.0
"""Limits of the mean time that first tokens of a loaded engine pass outside it, to be worth a message."""


def waits_outside(trace: LoadTrace, tpot_milliseconds: float, *, near: bool = True) -> str:
    """A message about the part of a level's TTFT outside the engine; "" where that is small or unknown.

    The engine's sum and the client's stamps are of the same time, from the first reading to the last.
    ``near``: the engine is on this machine, so the network cannot be the cause.
    """
    engine = engine_ttft_milliseconds(trace.readings)
    if engine is None or client_lateness(trace.client, tpot_milliseconds):
        return ""
    counted_ns = [one.stamp_ns for one in trace.readings if one.counters.ttft_seconds_sum is not None]
    begins, ends = counted_ns[0], counted_ns[-1]
    ours = [
        ttft
        for stream in trace.streams
        if (ttft := stream.ttft_milliseconds) is not None and begins < stream.tokens[0][0] <= ends
    ]
    mine = math.fsum(ours) / len(ours) if ours else 0.0
    if mine - engine <= max(LOADED_SHARE * mine, LOADED_MILLISECONDS):
        return ""
    cause = "in its HTTP front end" if near else "in its HTTP front end or the network"
    return (
        f"at {trace.concurrency} streams {mine - engine:.0f} ms of the {mine:.0f} ms to the first token "
        f"passed outside the engine, {cause} (vLLM: --api-server-count N starts more front ends)"
    )


FRONTEND_BOUND = "FrontendBound"
MISSING_SHARE, MISSING_STREAMS = 0.1, 2.0
"""Limits of streams whose requests the engine did not have: a tenth, and 2. More than both is no chance."""


def front_end_limit(trace: LoadTrace, tpot_milliseconds: float, *, near: bool = True) -> str:
    """A message that the engine's HTTP front end limits the throughput of a level; "" where it does not.

    By its gauges the engine had fewer requests than the client had open: the others were in the front end. ""
    also without gauges, where the client was late, or where another engine had them. ``near``: the engine is
    on this machine, so the network cannot be the cause.
    """
    held = [
        one.counters.running + one.counters.waiting
        for one in trace.readings
        if one.counters.running is not None and one.counters.waiting is not None
    ]
    if (
        len(held) < 2
        or not trace.started
        or trace.failures
        or client_lateness(trace.client, tpot_milliseconds)
        or counts_a_part(trace)
        or is_cached(trace)
    ):
        return ""
    held = held[1:]  # a cache may show the first one of the level before
    missing = trace.concurrency - math.fsum(held) / len(held)
    if missing < max(MISSING_STREAMS, MISSING_SHARE * trace.concurrency):
        return ""
    own = engine_ttft_milliseconds(trace.readings)
    counted = f", and by its own count a first token takes {own:.0f} ms" if own is not None else ""
    limits = (
        "its HTTP front end limits it (vLLM: --api-server-count N starts more, for an earlier first token; "
        "they may also cost throughput)"
    )
    return (
        f"at {trace.concurrency} streams the engine had {trace.concurrency - missing:.0f} requests at a time"
        f"{counted}: {limits if near else 'its HTTP front end or the network limits it'}"
    )


NS = 1e9
AGREEMENT = 0.03
"""Difference of the engine's and the probe's token counts, as a share, up to which the engine's count is
used. It does not depend on chunks.
"""
OTHERS_SHARE = 0.03
"""Share of tokens that no request of the probe received, above which they count as other traffic."""
FINE = 0.004
"""Share of a window's tokens in one or two steps below which the inexact ends of the window do not matter."""
CACHED = "its metrics were older than their reading, as from a cache: its counts are not used"
MAX_BEHIND = 1.25
"""Highest ratio of tokens counted by the engine to tokens received that is believed.

Without other clients, some tokens wait in a front end or on the network: one H200 generated 5 % more than
arrived from 256 streams of a small model.
"""
SHORTEST_SECONDS = 1.0
"""Shortest window in seconds for which engine and probe count the same time to a percent."""
FEW_TOKENS = 8.0
"""Tokens of difference that are no sign of other clients: they are generated around a request's ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterCheck:
    """The comparison of the engine's token counter with the probe's, for one window."""

    factor: float = 1.0
    """Factor by which the probe's token count is multiplied."""
    counted_by: str = "Client"
    excess: float = 0.0
    """Tokens that the engine generated beyond those received, as a share of these. Too small to count as
    other clients' traffic; it widens the interval.
    """
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_counters(trace: LoadTrace, *, behind: bool = False) -> CounterCheck:
    """Compares the engine's count of a window's tokens with the tokens received.

    Only for a counter that advances at every step. One that advances at a request's end is checked around
    whole requests by ``foreign_tokens``. ``behind``: a front end delays tokens, so that more are counted than
    received.
    """
    extra = _extra_requests(trace) if trace.started else []
    held = [*extra, *_extra_elsewhere(trace)] if trace.started else []
    if min(held, default=0.0) > OTHERS_SHARE:
        most = max(round((1 + share) * trace.concurrency) for share in held)
        note = f"at {trace.concurrency} streams the engine had {most} requests: another client sends some"
        return CounterCheck(flags=("OtherTraffic",), notes=(note,))
    alone = len(extra) > 1 and max(extra) <= OTHERS_SHARE
    if behind and alone:
        return CounterCheck()
    found = _counted(trace, alone=alone)
    # Engines that count a request when it ends let go of one that was hung up on as late: the window's first
    # reading may show some of the level before.
    late = extra if trace.readings and trace.readings[0].counters.by_step else extra[-1:]
    return replace(found, excess=max(found.excess, *late, 0.0)) if not found.flags else found


def _extra_requests(trace: LoadTrace) -> list[float]:
    """For each reading, by what share the engine ran more requests than the probe had sent.

    Other clients' few streams are visible in the number of requests, but not in the number of tokens.
    """
    counted = [(one.counters.running, one.counters.waiting) for one in trace.readings]
    return [
        _excess_share(trace, running + (waiting or 0.0))
        for running, waiting in counted
        if running is not None
    ]


def _extra_elsewhere(trace: LoadTrace) -> list[float]:
    """The same of readings with another start: no engine has more of the probe's requests than were sent."""
    return [
        _excess_share(trace, one.requests_there) for one in trace.readings if one.requests_there is not None
    ]


def _excess_share(trace: LoadTrace, requests: float) -> float:
    return max(0.0, requests / max(1, trace.concurrency) - 1)


def is_cached(trace: LoadTrace) -> bool:
    """Whether two readings in a row are the same although tokens came in between: a proxy keeps the page."""
    known = [one for one in trace.readings if one.counters.generated_tokens is not None]
    return any(
        one.counters == later.counters and one.counters.by_step and _has_tokens_between(trace, one, later)
        for one, later in itertools.pairwise(known)
    )


def _has_tokens_between(trace: LoadTrace, one: CounterReading, later: CounterReading) -> bool:
    """Whether more than two steps' tokens came certainly after ``one`` and before ``later``."""
    begins, ends = one.stamp_ns + one.uncertain_ns, later.stamp_ns - later.uncertain_ns
    first = -(-(begins - trace.start_ns) // trace.bin_nanoseconds)
    last = (ends - trace.start_ns) // trace.bin_nanoseconds
    return math.fsum(trace.bins[max(0, first) : max(0, last)]) > 2 * trace.concurrency


def _counted(trace: LoadTrace, *, alone: bool) -> CounterCheck:
    """The comparison of a window's tokens. ``alone``: the engine's gauges show no other clients' requests."""
    compared = _compared(trace)
    if compared is None:
        return CounterCheck()
    made, here, step, late = compared
    factor, apart = made / here, step + late
    if made and factor <= 1 + OTHERS_SHARE + apart and is_cached(trace):
        return CounterCheck(notes=(f"at {trace.concurrency} streams {CACHED}",))
    if alone and 1 + OTHERS_SHARE + apart < factor <= MAX_BEHIND:
        note = (
            f"at {trace.concurrency} streams the engine generated {made:.0f} tokens/s and "
            f"{here:.0f} arrived: its HTTP front end or the network is slow"
        )
        return CounterCheck(excess=factor - 1, notes=(note,))
    if factor > 1 + OTHERS_SHARE + apart:
        note = (
            f"at {trace.concurrency} streams the engine generated {made:.0f} tokens/s, "
            f"{here:.0f} of them for the probe: another client sends requests"
        )
        return CounterCheck(flags=("OtherTraffic",), notes=(note,))
    if factor < 1 - AGREEMENT - apart:
        more = f"at {trace.concurrency} streams more tokens arrived than the engine counted"
        if counts_a_part(trace):
            note = (
                f"{more}: its metrics count some of the requests only, as behind a load balancer; the counts "
                "in its answers are used"
            )
            return CounterCheck(notes=(note,))
        if not made:
            return CounterCheck()
        note = f"{more}: its count is used"
        return CounterCheck(factor=factor, counted_by="Engine", notes=(note,))
    # Where the ends of the window are not worth a step, the engine's count is the finer one.
    if step < FINE:
        return CounterCheck(factor=factor, counted_by="Engine", excess=max(0.0, factor - 1))
    return CounterCheck(excess=max(0.0, factor - 1))


def _compared(trace: LoadTrace) -> tuple[float, float, float, float] | None:
    """(tokens per second by the engine's count, those received, two steps as a share of the window's tokens,
    the readings' own times as a share of the window).

    None where its counter does not advance at every step, or the window is too short.
    """
    ends = [one for one in trace.readings if one.counters.generated_tokens is not None]
    if len(ends) < 2 or not ends[0].counters.by_step:
        return None
    first, last = ends[0], ends[-1]
    made = (last.counters.generated_tokens or 0.0) - (first.counters.generated_tokens or 0.0)
    seconds = (last.stamp_ns - first.stamp_ns) / NS
    here = math.fsum(trace.bins) / (len(trace.bins) * trace.bin_nanoseconds / NS) if trace.bins else 0.0
    if seconds < SHORTEST_SECONDS or made < 0 or here <= 0:
        return None
    # Both sides cut the window a step apart at either end, and a step brings each stream a token. A reading
    # that took long cuts it at an unknown time.
    step = 2 * trace.concurrency / max(1.0, made, here * seconds)
    return made / seconds, here, step, (first.uncertain_ns + last.uncertain_ns) / NS / seconds


def counts_a_part(trace: LoadTrace) -> bool:
    """Whether /metrics is that of one of several engines: all whole answers tell their tokens, and by these
    more arrived than it counted.
    """
    compared = _compared(trace)
    whole = [stream for stream in trace.streams if stream.finish_reason]
    if compared is None or not whole or not all(stream.has_total for stream in whole):
        return False
    made, here, step, late = compared
    return made / here < 1 - AGREEMENT - step - late


def foreign_tokens(before: CounterReading, after: CounterReading, *, received: float) -> float | None:
    """Tokens that the engine generated for other clients between two readings, around requests that all
    ended.

    None where it has no counter, or was restarted.
    """
    made = made_between(before.counters, after.counters)
    return None if made is None else made - received


def made_between(before: EngineCounters, after: EngineCounters) -> float | None:
    if before.generated_tokens is None or after.generated_tokens is None:
        return None
    made = after.generated_tokens - before.generated_tokens
    return made if made >= 0 else None


CLAIMED_SHARE = 0.75
"""Share of the tokens that answers claim below which the engine's count of them is no chance."""


def claims_more(before: EngineCounters, after: EngineCounters, streams: Sequence[StreamResult]) -> str:
    """A message that answers claim more tokens than the engine counted of each request; "": they do not.

    Not told where one engine behind a load balancer counted some of the requests: these may be the short
    ones. ``before`` and ``after`` are the counters around ``streams``, which all ended.
    """
    made, first, last = made_between(before, after), before.ttft_seconds_count, after.ttft_seconds_count
    whole = all(stream.has_total and not stream.failed for stream in streams)
    if made is None or first is None or last is None or not whole or not 0 < last - first == len(streams):
        return ""
    claimed = math.fsum(stream.output_tokens for stream in streams) / len(streams)
    each = made / (last - first)
    if not 0 < each < CLAIMED_SHARE * claimed - 1:
        return ""
    return (
        f"answers claim {claimed:.0f} tokens each and by the engine's metrics have {each:.0f}: all rates may "
        f"be {claimed / each:.1f} times too high"
    )


def is_foreign(others_tokens: float | None, *, received: float) -> bool:
    return others_tokens is not None and others_tokens > OTHERS_SHARE * received + FEW_TOKENS
