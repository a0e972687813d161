"""A changed workload is measured in a throwaway pod: when one is started, judged and thrown away.

A serving pod is never disturbed. What a failed attempt left behind is a note on the live ConfigMap, so
that a restart of the operator neither forgets it nor tries for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig, startup_budget_seconds
from tacho_contract.report import Report
from tacho_contract.times import format_time, parse_time
from tacho_contract.units import clipped
from tacho_operator.api.conditions import Reason
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.inspection.inspect import references
from tacho_operator.core.manifests.deployment import SCHEDULING_SECONDS
from tacho_operator.core.manifests.probepod import probe_pod
from tacho_operator.core.pods.diagnosis import diagnose, overdue
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.types import Manifest, Reference

RETRY_SECONDS = 600.0
"""After a throwaway pod found no node: room may have been made meanwhile."""
USABLE = ("Complete", "Partial")


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


def remeasure(
    resource: LLMDeployment,
    *,
    live: LiveConfig,
    active: Revision | None,
    settled: bool,
    measurements: Iterable[Manifest],
    servers: Iterable[PodView],
    probes: Iterable[PodView],
    reports: Mapping[str, Report],
    note: str,
    schedule_timeout_seconds: float,
    refused: str,
    now: datetime,
) -> Remeasure:
    """What to do about figures that no longer describe the workload.

    ``settled``: no rollout is under way. ``refused``: what the API server said to the last attempt.
    """
    probes = tuple(probes)
    if active is None or not settled or live.probe.policy == "Disabled":
        return Remeasure(delete=references(probes))
    if _answered(active, live, measurements):
        return Remeasure(delete=references(probes))
    mine = [pod for pod in probes if _is_for(pod, active, live)]
    others = references(pod for pod in probes if not _is_for(pod, active, live))
    said = [reports[pod.uid] for pod in servers if pod.ready and pod.uid in reports]
    for report in said:
        if (failed := _unusable(report, live)) is not None:
            return Remeasure(delete=references(probes), outcome=failed)
    if mine:
        return _judge(resource, active, live, mine[0], reports, others, note, schedule_timeout_seconds, now)
    before = read_note(note, active, live)
    if before is not None and not _retry(before, now):
        return Remeasure(delete=others, outcome=before, note=note, look_again_seconds=_wait(before, now))
    # A ready pod that has not measured this workload is what makes a throwaway pod worth its resources.
    if not said:
        return Remeasure(delete=others, outcome=before, note=note if before else "")
    if refused:
        return Remeasure(delete=others, outcome=Outcome(reason=Reason.CANNOT_JUDGE, message=clipped(refused)))
    pod = probe_pod(
        resource,
        name=names.probe_pod_name(resource.metadata.name, names.digest([active.name, live.measure_key])),
        revision=active.name,
        pod_template=active.pod_template,
        measure_key=live.measure_key,
    )
    return Remeasure(apply=(pod,), delete=others, running=True, outcome=before, note=note if before else "")


def _judge(
    resource: LLMDeployment,
    active: Revision,
    live: LiveConfig,
    pod: PodView,
    reports: Mapping[str, Report],
    others: tuple[Reference, ...],
    note: str,
    schedule_timeout_seconds: float,
    now: datetime,
) -> Remeasure:
    kept = note if read_note(note, active, live) else ""
    if pod.terminating:
        return Remeasure(delete=others, outcome=read_note(note, active, live), note=kept)
    report = reports.get(pod.uid)
    outcome = _unusable(report, live) if report else None
    if outcome is None:
        late = overdue(pod, now, schedule_timeout_seconds)
        problem = diagnose(pod, lost_nodes=(), schedule_overdue=late)
        if problem is not None and problem.reason == FailureClass.UNSCHEDULABLE:
            cannot = Outcome(reason=Reason.CANNOT_JUDGE, message=problem.message)
            if not late:
                return Remeasure(delete=others, outcome=cannot, note=kept)
            outcome = cannot
        elif pod.phase in ("Failed", "Succeeded") or (problem is not None and problem.needs_person):
            why = problem.message if problem else f"Pod {pod.name} ended before it had measured."
            outcome = Outcome(reason=Reason.MEASUREMENT_FAILED, message=why)
        elif overdue(pod, now, _limit_seconds(resource, active, live)):
            why = f"Pod {pod.name} did not report a measurement in time."
            outcome = Outcome(reason=Reason.MEASUREMENT_FAILED, message=why)
    if outcome is None:
        return Remeasure(delete=others, running=True, note=kept)
    return Remeasure(
        delete=(*references([pod]), *others),
        outcome=outcome,
        note=_write_note(outcome, active, live, now),
        look_again_seconds=RETRY_SECONDS if outcome.reason == Reason.CANNOT_JUDGE else None,
    )


def _limit_seconds(resource: LLMDeployment, active: Revision, live: LiveConfig) -> float:
    budget = startup_budget_seconds(active.plan.files.total_bytes, resource.spec.startup_timeout_seconds)
    return budget + live.probe.timeout_seconds + SCHEDULING_SECONDS


def _answered(active: Revision, live: LiveConfig, measurements: Iterable[Manifest]) -> bool:
    """Whether this plan was measured with this workload, on whatever hardware the cluster gave it."""
    return any(
        item.get("planKey") == active.plan_key and item.get("measureKey") == live.measure_key
        for item in measurements
    )


def _is_for(pod: PodView, active: Revision, live: LiveConfig) -> bool:
    return pod.revision == active.name and pod.annotation(names.MEASURE_KEY_ANNOTATION) == live.measure_key


def _unusable(report: Report, live: LiveConfig) -> Outcome | None:
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


def _write_note(outcome: Outcome, active: Revision, live: LiveConfig, now: datetime) -> str:
    return json.dumps(
        {
            "revision": active.name,
            "measureKey": live.measure_key,
            "reason": str(outcome.reason),
            "message": outcome.message,
            "time": format_time(now),
        },
        sort_keys=True,
    )


def _wait(before: Outcome, now: datetime) -> float | None:
    since = parse_time(before.time)
    if before.reason != Reason.CANNOT_JUDGE or since is None:
        return None
    return max(0.0, RETRY_SECONDS - (now - since).total_seconds())


def _retry(before: Outcome, now: datetime) -> bool:
    return _wait(before, now) == 0.0
