"""A measurement that is due is taken in a throwaway pod: when one is started, followed and thrown away.

A serving pod is not disturbed. What failed attempts left behind is a note on the live ConfigMap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig, startup_budget_seconds
from tacho_contract.measurement import Measurement as Measured
from tacho_contract.report import Report
from tacho_contract.times import parse_time
from tacho_contract.units import clipped
from tacho_operator.api.conditions import Reason
from tacho_operator.api.types import LLMDeployment, MeasuredRun, Measurement
from tacho_operator.core import names
from tacho_operator.core.manifests.deployment import SCHEDULING_SECONDS
from tacho_operator.core.manifests.pod.probepod import probe_pod
from tacho_operator.core.measurement.due import DISRUPT, Cause, cause
from tacho_operator.core.measurement.mapper import CHECK, confidence_of
from tacho_operator.core.measurement.note import (
    PROVISIONAL_RETRY_SECONDS,
    Note,
    next_note,
    read_note,
    wait_seconds,
    write_note,
)
from tacho_operator.core.measurement.records import current
from tacho_operator.core.measurement.states import CLEAN, USABLE
from tacho_operator.core.pods.diagnosis import diagnose, overdue
from tacho_operator.core.pods.reachability import unreachable, unreachable_message
from tacho_operator.core.pods.view import PodView, references
from tacho_operator.core.pods.waiting import time_left
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.rollout.reading import schedule_timeout_seconds
from tacho_operator.core.types import Manifest, Reference

_TRIED_AGAIN = frozenset({FailureClass.UNSCHEDULABLE, FailureClass.IMAGE_PULL_ERROR})
"""By scheduler and kubelet, for a while. The image was pulled for the pods that serve: a pull that fails is
the node's or the registry's matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Why there are no figures for this workload."""

    reason: Reason
    """CannotJudge (the cluster did not let a throwaway pod measure), ReportUnreachable, MeasurementFailed."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remeasure:
    """The next step."""

    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    running: bool = False
    """A throwaway pod is at work, or on its way."""
    cause: Cause | None = None
    """Why one is, or should be."""
    outcome: Outcome | None = None
    note: str = ""
    """To keep on the live ConfigMap."""
    answered: str = ""
    """The last request that was dealt with, to keep there too."""
    look_again_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remeasuring:
    """What the next step towards figures for the present workload depends on."""

    resource: LLMDeployment
    active: Revision
    live: LiveConfig
    measurements: tuple[Measurement, ...]
    servers: tuple[PodView, ...]
    """Of the active revision."""
    probes: tuple[PodView, ...]
    """Throwaway pods, of whatever revision and workload."""
    reports: Mapping[str, Report]
    note: str
    """What the last attempt left on the live ConfigMap."""
    answered: str = ""
    """The last request that was dealt with."""
    deviating: MeasuredRun | None = None
    """The check of a pod that serves and does not do what was measured."""
    refused: str
    """What the API server said when the throwaway pod was to be created just now; "": nothing."""
    lost: Collection[str] = ()
    """Nodes that do not answer."""
    now: datetime

    @property
    def asked(self) -> str:
        return self.resource.metadata.annotations.get(names.MEASURE_AGAIN_ANNOTATION, "")

    @property
    def request(self) -> str:
        """What was asked of a throwaway pod and is not answered yet; "": nothing."""
        return "" if self.asked == self.answered or self.asked.startswith(DISRUPT) else self.asked

    @property
    def probe(self) -> PodView | None:
        """The throwaway pod that measures this revision with this workload; one on its way out only where
        there is no other, and its node will let it go."""
        wanted = (self.active.name, self.live.measure_key)
        found = [
            pod
            for pod in self.probes
            if (pod.revision, pod.annotation(names.MEASURE_KEY_ANNOTATION)) == wanted
            and not (pod.terminating and pod.node in self.lost)
        ]
        return min(found, key=lambda pod: pod.terminating, default=None)

    @property
    def cause(self) -> Cause | None:
        reported = [report.measurement for report in self.server_reports]
        return cause(
            self.measurements,
            self.active,
            self.live,
            request=self.request,
            checked=any(item is not None and item.kind == CHECK for item in reported),
            deviating=self.deviating,
        )

    @property
    def server_reports(self) -> tuple[Report, ...]:
        """Of the pods that serve."""
        return tuple(self.reports[pod.uid] for pod in self.servers if pod.ready and pod.uid in self.reports)

    @property
    def before(self) -> Note | None:
        """What the last attempt came to, where it was about this revision, workload and request."""
        return read_note(self.note, self.active.name, self.live.measure_key, self.request)

    @property
    def limit_seconds(self) -> float:
        """How long a throwaway pod may take from its creation to its figures."""
        size = self.active.plan.files.total_bytes
        budget = startup_budget_seconds(size, self.resource.spec.startup_timeout_seconds)
        return budget + self.live.probe.timeout_seconds + SCHEDULING_SECONDS


def remeasure(case: Remeasuring) -> Remeasure:
    """What to do about figures that are missing, asked for, or cannot be trusted."""
    why = case.cause
    if case.live.probe.policy == "Disabled" or why is None:
        return Remeasure(delete=references(case.probes), answered=case.answered)
    for report in case.server_reports if why == Cause.MISSING else ():
        if (failed := no_figures(report, case.live)) is not None:
            return Remeasure(
                delete=references(case.probes), cause=why, outcome=failed, answered=case.answered
            )
    probe = case.probe
    others = references(pod for pod in case.probes if pod != probe)
    return _begin(case, why, others) if probe is None else _follow(case, why, probe, others)


def _kept(case: Remeasuring, why: Cause) -> Remeasure:
    """The moment as it is, with what the last attempt left."""
    before = case.before
    note = case.note if before else ""
    return Remeasure(cause=why, outcome=_told(before), note=note, answered=case.answered)


def _told(note: Note | None) -> Outcome | None:
    if note is None or note.reason == Reason.MEASUREMENT_PROVISIONAL:
        return None
    return Outcome(reason=note.reason, message=note.message)


def _begin(case: Remeasuring, why: Cause, others: tuple[Reference, ...]) -> Remeasure:
    """Starts a throwaway pod, where it is time and worth its resources."""
    kept = replace(_kept(case, why), delete=others)
    wait = _wait(case, why)
    if wait != 0.0:
        return replace(kept, look_again_seconds=wait)
    # A ready pod without these figures is what makes a throwaway pod worth its resources.
    if not case.server_reports:
        return kept
    if case.refused:
        refused = Outcome(reason=Reason.CANNOT_JUDGE, message=clipped(case.refused))
        return replace(kept, outcome=refused)
    key, before = case.live.measure_key, case.before
    attempt = before.tries if before else 0
    pod = probe_pod(
        case.resource,
        name=names.probe_pod_name(
            case.resource.metadata.name, names.digest([case.active.name, key, attempt])
        ),
        revision=case.active.name,
        pod_template=case.active.pod_template,
        measure_key=key,
    )
    return replace(kept, apply=(pod,), running=True)


def _wait(case: Remeasuring, why: Cause) -> float | None:
    """Until the next attempt; 0 at once, None never."""
    before = case.before
    if before is not None:
        return wait_seconds(before, case.now)
    if why != Cause.PROVISIONAL:
        return 0.0
    # What disturbed the first measurement is given time to end.
    entry = current(case.measurements)
    since = parse_time(entry.observed_time) if entry else None
    passed = (case.now - since).total_seconds() if since else PROVISIONAL_RETRY_SECONDS
    return min(PROVISIONAL_RETRY_SECONDS, max(0.0, PROVISIONAL_RETRY_SECONDS - passed))


def _follow(case: Remeasuring, why: Cause, probe: PodView, others: tuple[Reference, ...]) -> Remeasure:
    """What the throwaway pod has come to."""
    kept = replace(_kept(case, why), delete=others)
    if probe.terminating:
        return kept
    report = case.reports.get(probe.uid)
    found = report.measurement if report else None
    mine = found is not None and found.measure_key == case.live.measure_key
    if found is not None and mine and found.state in USABLE and found.kind != CHECK:
        return _measured(case, why, probe, found, others)
    late = overdue(probe, case.now, schedule_timeout_seconds(case.resource))
    ended = _ended(case, probe, late=late)
    if ended is None:
        return replace(kept, running=True, outcome=None, look_again_seconds=_time_left(case, probe))
    if ended.goes_on:
        told = Outcome(reason=ended.reason, message=ended.message)
        return replace(kept, outcome=told, look_again_seconds=_time_left(case, probe))
    note = next_note(
        case.before, ended.reason, ended.message, case.now, request=case.request, crashed=ended.crashed
    )
    return _given_up(case, why, probe, note, others)


def _time_left(case: Remeasuring, probe: PodView) -> float | None:
    """Until the throwaway pod is given up; its progress is another matter."""
    return time_left(probe.created, case.limit_seconds, case.now) if probe.created else None


def _measured(
    case: Remeasuring, why: Cause, probe: PodView, found: Measured, others: tuple[Reference, ...]
) -> Remeasure:
    """It has figures, which are among the measurements by now where they are better than those there were."""
    if confidence_of(found.flags) == CLEAN:
        answered = case.asked if why == Cause.REQUESTED else case.answered
        return Remeasure(delete=(*references([probe]), *others), cause=None, answered=answered)
    note = next_note(
        case.before, Reason.MEASUREMENT_PROVISIONAL, clipped(found.message), case.now, request=case.request
    )
    return _given_up(case, why, probe, note, others)


def _given_up(
    case: Remeasuring, why: Cause, probe: PodView, note: Note, others: tuple[Reference, ...]
) -> Remeasure:
    final = note.reason == Reason.MEASUREMENT_FAILED
    return Remeasure(
        delete=(*references([probe]), *others),
        cause=why,
        outcome=_told(note),
        note=write_note(note, case.active.name, case.live.measure_key),
        # A request that cannot be answered is answered by that; the next one is tried anew.
        answered=case.asked if final and why == Cause.REQUESTED else case.answered,
        look_again_seconds=wait_seconds(note, case.now),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Why a throwaway pod brings no figures."""

    reason: Reason
    message: str
    crashed: bool = False
    goes_on: bool = False
    """It may still come to it."""


def _ended(case: Remeasuring, probe: PodView, *, late: bool) -> Ended | None:
    """None while it may bring figures."""
    report = case.reports.get(probe.uid)
    if report and (failed := no_figures(report, case.live)) is not None:
        return Ended(reason=failed.reason, message=failed.message)
    problem = diagnose(probe, lost_nodes=case.lost, schedule_overdue=late)
    if problem is not None and (problem.kind.by_platform or problem.reason in _TRIED_AGAIN):
        waits = probe.phase != "Failed" and problem.reason in _TRIED_AGAIN and not late
        return Ended(reason=Reason.CANNOT_JUDGE, message=problem.message, goes_on=waits)
    if probe.phase in ("Failed", "Succeeded") or (problem is not None and problem.needs_person):
        why = problem.message if problem else f"Pod {probe.name} ended before it had measured."
        return Ended(reason=Reason.MEASUREMENT_FAILED, message=why, crashed=True)
    silent = unreachable([probe], case.reports.keys(), case.now) is not None
    late_altogether = overdue(probe, case.now, case.limit_seconds)
    if silent:
        told = unreachable_message(probe)
        return Ended(reason=Reason.REPORT_UNREACHABLE, message=told, goes_on=not late_altogether)
    if late_altogether:
        why = f"Pod {probe.name} did not report a measurement in time."
        return Ended(reason=Reason.MEASUREMENT_FAILED, message=why, crashed=True)
    return None


def no_figures(report: Report, live: LiveConfig) -> Outcome | None:
    """The probe ran with this very workload and got nothing."""
    found = report.measurement
    if found is None or found.measure_key != live.measure_key or found.state in USABLE:
        return None
    why = found.message or "no reason was given"
    return Outcome(
        reason=Reason.MEASUREMENT_FAILED, message=clipped(f"The probe got nothing it could use: {why}")
    )
