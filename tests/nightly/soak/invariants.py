"""What must hold of tacho whatever happens around it: pure functions over what was observed from outside.

Times are seconds since the epoch. ``PLANTS`` has a fault for each invariant: it changes a recording without
violations so that the invariant has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

RECONCILE_SECONDS = 20.0
"""Ready follows the endpoints within this time, where nothing impedes the operators."""
COLLECTION_SECONDS = 60.0
"""Garbage collection's delay, where nothing impedes the API server. An operator deletes them before it."""
LONGEST_COLLECTION_SECONDS = 300.0
"""Where no resource has the name of a child's owner: no operator acts, and Kubernetes' collector begins anew
after each restart of the API server."""
SETTLED_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 600.0
"""A later retry of a candidate than this after the events is not waited for."""
FENCE_SECONDS = 2.0
"""The API server sees a change of the Lease a moment late."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One LLMDeployment at one moment."""

    name: str
    uid: str
    current: bool
    """Whether its status is of its generation."""
    ready: bool
    stalled: bool
    reconciling: bool
    reason: str
    """Of Ready."""
    endpoints: int
    """Ready ones behind its Service."""
    retry_at: float = 0.0
    """When a candidate that lost readiness is to be admitted again, as the status says; 0: none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one moment."""

    at: float
    resources: tuple[Resource, ...]
    orphans: tuple[str, ...]
    """Children whose controller does not exist, though a resource of its name does."""
    uncollected: tuple[str, ...] = ()
    """Children of a controller whose name no resource has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write that the API server accepted from an operator."""

    at: float
    pod: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was observed of a whole run."""

    snapshots: tuple[Snapshot, ...]
    writes: tuple[Write, ...]
    """Of children and status."""
    lease: tuple[Write, ...]
    impeded: tuple[Interval, ...]
    """When an operator or the API server was kept from its work, with the time of a take-over."""
    events_end: float
    valid: dict[str, bool]
    """Whether the last spec of each resource can be served."""


def unimpeded_seconds(start: float, end: float, impeded: Iterable[Interval]) -> float:
    """Length of the interval without what overlaps with ``impeded``."""
    left, at = 0.0, start
    for begin, over in sorted(impeded):
        left += max(0.0, min(begin, end) - at)
        at = max(at, over)
    return left + max(0.0, end - at)


def _lasting(
    recording: Recording, of: Callable[[Snapshot], Iterable[str]], bound_seconds: float
) -> list[str]:
    """What was so in successive snapshots for longer than the bound; each once, with its longest time."""
    since: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    for snapshot in recording.snapshots:
        now = set(of(snapshot))
        since = {what: since.get(what, snapshot.at) for what in now}
        for what, start in since.items():
            seconds = unimpeded_seconds(start, snapshot.at, recording.impeded)
            if seconds > bound_seconds:
                found[what] = max((seconds, start), found.get(what, (0.0, 0.0)))
    return [
        f"{what} for {seconds:.0f} s since {datetime.fromtimestamp(start, UTC):%H:%M:%S}Z"
        for what, (seconds, start) in found.items()
    ]


def ready_without_endpoint(recording: Recording) -> list[str]:
    def of(snapshot: Snapshot) -> Iterable[str]:
        return (
            f"{item.name} {item.uid}: Ready without an endpoint"
            for item in snapshot.resources
            if item.ready and not item.endpoints
        )

    return _lasting(recording, of, RECONCILE_SECONDS)


def child_without_owner(recording: Recording) -> list[str]:
    return [
        *_lasting(recording, lambda snapshot: snapshot.orphans, COLLECTION_SECONDS),
        *_lasting(recording, lambda snapshot: snapshot.uncollected, LONGEST_COLLECTION_SECONDS),
    ]


def two_writers(recording: Recording) -> list[str]:
    """Writes of an operator after another had taken the Lease, or before it held the Lease itself."""
    epochs: list[Write] = []
    for write in sorted(recording.lease, key=lambda item: item.at):
        if not epochs or epochs[-1].pod != write.pod:
            epochs.append(write)
    found = []
    for write in recording.writes:
        holders = [
            epoch.pod
            for epoch, successor in zip(epochs, [*epochs[1:], None], strict=True)
            if epoch.at <= write.at and (successor is None or write.at < successor.at + FENCE_SECONDS)
        ]
        if write.pod not in holders:
            found.append(f"{write.target} written by {write.pod} at {write.at:.1f} while {holders} held it")
    return found


def _is_settled(item: Resource, valid: bool) -> bool:
    done = item.ready and item.endpoints and not item.reconciling if valid else item.stalled
    return bool(item.current and done)


def _retries(recording: Recording) -> dict[str, float]:
    """By resource, the latest retry of a candidate that its status names while all settles."""
    found: dict[str, float] = {}
    for snapshot in recording.snapshots:
        if recording.events_end < snapshot.at <= recording.events_end + SETTLED_SECONDS:
            for item in snapshot.resources:
                found[item.name] = max(found.get(item.name, 0.0), item.retry_at)
    return found


def settling_end(recording: Recording) -> float:
    """When all has to be settled: a candidate whose rollout pauses is retried first."""
    until = recording.events_end + SETTLED_SECONDS
    retries = _retries(recording).values()
    waited_for = [at for at in retries if at <= recording.events_end + LONGEST_RETRY_SECONDS]
    return max([until, *(at + SETTLED_SECONDS for at in waited_for)])


def unsettled(recording: Recording) -> list[str]:
    """Resources that were not settled when the time for it was over. Without a snapshot of then: all. One
    that serves beside a pausing rollout has its time after the retry."""
    until = recording.events_end + SETTLED_SECONDS
    *_, first = (snapshot for snapshot in recording.snapshots if snapshot.at <= until)
    end = settling_end(recording)
    *_, last = (snapshot for snapshot in recording.snapshots if snapshot.at <= end)
    seen = {item.name: item for item in first.resources if first.at > recording.events_end}
    late, retries = {item.name: item for item in last.resources}, _retries(recording)
    for name, item in seen.items():
        # The retry may have begun: what it replaces is deleted half a minute later.
        if retries.get(name, 0.0) > recording.events_end and item.ready and item.endpoints:
            seen[name] = late.get(name, item)
    missing = [f"{name}: not observed" for name in recording.valid if name not in seen]
    return missing + [
        f"{name}: {seen[name]}"
        for name, valid in recording.valid.items()
        if name in seen and not _is_settled(seen[name], valid)
    ]


INVARIANTS: dict[str, Callable[[Recording], list[str]]] = {
    function.__name__.replace("_", "-"): function
    for function in (ready_without_endpoint, child_without_owner, two_writers, unsettled)
}


def violations(recording: Recording) -> dict[str, list[str]]:
    """Invariant to what violates it; only those that are violated."""
    found = {name: invariant(recording) for name, invariant in INVARIANTS.items()}
    return {name: lines for name, lines in found.items() if lines}


def _first_changed(recording: Recording, **changes: Any) -> Recording:
    """The first valid resource, changed in every snapshot."""
    name = next(name for name, valid in recording.valid.items() if valid)

    def changed(item: Resource) -> Resource:
        return replace(item, **changes) if item.name == name else item

    snapshots = (
        replace(snapshot, resources=tuple(map(changed, snapshot.resources)))
        for snapshot in recording.snapshots
    )
    return replace(recording, snapshots=tuple(snapshots), impeded=())


def _orphaned(recording: Recording) -> Recording:
    snapshots = (replace(item, orphans=("ConfigMap a/planted",)) for item in recording.snapshots)
    return replace(recording, snapshots=tuple(snapshots), impeded=())


def _written_twice(recording: Recording) -> Recording:
    """A stranger writes the object again, right after the leader."""
    last = recording.writes[-1]
    return replace(recording, writes=(*recording.writes, replace(last, at=last.at + 0.1, pod="planted")))


PLANTS: dict[str, Callable[[Recording], Recording]] = {
    "ready-without-endpoint": lambda recording: _first_changed(recording, ready=True, endpoints=0),
    "child-without-owner": _orphaned,
    "two-writers": _written_twice,
    "unsettled": lambda recording: _first_changed(recording, reconciling=True),
}
