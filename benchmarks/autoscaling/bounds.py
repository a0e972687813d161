"""Whether replicas followed the need: a trajectory of a scaler, held against the law of who was loaded.

The need is exact: what was sent is known, and what one replica carries. A need that has lasted for
``rise_seconds`` must be met by ready replicas; and more than ``spare`` replicas beyond the need must not last
for ``fall_seconds``, what waits being needed for as well. Where the scaler could not see (its figures cut,
itself restarted), both times begin anew.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

REQUEST_COLUMNS = ("time_s", "input_tokens", "output_tokens", "ttft_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One look, ``time_s`` seconds after the first."""

    time_s: float
    replicas: int
    """Wanted."""
    ready: int
    arrivals: int
    """Requests that were sent since the look before."""
    in_flight: int = 0
    """Requests that were sent and not answered yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request, that came at ``time_s``. ``ttft_s`` None: it was not answered."""

    time_s: float
    input_tokens: int
    output_tokens: int
    ttft_s: float | None
    """From when it was sent, as ``whole_s``."""
    whole_s: float | None = None
    """To the end of the answer."""
    sent_s: float | None = None
    """Later than it came where the client had too many on their way."""
    pod: str | None = None
    """That answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """How far, and for how long, replicas may be off."""

    rise_seconds: float
    fall_seconds: float
    at_once: float
    """Requests that one replica takes at a time: those that wait beyond them are a need of their own."""
    spare: int = 1


Span = tuple[float, float]
"""From, to."""


def need_of(requests_per_second: float, replica_requests_per_second: float, full: float) -> int:
    """Replicas that carry a rate when each is to be ``full``."""
    return max(1, math.ceil(requests_per_second / (full * replica_requests_per_second) - 1e-9))


def starts(moments: Sequence[Moment]) -> tuple[float, ...]:
    """Seconds from each replica that was asked for to one that was ready, in the order of both."""
    asked: list[float] = []
    found = []
    for before, after in pairwise(moments):
        more = after.replicas - before.replicas
        asked += [after.time_s] * max(0, more)
        if more < 0:
            asked = asked[:more]
        for _ in range(max(0, after.ready - before.ready)):
            if asked:
                found.append(after.time_s - asked.pop(0))
    return tuple(found)


def violations(
    moments: Sequence[Moment],
    need: Callable[[float], int],
    allowed: Allowed,
    blind: Iterable[Span] = (),
) -> list[str]:
    """A sentence for each look at which replicas were too few or too many for too long. [] for none.

    Raises ValueError for looks that say nothing: none at all, or further apart than what is allowed.
    """
    gaps = [later.time_s - earlier.time_s for earlier, later in pairwise(moments)]
    if not gaps or max(gaps) > min(allowed.rise_seconds, allowed.fall_seconds) / 2 or min(gaps) <= 0:
        raise ValueError("looks are missing, or not in their order: nothing can be said of what was between")
    return list(_violations(moments, need, allowed, tuple(blind)))


def _violations(
    moments: Sequence[Moment], need: Callable[[float], int], allowed: Allowed, blind: Sequence[Span]
) -> Iterator[str]:
    for moment in moments:
        now = moment.time_s
        needs = [need(item.time_s) for item in _lately(moments, now, allowed.rise_seconds, blind)]
        if needs and moment.ready < min(needs):
            yield (
                f"{now:.1f} s: {moment.ready} ready, and {min(needs)} were needed for "
                f"{allowed.rise_seconds:.1f} s"
            )
        lately = _lately(moments, now, allowed.fall_seconds, blind)
        over = min((item.replicas - _required(item, need, allowed) for item in lately), default=0)
        if over > allowed.spare:
            yield (
                f"{now:.1f} s: {moment.replicas} replicas, {over} or more beyond the need for "
                f"{allowed.fall_seconds:.1f} s"
            )


def _required(moment: Moment, need: Callable[[float], int], allowed: Allowed) -> int:
    return max(need(moment.time_s), math.ceil(moment.in_flight / allowed.at_once))


def _lately(
    moments: Sequence[Moment], now: float, lasting_seconds: float, blind: Sequence[Span]
) -> list[Moment]:
    """The looks of the time that ends now; [] where that began before the first look, or in blindness."""
    since = now - lasting_seconds
    if since < moments[0].time_s or any(begin <= now and since <= end for begin, end in blind):
        return []
    return [item for item in moments if since <= item.time_s <= now]


def write(path: Path, moments: Iterable[Moment], requests: Iterable[Sent], about: dict[str, object]) -> None:
    """The trajectory as ``path``.json; its requests as ``path``.csv too, a trace that can be replayed."""
    rows = [asdict(item) for item in sorted(requests, key=lambda item: item.time_s)]
    document = {**about, "moments": [asdict(item) for item in moments], "requests": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    with path.with_suffix(".csv").open("w", newline="") as lines:
        table = csv.DictWriter(lines, REQUEST_COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
