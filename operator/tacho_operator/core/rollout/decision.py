"""Which revision serves, how many pods each one has, and when the old ones go.

The Service is the memory (remembered.py), pods are counted as they are now: a decision needs no history, and
any step can be taken again after a restart, or half done.

    old serves ──── new available ───► both serve ──── all of new available, settled ───► new serves,
     ▲  new starts beside it            │  old shrinks by what new has available           old goes
     │                                  │
     └── after a pause ── old serves ◄──┘ none of new available
                          alone again

A pod is available when it has been ready for a while (times.py). Capacity is never given
away: a Deployment shrinks, and goes, only by what the ones before it have available at that moment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tacho_contract.times import format_time, parse_time
from tacho_contract.units import clipped
from tacho_operator.core.problems import Problem
from tacho_operator.core.rollout.remembered import Fallback, Serving
from tacho_operator.core.rollout.times import MIN_READY_SECONDS, SETTLE_SECONDS

NOTE_LIMIT = 512
"""Characters kept of why a candidate fell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headcount:
    """Pods of one revision now."""

    ready: int = 0
    available: int = 0
    """Ready for at least MIN_READY_SECONDS."""
    look_again_seconds: float | None = None
    """Until the next ready one is available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a rollout stands: all that its next step depends on."""

    wanted: str
    """The revision that spec asks for; "" while it has no plan."""
    known: Collection[str]
    """Revisions that can be rendered. A Deployment that serves and whose record cannot be read (somebody
    deleted it, or another version of tacho wrote it) is left as it is until another one has taken over."""
    replicas: int
    pods: Mapping[str, Headcount]
    deployments: Mapping[str, int]
    """Size of each one that exists."""
    serving: Serving
    trouble: Problem | None = None
    """What keeps pods of the wanted revision from being ready."""
    now: datetime

    def ready(self, revision: str) -> int:
        return self.pods.get(revision, Headcount()).ready

    def available(self, revision: str) -> int:
        return self.pods.get(revision, Headcount()).available

    def selects(self, revision: str) -> bool:
        """Whether requests reach the revision's ready pods."""
        return self.serving.exists and self.serving.selected in ("", revision)

    @property
    def active(self) -> str:
        """Who has served; where no note tells, whoever is ready. "" when nobody is."""
        noted = self.serving.active
        if noted and (noted in self.known or noted in self.deployments):
            return noted
        ready = [name for name in self.deployments if self.ready(name)]
        return max(ready, key=lambda name: (self.selects(name), name == self.wanted, name), default="")

    @property
    def fallback(self) -> Fallback | None:
        """The wanted revision's last fall; another wanted revision starts with a clean sheet."""
        note = self.serving.fallback
        return note if note and self.wanted in ("", note.revision) else None

    @property
    def survivor(self) -> str:
        """Who serves on when a revision that was let in has no available pod left; "" while it has."""
        let_in = bool(self.wanted) and self.serving.admitted == self.wanted
        if not let_in or not self.replicas or self.available(self.wanted):
            return ""
        ready = [name for name in self.deployments if name != self.wanted and self.ready(name)]
        return max(ready, key=lambda name: (name == self.active, self.available(name), name), default="")

    @property
    def retry_wait_seconds(self) -> float:
        """Until the wanted revision may be let in again; 0 when it may."""
        return self.fallback.wait_seconds(self.now) if self.fallback else 0.0

    def letting_in(self, candidate: str) -> str:
        """When the Service let ``candidate`` in (RFC 3339): now, unless it did already."""
        noted = parse_time(self.serving.switched_time)
        if self.serving.admitted == candidate and noted and noted <= self.now:
            return self.serving.switched_time
        return format_time(self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The next step."""

    serving: Serving
    """What the Service is to say."""
    candidate: str = ""
    """The wanted revision while another one is active."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Deployments to have, with their size."""
    drop: tuple[str, ...] = ()
    """Deployments to delete."""
    fell_back: bool = False
    """The candidate was let in, fell, and waits for its next try."""
    look_again_seconds: float | None = None
    reason: str

    @property
    def active(self) -> str:
        return self.serving.active

    @property
    def selected(self) -> str:
        return self.serving.selected

    @property
    def settling(self) -> bool:
        """Deployments of other revisions are still there."""
        return bool(self.drop) or any(name not in (self.active, self.candidate) for name in self.replicas)


def next_step(at: Standing) -> Rollout:
    """The next step towards the wanted revision."""
    step = _whoever_is_ready(at, _step(at))
    replicas = {name: size for name, size in step.replicas.items() if name in at.known}
    return replace(step, replicas=replicas, look_again_seconds=_look_again(at, step))


def _step(at: Standing) -> Rollout:
    if not at.active:
        return _first(at) if at.wanted else _nothing(at)
    if at.survivor:
        return _fall_back(at, at.survivor)
    if at.wanted in ("", at.active):
        return _alone(at)
    if at.retry_wait_seconds:
        return _beside(at, fell_back=True)
    if at.available(at.wanted) or at.serving.admitted == at.wanted or not at.replicas:
        return _together(at)
    return _beside(at)


def _nothing(at: Standing) -> Rollout:
    """Nobody serves and nothing is wanted: what was once begun goes."""
    return Rollout(
        serving=replace(at.serving, active="", selected=""),
        drop=tuple(sorted(at.deployments)),
        reason="Nothing can be started without a plan.",
    )


def _first(at: Standing) -> Rollout:
    """Nobody serves: the wanted revision does as soon as its pod is ready."""
    # One pod first: what fails fails once, and the first measurement is not disturbed by its siblings.
    return Rollout(
        serving=Serving(
            active="" if at.replicas else at.wanted,
            selected=at.wanted,
            switched_time=at.serving.switched_time,
            exists=True,
        ),
        replicas={at.wanted: min(at.replicas, 1)},
        drop=tuple(sorted(set(at.deployments) - {at.wanted})),
        reason=f"Revision {at.wanted} starts.",
    )


def _alone(at: Standing) -> Rollout:
    """The active revision is to serve alone; others go as it has pods in their stead."""
    active = at.active
    others = _leftovers(at, {active: at.replicas})
    together = at.serving.exists and not at.serving.selected and bool(others)
    finished = at.wanted == active and set(at.deployments) <= {active}
    words = "takes over again, pod by pod" if together else "serves" if at.wanted else "goes on serving"
    return Rollout(
        serving=replace(
            at.serving,
            active=active,
            selected="" if together else active,
            admitted="" if finished or at.serving.admitted != active else active,
            fallback=None if finished else at.fallback,
            exists=True,
        ),
        replicas={active: at.replicas, **others},
        drop=tuple(sorted(set(at.deployments) - {active, *others})),
        reason=f"Revision {active} {words}.",
    )


def _beside(at: Standing, *, fell_back: bool = False) -> Rollout:
    """The active revision serves alone, one pod of the candidate starts or waits."""
    held, wanted = _alone(at), at.wanted
    return replace(
        held,
        candidate=wanted,
        replicas={**held.replicas, wanted: max(min(at.replicas, 1), held.replicas.get(wanted, 0))},
        drop=tuple(name for name in held.drop if name != wanted),
        fell_back=fell_back,
        reason=_fallen_words(at) if fell_back else _starting_words(at),
    )


def _together(at: Standing) -> Rollout:
    """Both are selected; the old one shrinks pod by pod, and goes when all of the new one has held."""
    wanted, active, replicas = at.wanted, at.active, at.replicas
    let_in = at.letting_in(wanted)
    complete = at.available(wanted) >= replicas
    serving = replace(
        at.serving, selected="", admitted=wanted, switched_time=let_in, fallback=at.fallback, exists=True
    )
    if complete and (not replicas or not _settling_seconds(let_in, at.now)):
        done = _alone(replace(at, serving=replace(serving, active=wanted, selected=wanted)))
        return replace(done, reason=f"Revision {wanted} has taken over from {active}.")
    # What requests do not reach yet relieves nobody: the Service's turn comes first, and may be refused.
    relieved = at.available(wanted) if at.selects(wanted) else 0
    sizes = {wanted: replicas, active: max(1, replicas - relieved)}
    sizes |= _leftovers(at, sizes)
    rest = (
        f"{active} goes when {wanted} has held for {SETTLE_SECONDS:.0f} s"
        if complete
        else f"{wanted} has {at.available(wanted)} of {replicas} replicas and takes over pod by pod"
    )
    return Rollout(
        serving=replace(serving, active=active),
        candidate=wanted,
        replicas=sizes,
        drop=tuple(sorted(set(at.deployments) - set(sizes))),
        reason=f"Revisions {active} and {wanted} serve together; {rest}.",
    )


def _fall_back(at: Standing, survivor: str) -> Rollout:
    """The revision that was let in has fallen: who still serves gets all the replicas, and serves alone as
    soon as no other one has pods in their stead."""
    before, trouble = at.fallback, at.trouble
    # What the cluster did to its pods is nothing that the revision did: it is let in again at once.
    blameless = trouble is not None and trouble.blameless
    note = Fallback(
        revision=at.wanted,
        count=before.count + 1 if before else 1,
        time=format_time(at.now),
        reason=trouble.reason if trouble else "",
        message=clipped(trouble.message, NOTE_LIMIT) if trouble else "",
    )
    others = (name for name in at.deployments if name != survivor and at.selects(name))
    helped = any(at.available(name) for name in others)
    selected = "" if helped else survivor
    fallback = before if blameless else note
    serving = replace(at.serving, active=survivor, selected=selected, admitted="", fallback=fallback)
    return _beside(replace(at, serving=serving), fell_back=not blameless)


def _leftovers(at: Standing, kept: Mapping[str, int]) -> dict[str, int]:
    """Sizes of other Deployments: as many pods as ``kept`` still lacks, of those that serve.

    One that requests do not reach is of use only while nobody in ``kept`` is available.
    """
    missing = at.replicas - sum(min(at.available(name), size) for name, size in kept.items())
    nobody = not any(at.available(name) for name in kept)
    found: dict[str, int] = {}
    for name in sorted(set(at.deployments) - set(kept)):
        of_use = at.ready(name) if at.selects(name) else nobody and at.available(name)
        size = min(missing, at.deployments[name])
        if of_use and size > 0:
            found[name] = size
            missing -= min(at.available(name), size)
    return found


def _whoever_is_ready(at: Standing, step: Rollout) -> Rollout:
    """Requests reach whoever can answer them while nobody that is to be selected can."""
    if not step.selected or at.ready(step.selected):
        return step
    if not any(at.ready(name) for name in at.deployments if name not in step.drop):
        return step
    return replace(
        step,
        serving=replace(step.serving, selected=""),
        reason=f"Revision {step.selected} has no ready pod: requests go to any that is. {step.reason}",
    )


def _look_again(at: Standing, step: Rollout) -> float | None:
    """Seconds until time alone may bring the next step."""
    if len({*at.deployments, *step.replicas}) <= 1:
        return None
    waits = [count.look_again_seconds for count in at.pods.values()]
    if step.candidate and step.serving.admitted:
        waits.append(_settling_seconds(step.serving.switched_time, at.now) or None)
    if step.fell_back and step.serving.fallback:
        waits.append(replace(at, serving=step.serving).retry_wait_seconds)
    return min((wait for wait in waits if wait is not None), default=None)


def _settling_seconds(let_in: str, now: datetime) -> float:
    """Seconds until who was let in at ``let_in`` has settled; 0 when it has."""
    since = parse_time(let_in)
    return max(0.0, SETTLE_SECONDS - (now - since).total_seconds()) if since else SETTLE_SECONDS


def _starting_words(at: Standing) -> str:
    if at.ready(at.wanted):
        return (
            f"Revision {at.active} serves; {at.wanted} is let in when a pod of it "
            f"has been ready for {MIN_READY_SECONDS} s."
        )
    return f"Revision {at.active} serves while {at.wanted} starts."


def _fallen_words(at: Standing) -> str:
    note = at.fallback
    if note is None or note.retry_time is None:
        return _starting_words(at)
    often = "" if note.count == 1 else f", {note.count} times by now"
    why = f" {note.reason}: {note.message}" if note.reason else ""
    how = "alone" if at.serving.selected else "beside others"
    return (
        f"Revision {at.active} serves {how}: {note.revision} was let in and lost its pods{often}. "
        f"It is tried again after {format_time(note.retry_time)}.{why}"
    )
