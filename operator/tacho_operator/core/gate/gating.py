"""The rollout's gate: whether a candidate may receive requests, by what its measurements showed.

    available ── judged ──► acceptable, or not to be judged: admitted
                   │ ▲
        regression │ │ measured again by its pod, which has no traffic
                   ▼ │
           awaited, for a limited time ──► a second measurement agrees: rejected

The verdict is kept in the Service (rollout/record.py), so that any step can be repeated after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tacho_contract.launch import Again, LiveConfig
from tacho_contract.units import clipped, format_time, parse_time
from tacho_operator.api.spec.service import GateSpec
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.gate.evidence import SERVING, CandidateMeasurement, judged, newest
from tacho_operator.core.gate.first import without_active
from tacho_operator.core.gate.judge import Kind
from tacho_operator.core.measurement.step import gathered
from tacho_operator.core.pauses import pause_left
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.rollout.decision import NOTE_LIMIT, RolloutInput
from tacho_operator.core.rollout.record import MIN_READY_SECONDS, GateRecord, Gating
from tacho_operator.core.types import Observed

MEASUREMENTS = 3
"""Most measurements of a candidate before it is admitted without a verdict."""
BEGIN_SECONDS = 300.0
"""Seconds in which a candidate's pod has to begin to measure itself again. The kubelet updates a mounted
ConfigMap within two minutes.
"""
END_SECONDS = 3600.0
"""Shortest time in which all measurements of a candidate have to end."""
HOSTNAME_LENGTH = 63
"""Length to which a kubelet cuts a pod's name for its hostname; trailing dashes and dots are removed."""
MISSED_SECONDS = 60.0
"""Shortest time for which a missing report is awaited."""
WHAT_LIMIT = 200
OUTAGE_SECONDS = 60.0
"""Seconds without a ready pod of the active revision after which a candidate is admitted unjudged.

A readiness probe that fails for a moment is over before. The candidate's ready pods answer meanwhile.
"""
_VERDICTS = frozenset({"", *map(str, Kind)})
"""Verdicts of this version; a record with another one counts as none."""
KEY_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What one decision of the gate rests on."""

    observed: Observed
    at: RolloutInput
    revisions: Mapping[str, Revision]
    gate: GateSpec
    live: LiveConfig
    key: str

    @property
    def now(self) -> datetime:
        return self.at.now


def with_gate(at: RolloutInput, observed: Observed, revisions: Mapping[str, Revision]) -> RolloutInput:
    """``at``, with the decision of the gate on its desired revision. Without a gate in spec: unchanged."""
    rollout = observed.resource.spec.rollout
    if rollout is None or rollout.gate is None:
        return replace(at, serving=replace(at.serving, gate=None)) if at.serving.gate else at
    found = _gating(at, observed, revisions, rollout.gate)
    return replace(at, gating=found, serving=replace(at.serving, gate=found.record))


def is_rejected(record: GateRecord | None, gate: GateSpec) -> bool:
    """Whether the record's verdict keeps its revision from serving."""
    found = record.verdict if record else ""
    return found == Kind.REGRESSION and (gate.on_regression or "Reject") == "Reject"


def _gating(
    at: RolloutInput, observed: Observed, revisions: Mapping[str, Revision], gate: GateSpec
) -> Gating:
    record, desired = at.serving.gate, at.desired
    own = record if record and record.revision == desired and record.verdict in _VERDICTS else None
    if not at.active:
        live = live_config(observed.resource.spec)
        key = gate_key(observed.resource, gate, live)
        return without_active(at, observed, own, key=key, measure_key=live.measure_key)
    if not desired:
        return Gating(record=record)
    if desired == at.active:
        return Gating(record=own if own and own.verdict else None)
    if at.serving.admitted == desired or at.rollback is not None:
        return Gating(record=own)  # it has had requests already
    candidate = revisions[desired]
    live = live_config(observed.resource.spec, candidate.plan)
    key = gate_key(observed.resource, gate, live)
    case = _Case(observed=observed, at=at, revisions=revisions, gate=gate, live=live, key=key)
    held = own if own and own.key == key and 0 <= own.measurements <= MEASUREMENTS else None
    if held and held.verdict:
        rejects = is_rejected(held, gate)
        return Gating(record=held, admits=not rejects, rejects=rejects)
    if not at.replicas:
        return _admitted_unjudged(case, held, "no replica was to run")
    if held and at.ready(at.active):
        held = replace(held, outage="")
    if not at.available(desired):
        return _until_available(case, held)
    if not at.available(at.active) or at.selects(desired):
        return _while_it_answers(case, held or _begun(case))
    if live.probe.policy == "Disabled":
        return _admitted_unjudged(case, held, "spec.probe.policy is Disabled")
    return _judge(case, candidate, held or _begun(case))


def gate_key(resource: LLMDeployment, gate: GateSpec, live: LiveConfig) -> str:
    """Hash of all that a verdict depends on, apart from the candidate. Another one: it is judged anew."""
    tolerances = gate.tolerance_percent.to_wire() if gate.tolerance_percent else {}
    request = resource.metadata.annotations.get(names.MEASURE_AGAIN_ANNOTATION, "")
    return names.digest([KEY_SCHEMA, tolerances, live.measure_key, request])


def _until_available(case: _Case, held: GateRecord | None) -> Gating:
    """The candidate's pod starts, or measures itself again, which takes it out of readiness."""
    if held is not None and held.pod:
        return _awaiting(case, held, None)
    if case.at.ready(case.at.desired):
        message = f"once a pod of it has been ready for {MIN_READY_SECONDS} s"
        return Gating(record=held, admits=False, message=message)
    return Gating(record=held)


def _begun(case: _Case) -> GateRecord:
    """The record of a candidate that is judged from now on."""
    now = format_time(case.now)
    return GateRecord(revision=case.at.desired, key=case.key, begun=now, since=now)


def _while_it_answers(case: _Case, record: GateRecord) -> Gating:
    """Nothing is judged while the active revision has no available pod, or others fill in for it: the
    candidate's ready pods answer, so they are asked nothing. A fix must get through: an outage that lasts
    admits it.
    """
    at, active = case.at, case.at.active
    left = _seconds_left(record.begun, END_SECONDS, case.now)
    message, why = f"once revision {active} serves alone", "did not serve alone"
    if not at.available(active):
        why = "did not stay ready"
        message = f"once a pod of revision {active} has been ready for {MIN_READY_SECONDS} s"
    if not at.ready(active):
        record = replace(record, outage=record.outage or format_time(case.now))
        left = min(left, _seconds_left(record.outage, OUTAGE_SECONDS, case.now))
        why = "had no ready pod"
        message = f"it is admitted when revision {active} has had no ready pod for {OUTAGE_SECONDS:.0f} s"
    if left <= 0:
        return _admitted_unjudged(case, record, f"revision {active} {why}")
    return Gating(record=record, admits=False, message=message, requeue_after_seconds=left)


def _judge(case: _Case, candidate: Revision, record: GateRecord) -> Gating:
    """Judges the candidate's newest measurement, if it is not the one that was judged before."""
    at, now = case.at, format_time(case.now)
    known = gathered(
        case.observed,
        case.revisions.get(at.active),
        case.live,
        case.revisions,
        serving={at.active, at.serving.admitted},
    )
    found = newest(known, candidate, case.live, preferred=record.pod)
    record = record if found is None else replace(record, missed="")
    if found is None or (record.measurements and found.time == record.measured_time):
        return _overdue_or_awaiting(case, record, found)
    verdict = judged(found, known, case.revisions, at.active, gate=case.gate, live=case.live)
    if verdict.kind == Kind.UNJUDGED and not verdict.again and at.active not in case.revisions:
        what = f"ControllerRevision {at.active}, which serves, is gone or cannot be read"
        verdict = replace(verdict, what=what)
    count = record.measurements + 1
    confirmed = tuple(name for name in verdict.figures if name in record.figures)
    record = replace(
        record,
        what=clipped(verdict.what, WHAT_LIMIT),
        details=clipped(verdict.details, NOTE_LIMIT),
        figures=confirmed or tuple(dict.fromkeys((*record.figures, *verdict.figures))),
        measurements=count,
        measured_time=found.time,
    )
    if confirmed:
        agreement = f"found in 2 of {count} measurements"
        record = replace(record, details=clipped(f"{agreement}, {verdict.details}", NOTE_LIMIT))
    if confirmed or verdict.kind == Kind.ACCEPTABLE:
        return _final(case, replace(record, figures=confirmed), verdict.kind)
    if verdict.kind == Kind.UNJUDGED and not verdict.again:
        return _final(case, record, Kind.UNJUDGED)
    if count >= MEASUREMENTS:
        what = f"{count} measurements gave no verdict; the last: {verdict.what}"
        return _final(case, replace(record, what=clipped(what, WHAT_LIMIT)), Kind.UNJUDGED)
    return _awaiting(case, replace(record, pod=found.pod.name, since=now), found)


def _overdue_or_awaiting(case: _Case, record: GateRecord, found: CandidateMeasurement | None) -> Gating:
    """The next measurement is awaited, unless it is too late; then the candidate is admitted."""
    if found is None:  # after an outage it is only late
        record = replace(record, missed=record.missed or format_time(case.now))
    elif found.pod.name != record.pod:  # another one has taken its place
        record = replace(record, pod=found.pod.name, since=format_time(case.now))
    if _left_seconds(case, record, found) > 0:
        return _awaiting(case, record, found)
    what = "its pod reports no measurement"
    if record.measurements:
        what = f"its pod has not measured itself again; so far: {record.what}"
    return _final(case, replace(record, what=clipped(what, WHAT_LIMIT)), Kind.UNJUDGED)


def _awaiting(case: _Case, record: GateRecord, found: CandidateMeasurement | None) -> Gating:
    """The candidate gets no requests until its next measurement has been judged."""
    number = record.measurements + 1
    message = f"measurement {number} of at most {MEASUREMENTS} is awaited"
    again = Again()
    if record.measurements:
        message += f"; so far {record.what}"
    if record.measurements and _is_noted(case, record):
        request = names.digest([record.revision, record.key, record.measured_time, number])
        again = Again(request=f"gate-{request}", hostname=record.pod[:HOSTNAME_LENGTH].rstrip("-."))
    left = _left_seconds(case, record, found)
    return Gating(
        record=record, admits=False, message=message, again=again, requeue_after_seconds=left or None
    )


def _is_noted(case: _Case, record: GateRecord) -> bool:
    """Whether the Service has the last judged measurement, whose write brings the next reconcile. If it is
    refused, each further measurement would count as that one, for ever.
    """
    stored = case.at.serving.gate
    return stored is not None and (stored.key, stored.measured_time) == (record.key, record.measured_time)


def _left_seconds(case: _Case, record: GateRecord, found: CandidateMeasurement | None) -> float:
    """Seconds for which the next measurement is awaited still."""
    limit = BEGIN_SECONDS + 2.0 * case.live.probe.timeout_seconds
    whole = max(END_SECONDS, MEASUREMENTS * (BEGIN_SECONDS + limit))
    if found is None:  # its report could not be read, or it measures itself
        limit += BEGIN_SECONDS
    elif found.report.phase == SERVING:
        limit = BEGIN_SECONDS
    left = min(_seconds_left(record.since, limit, case.now), _seconds_left(record.begun, whole, case.now))
    return left if found else max(left, _seconds_left(record.missed, MISSED_SECONDS, case.now))


def _seconds_left(since: str, limit_seconds: float, now: datetime) -> float:
    """Seconds left of the time that began at ``since``; 0: it is over, or its beginning is not known."""
    begun = parse_time(since)
    return pause_left(begun, limit_seconds, now) if begun else 0.0


def _admitted_unjudged(case: _Case, held: GateRecord | None, why: str) -> Gating:
    record = held or GateRecord(revision=case.at.desired, key=case.key)
    return _final(case, replace(record, what=why), Kind.UNJUDGED)


def _final(case: _Case, record: GateRecord, kind: Kind) -> Gating:
    """The verdict, without what only served to reach it."""
    record = replace(record, verdict=str(kind), pod="", since="", begun="", measured_time="")
    record = replace(record, missed="", outage="")
    rejects = is_rejected(record, case.gate)
    return Gating(record=record, admits=not rejects, rejects=rejects)
