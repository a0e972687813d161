"""Whether the asking side kept up with what it measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacho_runtime.probe.asking.counters import Counters
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.ports import ClientHealth

CLIENT_BOUND = "ClientBound"
LAG_MILLISECONDS = 5.0
LATE_SEND_MILLISECONDS = 10.0
CPU_SHARE = 0.8
OUTSIDE_SHARE, OUTSIDE_MILLISECONDS = 0.2, 10.0
"""Of a time to first token: more than both was not the engine's."""


def behind(health: ClientHealth, tpot_milliseconds: float) -> str:
    """In what the probe itself was too slow, in words; "": it kept up.

    Half of a token's time is no lateness worth mentioning: on few CPUs a slow engine delays everybody.
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
    return f"the probe itself {' and '.join(found)}: the engine may carry more" if found else ""


def outside(before: Counters, after: Counters, streams: Sequence[Stream]) -> str:
    """How much of the times to first tokens passed outside of the engine, by its own count of these very
    requests, in words; "": little, or it does not count, or counted somebody else's too."""
    ours = [ttft for stream in streams if (ttft := stream.ttft_milliseconds) is not None]
    known = (before.ttft_seconds_count, after.ttft_seconds_count, before.ttft_seconds_sum)
    if None in known or after.ttft_seconds_sum is None or not ours:
        return ""
    counted = (after.ttft_seconds_count or 0.0) - (before.ttft_seconds_count or 0.0)
    its = 1000 * (after.ttft_seconds_sum - (before.ttft_seconds_sum or 0.0)) / len(ours)
    mine = math.fsum(ours) / len(ours)
    if counted != len(ours) or its < 0 or mine - its <= max(OUTSIDE_SHARE * mine, OUTSIDE_MILLISECONDS):
        return ""
    return f"of {mine:.0f} ms to the first token {mine - its:.0f} ms passed outside of the engine"
