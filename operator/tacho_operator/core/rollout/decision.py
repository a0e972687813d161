"""The rollout: which revision serves, the size of each Deployment, and when the old ones are deleted.

The record is in the Service (record.py) and pods are counted as they are now, so that a decision needs no
history and any step can be repeated after a restart.

    old serves ──── new available ───► both serve ──── all of new available, settled ───► new serves,
     ▲  new starts beside it            │  old shrinks by what new has available           old goes
     │                                  │
     └── after a pause ── old serves ◄──┘ none of new available
                          alone again

A pod is available when it has been ready for MIN_READY_SECONDS. A Deployment loses ready pods, and is
deleted, only by as many pods as its successor has available at that time. All together stay within
``replicas`` + ``surge`` (surge.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tacho_contract.launch import Again
from tacho_contract.units import clipped, format_time, parse_time
from tacho_operator.core.problems import Problem
from tacho_operator.core.rollout.record import (
    MIN_READY_SECONDS,
    SETTLE_SECONDS,
    Gating,
    RollbackRecord,
    Serving,
)
from tacho_operator.core.rollout.surge import bounded

NOTE_LIMIT = 512
"""Longest stored cause of a rollback, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodCount:
    """How many pods of one revision are ready and available now."""

    ready: int = 0
    available: int = 0
    """Number of pods that have been ready for MIN_READY_SECONDS."""
    requeue_after_seconds: float | None = None
    """Seconds until another ready pod becomes available; None: none is waiting for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutInput:
    """The input of one rollout step: record, desired revision, Deployments and pod counts."""

    desired: str
    """Name of the revision that spec describes; "" while it has no plan."""
    known: Collection[str]
    """Names of the revisions whose pods can be rendered. A Deployment of any other revision is not changed
    until its successor serves. (Its ControllerRevision was deleted or has another version's format.)
    """
    replicas: int
    surge: int = 1
    """Number of pods that all Deployments together may have beyond ``replicas``; at least 1."""
    pods: Mapping[str, PodCount]
    deployments: Mapping[str, int]
    """Replicas of each existing Deployment, by revision."""
    serving: Serving
    trouble: Problem | None = None
    """Why pods of the desired revision are not ready; None: no problem is known."""
    gating: Gating = Gating()
    """What the rollout's gate decides on the desired revision."""
    now: datetime

    def ready(self, revision: str) -> int:
        return self.pods.get(revision, PodCount()).ready

    def available(self, revision: str) -> int:
        return self.pods.get(revision, PodCount()).available

    def selects(self, revision: str) -> bool:
        """Whether the Service sends requests to the revision's ready pods."""
        return self.serving.exists and self.serving.selected in ("", revision)

    @property
    def active(self) -> str:
        """The revision that serves by the rollout record. Without a record: a revision with ready pods; "":
        none has any.
        """
        noted = self.serving.active
        if noted and (noted in self.known or noted in self.deployments):
            return noted
        ready = [name for name in self.deployments if self.ready(name)]
        return max(ready, key=lambda name: (self.selects(name), name == self.desired, name), default="")

    @property
    def rollback(self) -> RollbackRecord | None:
        """The record of the desired revision's last rollback; None: it was never rolled back."""
        note = self.serving.rollback
        return note if note and self.desired in ("", note.revision) else None

    @property
    def survivor(self) -> str:
        """The older revision that has to serve alone because the admitted candidate has no available pod; "":
        not needed.
        """
        admitted = bool(self.desired) and self.serving.admitted == self.desired
        if not admitted or not self.replicas or self.available(self.desired):
            return ""
        ready = [name for name in self.deployments if name != self.desired and self.ready(name)]
        return max(ready, key=lambda name: (name == self.active, self.available(name), name), default="")

    @property
    def retry_wait_seconds(self) -> float:
        """Seconds until the desired revision may receive requests again after a rollback; 0: it may now."""
        return self.rollback.wait_seconds(self.now) if self.rollback else 0.0

    def admission_time(self, candidate: str) -> str:
        """When the Service first selected ``candidate``, in RFC 3339; the present time if it has not yet."""
        noted = parse_time(self.serving.switched_time)
        if self.serving.admitted == candidate and noted and noted <= self.now:
            return self.serving.switched_time
        return format_time(self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The result of one rollout step: who serves, and the size of each Deployment."""

    serving: Serving
    """The rollout record to write into the Service."""
    candidate: str = ""
    """The desired revision, while another revision is active; "": the desired revision is the active one."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Number of replicas by revision, for each Deployment to keep or create."""
    drop: tuple[str, ...] = ()
    """Revisions whose Deployments are to be deleted."""
    rolled_back: bool = False
    """Whether the candidate was rolled back and waits for its next try."""
    rejected: str = ""
    """The desired revision, where the gate refuses it; "": it does not."""
    again: Again = Again()
    """The gate's request to the candidate's pod to measure itself again."""
    requeue_after_seconds: float | None = None
    reason: str

    @property
    def active(self) -> str:
        return self.serving.active

    @property
    def selected(self) -> str:
        return self.serving.selected

    @property
    def settling(self) -> bool:
        """Whether Deployments of former revisions still exist."""
        return bool(self.drop) or any(name not in (self.active, self.candidate) for name in self.replicas)


def next_step(at: RolloutInput) -> Rollout:
    """One step of the rollout towards the desired revision."""
    step = _with_ready_pods(at, _step(at))
    ready, limit = {name: at.ready(name) for name in step.replicas}, at.replicas + at.surge
    sizes = bounded(step.replicas, at.deployments, ready, known=at.known, first=at.desired, limit=limit)
    return replace(step, replicas=sizes, requeue_after_seconds=_requeue_after_seconds(at, step))


def _step(at: RolloutInput) -> Rollout:
    if not at.active:
        return _first_step(at) if at.desired else _step_without_revisions(at)
    if at.survivor:
        return _roll_back(at, at.survivor)
    if at.desired in ("", at.active):
        return _serve_active(at)
    if at.gating.rejects:
        return _reject(at)
    if at.retry_wait_seconds:
        return _start_candidate(at, rolled_back=True)
    if not at.gating.admits:
        return _judge(at)
    if at.available(at.desired) or at.serving.admitted == at.desired or not at.replicas:
        return _replace_active(at)
    return _start_candidate(at)


def _step_without_revisions(at: RolloutInput) -> Rollout:
    """No revision serves and none is desired: every Deployment is deleted, except of one that is awaited."""
    kept = _kept_waiting(at)
    return Rollout(
        serving=replace(at.serving, active="", selected=at.gating.awaits),
        replicas=kept,
        drop=tuple(sorted(set(at.deployments) - set(kept))),
        reason=f"Revision {at.gating.awaits} is about to serve." if kept else "No pod starts without a plan.",
    )


def _first_step(at: RolloutInput) -> Rollout:
    """The step while no revision serves: the Service selects the desired one, which serves once ready."""
    # One pod first: a failure happens once, and no sibling disturbs the first measurement.
    replicas = {at.desired: min(at.replicas, 1), **_kept_waiting(at)}
    return Rollout(
        serving=Serving(
            active="" if at.replicas else at.desired,
            selected=at.gating.awaits or at.desired,
            switched_time=at.serving.switched_time,
            gate=at.serving.gate,
            exists=True,
        ),
        replicas=replicas,
        drop=tuple(sorted(set(at.deployments) - set(replicas))),
        reason=f"Revision {at.desired} starts.",
    )


def _kept_waiting(at: RolloutInput) -> dict[str, int]:
    """The size of the Deployment of a revision that is about to serve, by its name."""
    return {name: min(size, at.replicas) for name, size in at.deployments.items() if name == at.gating.awaits}


def _serve_active(at: RolloutInput) -> Rollout:
    """The active revision serves alone. Other Deployments shrink as its pods become available."""
    active = at.active
    others = _leftovers(at, {active: at.replicas})
    together = at.serving.exists and not at.serving.selected and bool(others)
    finished = at.desired == active and set(at.deployments) <= {active}
    action = "replaces the others pod by pod" if together else "serves"
    return Rollout(
        serving=replace(
            at.serving,
            active=active,
            selected="" if together else active,
            admitted="" if finished or at.serving.admitted != active else active,
            rollback=None if finished else at.rollback,
            exists=True,
        ),
        replicas={active: at.replicas, **others},
        drop=tuple(sorted(set(at.deployments) - {active, *others})),
        reason=f"Revision {active} {action}.",
    )


def _start_candidate(at: RolloutInput, *, rolled_back: bool = False) -> Rollout:
    """The step before admission: the active revision serves alone, and the candidate gets one pod."""
    held, desired = _serve_active(at), at.desired
    return replace(
        held,
        candidate=desired,
        replicas={**held.replicas, desired: max(min(at.replicas, 1), held.replicas.get(desired, 0))},
        drop=tuple(name for name in held.drop if name != desired),
        rolled_back=rolled_back,
        reason=_rollback_message(at) if rolled_back else _starting_message(at),
    )


def _judge(at: RolloutInput) -> Rollout:
    """The step while the gate judges the candidate, whose pod gets no requests."""
    reason = f"Revision {at.active} serves. {at.desired} is judged: {at.gating.message}."
    return replace(_start_candidate(at), again=at.gating.again, reason=reason)


def _reject(at: RolloutInput) -> Rollout:
    """The step after the gate refused the desired revision: its Deployment goes, the active one serves."""
    refused = {at.desired} & set(at.deployments)
    if at.available(at.active):  # it is no help where pods of the active one are missing: it has their GPU
        at = replace(at, deployments={k: v for k, v in at.deployments.items() if k not in refused})
    held = _serve_active(at)
    drop = tuple(sorted({*held.drop, *(refused - held.replicas.keys())}))
    reason = f"Revision {at.desired} was rejected; {at.active} serves."
    return replace(held, drop=drop, rejected=at.desired, reason=reason)


def _replace_active(at: RolloutInput) -> Rollout:
    """The step after admission: the Service selects both revisions. The old Deployment shrinks by one for
    each available new pod, and the new one grows by as many. The old one is deleted when the new one has been
    complete for SETTLE_SECONDS.
    """
    desired, active, replicas = at.desired, at.active, at.replicas
    admitted_time = at.admission_time(desired)
    complete = at.available(desired) >= replicas
    serving = replace(
        at.serving,
        selected="",
        admitted=desired,
        switched_time=admitted_time,
        rollback=at.rollback,
        exists=True,
    )
    if complete and (not replicas or not _settling_seconds(admitted_time, at.now)):
        done = _serve_active(replace(at, serving=replace(serving, active=desired, selected=desired)))
        return replace(done, reason=f"Revision {desired} has replaced {active}.")
    # Pods that requests do not reach replace none: the Service is written first, and may be refused.
    replaced = at.available(desired) if at.selects(desired) else 0
    grown = max(at.surge + replaced, at.ready(desired))
    sizes = {desired: min(replicas, grown), active: max(1, replicas - replaced)}
    sizes |= _leftovers(at, sizes)
    state = (
        f"complete; {active} is deleted after {SETTLE_SECONDS:.0f} s"
        if complete
        else f"{at.available(desired)} of {replicas} replicas available; it replaces {active} pod by pod"
    )
    return Rollout(
        serving=replace(serving, active=active),
        candidate=desired,
        replicas=sizes,
        drop=tuple(sorted(set(at.deployments) - set(sizes))),
        reason=f"Revision {desired}: {state}.",
    )


def _roll_back(at: RolloutInput, survivor: str) -> Rollout:
    """The step of a rollback: the admitted revision has no available pod, so ``survivor`` gets all replicas.
    It serves alone as soon as no other revision has available pods.
    """
    before, trouble = at.rollback, at.trouble
    # An eviction by the cluster does not count against the revision: it is admitted again at once.
    blameless = trouble is not None and trouble.caused_by_platform
    note = RollbackRecord(
        revision=at.desired,
        count=before.count + 1 if before else 1,
        time=format_time(at.now),
        reason=trouble.reason if trouble else "",
        message=clipped(trouble.message, NOTE_LIMIT) if trouble else "",
    )
    others = (name for name in at.deployments if name != survivor and at.selects(name))
    others_serve = any(at.available(name) for name in others)
    selected = "" if others_serve else survivor
    rollback = before if blameless else note
    serving = replace(at.serving, active=survivor, selected=selected, admitted="", rollback=rollback)
    return _start_candidate(replace(at, serving=serving), rolled_back=not blameless)


def _leftovers(at: RolloutInput, kept: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the Deployments outside ``kept``: together as many available pods as ``kept`` still lacks.

    A Deployment that the Service does not select keeps pods only while no pod in ``kept`` is available.
    """
    missing = at.replicas - sum(min(at.available(name), size) for name, size in kept.items())
    none_available = not any(at.available(name) for name in kept)
    found: dict[str, int] = {}
    for name in sorted(set(at.deployments) - set(kept)):
        useful = at.ready(name) if at.selects(name) else none_available and at.available(name)
        size = min(missing, at.deployments[name])
        if useful and size > 0:
            found[name] = size
            missing -= min(at.available(name), size)
    return found


def _with_ready_pods(at: RolloutInput, step: Rollout) -> Rollout:
    """``step``, with a Service that selects all revisions' pods while the selected one has no ready pod."""
    if not step.selected or at.ready(step.selected):
        return step
    if not any(at.ready(name) for name in at.deployments if name not in step.drop):
        return step
    return replace(
        step,
        serving=replace(step.serving, selected=""),
        reason=f"Revision {step.selected} has no ready pod; other ready pods get its requests. {step.reason}",
    )


def _requeue_after_seconds(at: RolloutInput, step: Rollout) -> float | None:
    """Seconds after which the rollout may proceed without any change in the cluster; None: it cannot."""
    if at.gating.awaits:
        return at.gating.requeue_after_seconds
    if len({*at.deployments, *step.replicas}) <= 1:
        return None
    waits = [count.requeue_after_seconds for count in at.pods.values()]
    if step.candidate and step.serving.admitted:
        waits.append(_settling_seconds(step.serving.switched_time, at.now) or None)
    if step.candidate and not step.serving.admitted:
        waits.append(at.gating.requeue_after_seconds)
    if step.rolled_back and step.serving.rollback:
        waits.append(replace(at, serving=step.serving).retry_wait_seconds)
    return min((wait for wait in waits if wait is not None), default=None)


def _settling_seconds(admitted_time: str, now: datetime) -> float:
    """Seconds until SETTLE_SECONDS have passed since ``admitted_time``; 0: they have passed."""
    since = parse_time(admitted_time)
    return max(0.0, SETTLE_SECONDS - (now - since).total_seconds()) if since else SETTLE_SECONDS


def _starting_message(at: RolloutInput) -> str:
    if at.ready(at.desired):
        return (
            f"Revision {at.active} serves; {at.desired} is admitted when a pod of it "
            f"has been ready for {MIN_READY_SECONDS} s."
        )
    return f"Revision {at.active} serves while {at.desired} starts."


def _rollback_message(at: RolloutInput) -> str:
    note = at.rollback
    if note is None or note.retry_time is None:
        return _starting_message(at)
    times = "" if note.count == 1 else f" {note.count} times"
    return (
        f"Candidate {note.revision} lost readiness{times}; the active revision serves. "
        f"Retry after {format_time(note.retry_time)}."
    )
