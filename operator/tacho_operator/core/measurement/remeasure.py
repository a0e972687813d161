"""A changed workload is measured in a throwaway pod: when one is started, followed and thrown away.

A serving pod is never disturbed. What a failed attempt left behind is a note on the live ConfigMap, so
that a restart of the operator neither forgets it nor tries for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig, startup_budget_seconds
from tacho_contract.report import Report
from tacho_contract.times import format_time, parse_time
from tacho_contract.units import clipped
from tacho_operator.api.conditions import Reason
from tacho_operator.api.types import LLMDeployment, Measurement
from tacho_operator.core import names
from tacho_operator.core.manifests.deployment import SCHEDULING_SECONDS
from tacho_operator.core.manifests.pod.probepod import probe_pod
from tacho_operator.core.measurement.mapper import USABLE
from tacho_operator.core.pods.diagnosis import diagnose, overdue
from tacho_operator.core.pods.view import PodView, references
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.rollout.reading import schedule_timeout_seconds
from tacho_operator.core.types import Manifest, Reference

RETRY_SECONDS = 600.0
"""After a throwaway pod found no node: room may have been made meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Why there are no figures for this workload."""

    reason: Reason
    """CannotJudge (no node took the pod) or MeasurementFailed."""
    message: str
    time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remeasure:
    """The next step."""

    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    running: bool = False
    """A throwaway pod is at work, or on its way."""
    outcome: Outcome | None = None
    note: str = ""
    """To keep on the live ConfigMap."""
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
    refused: str
    """What the API server said when the throwaway pod was to be created just now; "": nothing."""
    now: datetime

    @property
    def answered(self) -> bool:
        """Whether this plan was measured with this workload, on whatever hardware the cluster gave it."""
        asked = (self.active.plan_key, self.live.measure_key)
        return any((item.plan_key, item.measure_key) == asked for item in self.measurements)

    @property
    def probe(self) -> PodView | None:
        """The throwaway pod that measures this revision with this workload."""
        wanted = (self.active.name, self.live.measure_key)
        return next(
            (
                pod
                for pod in self.probes
                if (pod.revision, pod.annotation(names.MEASURE_KEY_ANNOTATION)) == wanted
            ),
            None,
        )

    @property
    def server_reports(self) -> tuple[Report, ...]:
        """Of the pods that serve."""
        return tuple(self.reports[pod.uid] for pod in self.servers if pod.ready and pod.uid in self.reports)

    @property
    def before(self) -> Outcome | None:
        """What the last attempt came to, where it was about this revision and workload."""
        return read_note(self.note, self.active, self.live)

    @property
    def kept_note(self) -> str:
        return self.note if self.before else ""

    @property
    def limit_seconds(self) -> float:
        """How long a throwaway pod may take from its creation to its figures."""
        size = self.active.plan.files.total_bytes
        budget = startup_budget_seconds(size, self.resource.spec.startup_timeout_seconds)
        return budget + self.live.probe.timeout_seconds + SCHEDULING_SECONDS


def remeasure(case: Remeasuring) -> Remeasure:
    """What to do about figures that no longer describe the workload."""
    if case.live.probe.policy == "Disabled" or case.answered:
        return Remeasure(delete=references(case.probes))
    for report in case.server_reports:
        if (failed := no_figures(report, case.live)) is not None:
            return Remeasure(delete=references(case.probes), outcome=failed)
    probe = case.probe
    others = references(pod for pod in case.probes if pod != probe)
    return _begin(case, others) if probe is None else _follow(case, probe, others)


def _begin(case: Remeasuring, others: tuple[Reference, ...]) -> Remeasure:
    """Starts a throwaway pod, where it is time and worth its resources."""
    before = case.before
    wait = _wait_seconds(before, case.now) if before else 0.0
    if wait != 0.0:
        return Remeasure(delete=others, outcome=before, note=case.note, look_again_seconds=wait)
    # A ready pod that has not measured this workload is what makes a throwaway pod worth its resources.
    if not case.server_reports:
        return Remeasure(delete=others, outcome=before, note=case.kept_note)
    if case.refused:
        refused = Outcome(reason=Reason.CANNOT_JUDGE, message=clipped(case.refused))
        return Remeasure(delete=others, outcome=refused)
    key = case.live.measure_key
    pod = probe_pod(
        case.resource,
        name=names.probe_pod_name(case.resource.metadata.name, names.digest([case.active.name, key])),
        revision=case.active.name,
        pod_template=case.active.pod_template,
        measure_key=key,
    )
    return Remeasure(apply=(pod,), delete=others, running=True, outcome=before, note=case.kept_note)


def _follow(case: Remeasuring, probe: PodView, others: tuple[Reference, ...]) -> Remeasure:
    """What the throwaway pod has come to."""
    if probe.terminating:
        return Remeasure(delete=others, outcome=case.before, note=case.kept_note)
    late = overdue(probe, case.now, schedule_timeout_seconds(case.resource))
    outcome = _outcome(case, probe, late=late)
    if outcome is None:
        return Remeasure(delete=others, running=True, note=case.kept_note)
    if outcome.reason == Reason.CANNOT_JUDGE and not late and probe.phase != "Failed":
        return Remeasure(delete=others, outcome=outcome, note=case.kept_note)
    return Remeasure(
        delete=(*references([probe]), *others),
        outcome=outcome,
        note=_write_note(outcome, case),
        look_again_seconds=RETRY_SECONDS if outcome.reason == Reason.CANNOT_JUDGE else None,
    )


def _outcome(case: Remeasuring, probe: PodView, *, late: bool) -> Outcome | None:
    """Why this pod brings no figures; None while it may."""
    report = case.reports.get(probe.uid)
    if report and (failed := no_figures(report, case.live)) is not None:
        return failed
    problem = diagnose(probe, lost_nodes=(), schedule_overdue=late)
    if problem is not None and (problem.reason == FailureClass.UNSCHEDULABLE or problem.kind.by_platform):
        return Outcome(reason=Reason.CANNOT_JUDGE, message=problem.message)
    if probe.phase in ("Failed", "Succeeded") or (problem is not None and problem.needs_person):
        why = problem.message if problem else f"Pod {probe.name} ended before it had measured."
        return Outcome(reason=Reason.MEASUREMENT_FAILED, message=why)
    if overdue(probe, case.now, case.limit_seconds):
        why = f"Pod {probe.name} did not report a measurement in time."
        return Outcome(reason=Reason.MEASUREMENT_FAILED, message=why)
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


def read_note(note: str, active: Revision, live: LiveConfig) -> Outcome | None:
    """The outcome in a note, where it is about this revision and workload."""
    try:
        data = json.loads(note) if note else {}
        if (data["revision"], data["measureKey"]) != (active.name, live.measure_key):
            return None
        return Outcome(reason=Reason(data["reason"]), message=str(data["message"]), time=str(data["time"]))
    except (KeyError, TypeError, ValueError):
        return None


def _write_note(outcome: Outcome, case: Remeasuring) -> str:
    return json.dumps(
        {
            "revision": case.active.name,
            "measureKey": case.live.measure_key,
            "reason": str(outcome.reason),
            "message": outcome.message,
            "time": format_time(case.now),
        },
        sort_keys=True,
    )


def _wait_seconds(before: Outcome, now: datetime) -> float | None:
    """Until it may be tried again; 0 at once, None never."""
    since = parse_time(before.time)
    if before.reason != Reason.CANNOT_JUDGE or since is None:
        return None
    return max(0.0, RETRY_SECONDS - (now - since).total_seconds())
