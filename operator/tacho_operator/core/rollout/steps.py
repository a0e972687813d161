"""Which revision serves, how many pods each one has, and when the old ones go.

The Service is the memory: its annotation names the revision that has served, its selector who serves
now. So a decision needs no history, and any step can be taken again after a restart.

    old serves ── candidate ready ──► both serve ── candidate complete ──► new serves ── settled ──► old goes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tacho_contract.times import format_time, parse_time

SETTLE_SECONDS = 10.0
"""Between the Service's turn and the end of the old pods: every node learns of it meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the Service says now."""

    active: str = ""
    """The revision that has served; "" before any did."""
    selected: str = ""
    """The revision it selects; "" with ``exists`` means every revision's servers."""
    switched_time: str = ""
    exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The next step."""

    active: str
    candidate: str
    """The wanted revision while another one is active."""
    selected: str
    switched_time: str
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Deployments to have, with their size."""
    drop: tuple[str, ...] = ()
    """Deployments to delete."""
    settling: bool = False
    """Old pods are still there."""
    look_again_seconds: float | None = None
    reason: str


def decide_rollout(
    *,
    wanted: str,
    known: Collection[str],
    replicas: int,
    ready: Mapping[str, int],
    deployments: Mapping[str, int],
    serving: Serving,
    now: datetime,
) -> Rollout:
    """The next step towards ``wanted`` ("" while it has no plan).

    ``known``: revisions that can be rendered. ``ready``: ready pods by revision. ``deployments``: size of
    each one that exists. A Deployment that serves and whose record cannot be read (somebody deleted it, or
    another version of tacho wrote it) is left as it is until another revision has taken over.
    """
    there = serving.active in known or serving.active in deployments
    active = serving.active if there else ""
    found = _next(wanted, active, replicas, ready, deployments, serving, now)
    return replace(found, replicas={name: size for name, size in found.replicas.items() if name in known})


def _next(
    wanted: str,
    active: str,
    replicas: int,
    ready: Mapping[str, int],
    deployments: Mapping[str, int],
    serving: Serving,
    now: datetime,
) -> Rollout:
    if not wanted and not active:
        return Rollout(
            active="",
            candidate="",
            selected="",
            switched_time=serving.switched_time,
            drop=_others(deployments, {}),
            settling=bool(deployments),
            reason="Nothing can be started without a plan.",
        )
    if not wanted:  # what serves goes on, what never served is no longer asked for
        held = _settle(active, active, replicas, ready, deployments, serving, now)
        return replace(held, reason=f"Revision {active} goes on serving.")
    if not active or active == wanted:
        return _settle(wanted, active, replicas, ready, deployments, serving, now)
    accepted = ready.get(wanted, 0) >= 1 or replicas == 0
    if not accepted:
        beside = {name: size for name, size in deployments.items() if name != wanted}
        held = _settle(active, active, replicas, ready, beside, serving, now)
        return replace(
            held,
            candidate=wanted,
            replicas={**held.replicas, wanted: min(replicas, 1)},
            reason=f"Revision {active} serves while {wanted} starts.",
        )
    if ready.get(wanted, 0) >= replicas:
        switched = format_time(now)
        return Rollout(
            active=wanted,
            candidate="",
            selected=wanted,
            switched_time=switched,
            replicas={wanted: replicas},
            settling=True,
            look_again_seconds=SETTLE_SECONDS,
            reason=f"Revision {wanted} is ready: the Service turns from {active} to it.",
        )
    left = max(0, replicas - ready.get(wanted, 0))
    sizes = {active: left, wanted: replicas}
    return Rollout(
        active=active,
        candidate=wanted,
        selected="",
        switched_time=serving.switched_time,
        replicas=sizes,
        drop=_others(deployments, sizes),
        reason=f"Revisions {active} and {wanted} serve together while {wanted} takes over, pod by pod.",
    )


def _settle(
    wanted: str,
    active: str,
    replicas: int,
    ready: Mapping[str, int],
    deployments: Mapping[str, int],
    serving: Serving,
    now: datetime,
) -> Rollout:
    """``wanted`` is the only one, or has taken over, or was returned to."""
    served = active == wanted or ready.get(wanted, 0) >= 1 or replicas == 0
    others = _others(deployments, {wanted: replicas})
    together = serving.exists and bool(serving.active) and not serving.selected
    complete = ready.get(wanted, 0) >= replicas
    if together and others and not complete:
        left = max(0, replicas - ready.get(wanted, 0))
        return Rollout(
            active=active or wanted,
            candidate="",
            selected="",
            switched_time=serving.switched_time,
            replicas={wanted: replicas, **{name: min(left, deployments[name]) for name in others}},
            settling=True,
            reason=f"Revision {wanted} takes over again, pod by pod.",
        )
    turned = serving.exists and serving.selected != wanted and bool(others)
    switched = format_time(now) if turned else serving.switched_time
    wait = SETTLE_SECONDS if turned else _settle_wait(serving, now)
    keep = bool(wait) and bool(active)
    return Rollout(
        active=wanted if served else "",
        candidate="",
        selected=wanted,
        switched_time=switched,
        # One pod first: what fails fails once, and the first measurement is not disturbed by its siblings.
        replicas={wanted: replicas if served else min(replicas, 1)},
        drop=() if keep else others,
        settling=bool(others),
        look_again_seconds=wait if keep and others else None,
        reason=f"Revision {wanted} serves." if served else f"Revision {wanted} starts.",
    )


def _others(deployments: Mapping[str, int], kept: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(name for name in deployments if name not in kept))


def _settle_wait(serving: Serving, now: datetime) -> float:
    """Seconds until old pods may go; 0 when they may."""
    switched = parse_time(serving.switched_time)
    if switched is None:
        return 0.0
    return max(0.0, SETTLE_SECONDS - (now - switched).total_seconds())
