"""Measures a model again in a probe pod: when that pod is created, followed and deleted.

Serving pods are not disturbed. How a failed attempt ended is recorded on the live ConfigMap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Measurement
from tacho_contract.report import Report
from tacho_contract.units import clipped, parse_time
from tacho_operator.api.conditions import Reason
from tacho_operator.api.defaults import gpu_resource
from tacho_operator.api.status.measurement import MeasuredRun, MeasurementEntry
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.manifests.helper_pods import probe_pod
from tacho_operator.core.manifests.objects import start_deadline_seconds
from tacho_operator.core.measurement.attempts import (
    PROVISIONAL_RETRY_SECONDS,
    AttemptNote,
    next_note,
    read_note,
    wait_seconds,
    write_note,
)
from tacho_operator.core.measurement.due import Cause, due_cause
from tacho_operator.core.measurement.entry import flags_of
from tacho_operator.core.measurement.states import CHECK, CLEAN, USABLE, confidence_of, current
from tacho_operator.core.pauses import pause_left
from tacho_operator.core.pods.deadlines import time_left, unreachable, unreachable_message
from tacho_operator.core.pods.diagnosis import diagnose, overdue
from tacho_operator.core.pods.scheduling import lacks_gpu_since
from tacho_operator.core.pods.view import FINISHED, STUCK_SECONDS, PodView, references
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.rollout.reading import SCHEDULE_TIMEOUT_SECONDS, schedule_timeout_seconds
from tacho_operator.core.types import Manifest, Reference

_TRIED_AGAIN = frozenset(
    {FailureClass.UNSCHEDULABLE, FailureClass.POD_NOT_PREPARED, FailureClass.IMAGE_PULL_ERROR}
)
"""Failures of a probe pod that scheduler and kubelet retry for a while. A failed pull is one of them: serving
pods pulled the same image, so node or registry is the cause.
"""

NO_GPU = f"Free a GPU, or set {names.REPLAN_ANNOTATION} anew: a new revision measures itself as it starts."
UNSERVED = "A probe pod starts only while a serving pod is ready and reports."
TURN_SECONDS = 300.0
"""Seconds between two reconciles of a resource whose probe pod waits for its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFailure:
    """Why a probe, in a probe pod or in a serving pod, gave no measurement."""

    reason: Reason
    """CannotJudge (the cluster prevented the measurement), ReportUnreachable or MeasurementFailed."""
    message: str
    crashed: bool = False
    may_recover: bool = False
    """Whether the probe pod may still measure, so that it is not deleted yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemeasurePlan:
    """The next step of a measurement in a probe pod."""

    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    running: bool = False
    """A probe pod runs, or is being created."""
    queued: bool = False
    """A probe pod is due and waits for its turn."""
    cause: Cause | None = None
    """Why a measurement in a probe pod is due; None: none is due."""
    outcome: ProbeFailure | None = None
    note: str = ""
    """How the last attempt ended, as JSON to store on the live ConfigMap."""
    answered: str = ""
    """The user's last request whose measurement has ended, to store on the live ConfigMap."""
    requeue_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemeasureInput:
    """The input of the next step of a measurement in a probe pod."""

    resource: LLMDeployment
    active: Revision
    live: LiveConfig
    measurements: tuple[MeasurementEntry, ...]
    servers: tuple[PodView, ...]
    """Serving pods of the active revision."""
    probes: tuple[PodView, ...]
    """Probe pods, of any revision and workload."""
    reports: Mapping[str, Report]
    note: str
    """How the last attempt ended, as JSON from the live ConfigMap."""
    answered: str = ""
    """The user's last request whose measurement has ended."""
    deviating: MeasuredRun | None = None
    """The check of a serving pod that differs from the measurement by more than pods usually do."""
    unmeasured_since: datetime | None = None
    """Since when a serving pod is known to have no full measurement of its present run."""
    refused: str
    """The API server's message where it refused the probe pod in this reconcile pass; "": not refused."""
    lost: Collection[str] = ()
    """Names of the nodes that stopped reporting to the API server."""
    turn: bool = True
    """Whether a probe pod may start now: their number in the cluster is bounded."""
    now: datetime

    @property
    def requested(self) -> str:
        return self.resource.metadata.annotations.get(names.MEASURE_AGAIN_ANNOTATION, "")

    @property
    def request(self) -> str:
        """The unanswered request for a measurement by a probe pod; "": none."""
        return "" if self.requested == self.answered else self.requested

    @property
    def probe(self) -> PodView | None:
        """The probe pod of this revision and workload. A terminating pod counts only where no other exists
        and it can end."""
        expected = (self.active.name, self.live.measure_key)
        found = [
            pod
            for pod in self.probes
            if (pod.revision, pod.annotation(names.MEASURE_KEY_ANNOTATION)) == expected
            and not pod.cannot_end(self.lost, self.now)
        ]
        return min(found, key=lambda pod: pod.terminating, default=None)

    @property
    def cause(self) -> Cause | None:
        return due_cause(
            self.measurements,
            self.active,
            self.live,
            request=self.request,
            unmeasured_since=self.unmeasured_since,
            deviating=self.deviating,
        )

    @property
    def server_reports(self) -> tuple[Report, ...]:
        """Reports of the ready serving pods."""
        return tuple(self.reports[pod.uid] for pod in self.servers if pod.ready and pod.uid in self.reports)

    @property
    def before(self) -> AttemptNote | None:
        """The note of the last attempt for this revision, workload and request; None: no such attempt."""
        return read_note(self.note, self.active.name, self.live.measure_key, self.request)

    @property
    def limit_seconds(self) -> int:
        """Longest time in seconds from a probe pod's creation to the end of its measurement."""
        return self.patience_seconds + start_deadline_seconds(self.resource, self.active.plan)

    @property
    def patience_seconds(self) -> int:
        """Longest time in seconds that a probe pod waits for a node: the spec's timeout, but at most the
        default.

        With longer waits the probe pods of many resources would be scheduled, and measure, at the same time.
        """
        return min(schedule_timeout_seconds(self.resource), SCHEDULE_TIMEOUT_SECONDS)


def remeasure(case: RemeasureInput) -> RemeasurePlan:
    """The next step of a measurement in a probe pod: to create, await or delete the pod, or to do nothing."""
    why = None if case.live.probe.policy == "Disabled" else case.cause
    stopped = RemeasurePlan(delete=references(case.probes), cause=why, answered=case.answered)
    # Without a cause there may be figures of other hardware, where a pod of this one failed to measure.
    lacking = why == Cause.MISSING or (why is None and current(case.measurements) is None)
    for report in case.server_reports if lacking and not case.request else ():
        if (failed := probe_failure(report, case.live)) is not None:
            return replace(stopped, outcome=failed)
    if why is None:
        return stopped
    probe = case.probe
    others = references(pod for pod in case.probes if pod != probe)
    return _create(case, why, others) if probe is None else _follow_pod(case, why, probe, others)


def _unchanged(case: RemeasureInput, why: Cause) -> RemeasurePlan:
    """The step that changes nothing: the last attempt's result stays, and no probe pod starts."""
    before = case.before
    note = case.note if before else ""
    return RemeasurePlan(cause=why, outcome=_failure_of(before), note=note, answered=case.answered)


def _failure_of(note: AttemptNote | None) -> ProbeFailure | None:
    if note is None or note.reason == Reason.MEASUREMENT_PROVISIONAL:
        return None
    return ProbeFailure(reason=Reason(note.reason), message=note.message)


def _create(case: RemeasureInput, why: Cause, others: tuple[Reference, ...]) -> RemeasurePlan:
    """The step that creates a probe pod, once the delay is over and no serving pod needs the resources."""
    kept = replace(_unchanged(case, why), delete=others)
    wait = _wait(case, why)
    if wait != 0.0:
        return replace(kept, requeue_after_seconds=wait)
    # A ready pod without these figures is what makes a probe pod worth its resources.
    if not case.server_reports and why != Cause.REQUESTED:
        return kept
    if hindrance := case.refused if case.server_reports else UNSERVED:
        refused = ProbeFailure(reason=Reason.CANNOT_JUDGE, message=clipped(hindrance))
        return replace(kept, outcome=refused)
    if not case.turn:
        return replace(kept, queued=True, requeue_after_seconds=TURN_SECONDS)
    key, before = case.live.measure_key, case.before
    tries = before.tries if before else 0
    stay = sorted(pod.uid for pod in case.probes if pod.cannot_end(case.lost, case.now))
    distinct = [case.active.name, key, tries, *stay]
    pod = probe_pod(
        case.resource,
        name=names.probe_pod_name(case.resource.metadata.name, names.digest(distinct)),
        revision=case.active.name,
        pod_template=case.active.pod_template,
        measure_key=key,
        limit_seconds=case.limit_seconds,
    )
    return replace(kept, apply=(pod,), running=True)


def _wait(case: RemeasureInput, why: Cause) -> float | None:
    """Seconds until the next attempt; 0: it may start now; None: no further one."""
    before = case.before
    if before is not None:
        return wait_seconds(before, case.now)
    if why != Cause.PROVISIONAL:
        return 0.0
    # What disturbed the first measurement, or started beside it, is given time to end.
    entry = current(case.measurements)
    since = parse_time(entry.observed_time) if entry else None
    return pause_left(since, PROVISIONAL_RETRY_SECONDS, case.now) if since else 0.0


def _follow_pod(
    case: RemeasureInput, why: Cause, probe: PodView, others: tuple[Reference, ...]
) -> RemeasurePlan:
    """The next step for an existing probe pod: wait for it, take its measurement, or delete it."""
    kept = replace(_unchanged(case, why), delete=others)
    if probe.ends is not None:
        return replace(kept, requeue_after_seconds=time_left(probe.ends, STUCK_SECONDS, case.now))
    report = case.reports.get(probe.uid)
    found = report.measurement if report else None
    mine = found is not None and found.measure_key == case.live.measure_key
    if found is not None and mine and found.state in USABLE and found.kind != CHECK:
        return _delete_measured(case, why, probe, found, others)
    late = overdue(probe, case.now, case.limit_seconds if probe.node else case.patience_seconds)
    ended = _end_of(case, probe, late=late)
    if ended is None:
        return replace(kept, running=True, outcome=None, requeue_after_seconds=_time_left(case, probe))
    if ended.may_recover:
        return replace(kept, outcome=ended, requeue_after_seconds=_time_left(case, probe))
    return _delete(case, why, probe, ended, others)


def _time_left(case: RemeasureInput, probe: PodView) -> float | None:
    """Seconds until the probe pod's deadline, which does not depend on its progress."""
    return time_left(probe.created, case.limit_seconds, case.now) if probe.created else None


def _delete_measured(
    case: RemeasureInput, why: Cause, probe: PodView, found: Measurement, others: tuple[Reference, ...]
) -> RemeasurePlan:
    """Deletes a probe pod that has measured; its result is stored if it is better than the former one."""
    if confidence_of(flags_of(found)) == CLEAN:
        answered = case.requested if case.request else case.answered
        return RemeasurePlan(delete=(*references([probe]), *others), answered=answered)
    disturbed = ProbeFailure(reason=Reason.MEASUREMENT_PROVISIONAL, message=clipped(found.message))
    return _delete(case, why, probe, disturbed, others)


def _delete(
    case: RemeasureInput, why: Cause, probe: PodView, end: ProbeFailure, others: tuple[Reference, ...]
) -> RemeasurePlan:
    about = (case.before, end.reason, end.message, case.now)
    note = next_note(*about, uid=probe.uid, request=case.request, crashed=end.crashed)
    final = note.reason == Reason.MEASUREMENT_FAILED
    return RemeasurePlan(
        delete=(*references([probe]), *others),
        cause=why,
        outcome=_failure_of(note),
        note=write_note(note, case.active.name, case.live.measure_key),
        # A request that cannot be answered is answered by that; the next one is tried anew.
        answered=case.requested if final and case.request else case.answered,
        requeue_after_seconds=wait_seconds(note, case.now),
    )


def _end_of(case: RemeasureInput, probe: PodView, *, late: bool) -> ProbeFailure | None:
    """Why the probe pod yields no measurement; None while it may still measure."""
    report = case.reports.get(probe.uid)
    if report and (failed := probe_failure(report, case.live)) is not None:
        return failed
    problem = diagnose(probe, lost_nodes=case.lost, schedule_overdue=late, now=case.now)
    if problem is not None and lacks_gpu_since(probe, gpu_resource(case.resource.spec)) is not None:
        problem = replace(problem, next_step=NO_GPU)
    if problem is not None and (problem.kind.by_platform or problem.reason in _TRIED_AGAIN):
        waits = probe.phase != "Failed" and problem.reason in _TRIED_AGAIN and not late
        return ProbeFailure(reason=Reason.CANNOT_JUDGE, message=problem.message, may_recover=waits)
    too_late = f"Pod {probe.name} did not report a measurement in time."
    if probe.exceeded_deadline:
        ran = any(item.terminated and item.terminated.started for item in probe.containers())
        reason = Reason.MEASUREMENT_FAILED if ran else Reason.CANNOT_JUDGE
        return ProbeFailure(reason=reason, message=too_late, crashed=ran)
    if probe.phase in FINISHED or (problem is not None and problem.needs_user_action):
        why = problem.message if problem else f"Pod {probe.name} ended without a measurement."
        return ProbeFailure(reason=Reason.MEASUREMENT_FAILED, message=why, crashed=True)
    late_altogether = overdue(probe, case.now, case.limit_seconds)
    if unreachable([probe], case.reports.keys(), case.now) is not None:
        why, is_early = unreachable_message(probe), not late_altogether
        return ProbeFailure(reason=Reason.REPORT_UNREACHABLE, message=why, may_recover=is_early)
    if late_altogether:
        return ProbeFailure(reason=Reason.MEASUREMENT_FAILED, message=too_late, crashed=True)
    return None


def probe_failure(report: Report, live: LiveConfig) -> ProbeFailure | None:
    """Why a probe with the present workload failed; None: it has measured, or is still running."""
    found = report.measurement
    if found is None or found.measure_key != live.measure_key or found.state in USABLE:
        return None
    why = found.message or "no reason was given"
    return ProbeFailure(
        reason=Reason.MEASUREMENT_FAILED, message=clipped(f"The probe has no valid result: {why}")
    )
