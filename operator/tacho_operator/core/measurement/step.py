"""Updates status.measurements from the pods' reports, and plans the next measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig
from tacho_contract.report import Report
from tacho_contract.units import clipped
from tacho_operator.api.conditions import Reason
from tacho_operator.api.status.measurement import MeasuredRun, MeasurementEntry
from tacho_operator.core import names
from tacho_operator.core.manifests.objects import LIVE_KEY
from tacho_operator.core.measurement.due import Cause
from tacho_operator.core.measurement.entry import PodReport
from tacho_operator.core.measurement.probe_pods import ProbeFailure, RemeasureInput, RemeasurePlan, remeasure
from tacho_operator.core.measurement.records import serving_kinds, updated_measurements
from tacho_operator.core.measurement.runs import baselines, deviating
from tacho_operator.core.measurement.states import current
from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.view import PodView, named, references, views
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.revisions.planning import Planning
from tacho_operator.core.rollout.decision import Rollout
from tacho_operator.core.rollout.reading import lost_nodes
from tacho_operator.core.types import Manifest, Observed, ResourceEvent

EVENT = "NotMeasuredAgain"
UNSETTLED = "The requested measurement begins once the revision of the present spec serves."


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementPlan:
    """The present measurements, and the next measurement to make, if any."""

    live: LiveConfig
    measurements: tuple[MeasurementEntry, ...] = ()
    """Measurements, newest first."""
    remeasure: RemeasurePlan = RemeasurePlan()
    deviating: MeasuredRun | None = None
    """The check of a serving pod that differs from the measurement by more than pods usually do."""

    unlike: str = ""
    """How many serving pods have another machine or image than that of the current measurement, as a
    sentence; "": none.
    """
    events: tuple[ResourceEvent, ...] = ()

    @property
    def current(self) -> MeasurementEntry | None:
        """The measurement that holds for the present configuration; None where there is none."""
        return current(self.measurements)

    @property
    def disabled(self) -> bool:
        return self.live.probe.policy == "Disabled"

    @property
    def notes(self) -> Mapping[str, str]:
        """Notes to store on the live ConfigMap, by annotation name."""
        return {
            names.OUTCOME_ANNOTATION: self.remeasure.note,
            names.ANSWERED_ANNOTATION: self.remeasure.answered,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The pods, their reports and the measurements that follow from these."""

    servers: tuple[PodView, ...]
    probes: tuple[PodView, ...]
    reports: Mapping[str, Report]
    """Reports by pod uid."""
    pod_reports: tuple[PodReport, ...]
    measurements: tuple[MeasurementEntry, ...]
    """Measurements, newest first."""
    doubted: bool
    """Whether the model's files are no longer the measured ones."""


def gathered(
    observed: Observed,
    subject: Revision | None,
    live: LiveConfig,
    revisions: Mapping[str, Revision],
    *,
    serving: Collection[str] = (),
) -> Gathered:
    """The measurements in status, with those that pods report now. ``subject``: the revision of which they
    are current. ``serving``: with a gate, the revisions that have requests; empty: all.
    """
    stored = observed.resource.status.measurements
    servers, probes = views(observed.pods, names.ROLE_SERVER), views(observed.pods, names.ROLE_PROBE)
    doubted = subject is not None and _model_changed(servers, subject)
    found = _pod_reports((*servers, *probes), observed.reports)
    examined = {item.pod for item in found if item.is_of_known_machine}
    return Gathered(
        servers=servers,
        probes=probes,
        reports=observed.reports,
        pod_reports=tuple(found),
        measurements=updated_measurements(
            stored,
            _of_serving(found, servers, subject, serving),
            live=live,
            subject=subject,
            known=revisions,
            doubted=doubted,
            silent=any(pod.name not in examined and not pod.terminating for pod in servers),
        ),
        doubted=doubted,
    )


def _of_serving(
    found: list[PodReport], servers: Iterable[PodView], subject: Revision | None, serving: Collection[str]
) -> list[PodReport]:
    """``found`` without what other pods than those ``serving`` measured of the plan of ``subject``.

    It would replace the figures that the gate compares a candidate with.
    """
    others = {pod.name for pod in servers if serving and pod.revision not in serving}
    return [
        item
        for item in found
        if item.pod not in others or subject is None or item.report.plan_key != subject.plan_key
    ]


def plan_measurement(
    observed: Observed,
    planning: Planning,
    rollout: Rollout,
    revisions: Mapping[str, Revision],
    now: datetime,
) -> MeasurementPlan:
    """The measurements of the active revision (before one is active, of the desired one), and the next
    measurement to make.
    """
    resource, notes = observed.resource, stored_notes(observed)
    active = revisions.get(rollout.active)
    subject = active or planning.revision
    # A candidate's pods are measured in full, the active revision's only checked.
    measured = (None if rollout.rejected else planning.revision) or active
    live = live_config(resource.spec, measured.plan if measured else None)
    gate = resource.spec.rollout.gate if resource.spec.rollout else None
    serving_now = {rollout.active, rollout.serving.admitted} if gate and active else ()
    known = gathered(observed, subject, live, revisions, serving=serving_now)
    servers, probes, reports, measurements = known.servers, known.probes, known.reports, known.measurements
    serving = {pod.name for pod in servers if active and pod.revision == active.name and not pod.terminating}
    off = deviating(current(measurements), serving)
    live = dataclasses.replace(live, baselines=() if known.doubted else baselines(measurements))
    answered = notes[names.ANSWERED_ANNOTATION]
    found = MeasurementPlan(
        live=live,
        measurements=measurements,
        remeasure=RemeasurePlan(delete=references(probes), answered=answered),
        deviating=off,
        unlike=_unlike(known.pod_reports, current(measurements)),
    )
    settled = not rollout.candidate and planning.desired_revision in {rollout.active, rollout.rejected} - {""}
    if active is None or not settled:
        live, waits = dataclasses.replace(live, again=rollout.again), found.remeasure
        request = resource.metadata.annotations.get(names.MEASURE_AGAIN_ANNOTATION, "")
        if active is not None and request not in ("", answered) and not found.disabled:
            outcome = ProbeFailure(reason=Reason.CANNOT_JUDGE, message=UNSETTLED)
            waits = dataclasses.replace(waits, cause=Cause.REQUESTED, outcome=outcome)
        return dataclasses.replace(found, live=live, remeasure=waits)
    own = tuple(pod for pod in servers if pod.revision == active.name)
    return _with_probe_pods(found, observed, active, own, probes, reports, now)


def _pod_reports(pods: Iterable[PodView], reports: Mapping[str, Report]) -> list[PodReport]:
    return [pod_report(reports[pod.uid], pod) for pod in pods if pod.uid in reports]


def _model_changed(servers: Iterable[PodView], subject: Revision) -> bool:
    """Whether a pod of ``subject`` found model files that differ from the planned ones."""
    return any(
        found.reason == FailureClass.MODEL_CHANGED
        for pod in servers
        if pod.revision == subject.name
        if (found := diagnose(pod, lost_nodes=(), schedule_overdue=False))
    )


def _with_probe_pods(
    known: MeasurementPlan,
    observed: Observed,
    active: Revision,
    servers: tuple[PodView, ...],
    probes: tuple[PodView, ...],
    reports: Mapping[str, Report],
    now: datetime,
) -> MeasurementPlan:
    """``known``, with the next measurement in a probe pod, once no rollout is in progress."""
    resource, notes = observed.resource, stored_notes(observed)
    answered = known.remeasure.answered
    unmeasured = (
        pod_report(reports[pod.uid], pod).unmeasured_since
        for pod in servers
        if pod.ready and pod.uid in reports
    )
    case = RemeasureInput(
        resource=resource,
        active=active,
        live=known.live,
        measurements=known.measurements,
        servers=servers,
        probes=probes,
        reports=reports,
        note=notes.get(names.OUTCOME_ANNOTATION, ""),
        answered=answered,
        deviating=known.deviating,
        unmeasured_since=max(filter(None, unmeasured), default=None),
        refused=next((item.message for item in observed.refusals if item.role == names.ROLE_PROBE), ""),
        lost=lost_nodes(observed.nodes),
        turn=observed.probe_turn,
        now=now,
    )
    step = remeasure(case)
    return dataclasses.replace(known, remeasure=step, events=tuple(_failed_request(step, answered)))


def _failed_request(step: RemeasurePlan, answered: str) -> Iterable[ResourceEvent]:
    """The event of a user's request that a probe pod's failure has just answered: the condition Measured
    keeps the former figures. ``answered``: the request that was answered before.
    """
    if step.outcome is not None and step.answered != answered:
        message = clipped(f"The requested measurement has failed. {step.outcome.message}")
        yield ResourceEvent(type="Warning", reason=EVENT, message=message)


def _unlike(reports: Iterable[PodReport], entry: MeasurementEntry | None) -> str:
    """How many serving pods of the plan of ``entry`` have another machine or image, as a sentence; "": none
    has.
    """
    if entry is None:
        return ""
    own = (item for item in reports if item.report.plan_key == entry.plan_key)
    kinds = serving_kinds(own, entry.measure_key or "")
    total, unlike = kinds.total(), kinds.total() - kinds[entry.fingerprint]
    others = "have other hardware, or another image, than these figures are of."
    return f"{unlike} of {total} serving pods {others}" if unlike else ""


def pod_report(report: Report, pod: PodView) -> PodReport:
    engine = pod.container(names.ENGINE_CONTAINER)
    return PodReport(
        report=report,
        image_id=engine.image_id if engine else "",
        pod=pod.name,
        terminating=pod.terminating,
        restarted=engine.running_since if engine and engine.restarts else None,
        is_probe=pod.role == names.ROLE_PROBE,
        requested=pod.role == names.ROLE_PROBE or bool(report.measurement and report.measurement.request),
    )


def live_text(config_maps: Iterable[Manifest], name: str) -> str:
    """The text of the live ConfigMap of the resource ``name``: the configuration that running pods read."""
    found = named(config_maps, names.live_config_name(name)) or {}
    return str((found.get("data") or {}).get(LIVE_KEY, ""))


def stored_notes(observed: Observed) -> dict[str, str]:
    """The values that the operator stored on the live ConfigMap, by annotation name.

    A user's measurement request from before the first pod counts as answered: that pod measures itself.
    """
    meta = observed.resource.metadata
    found = named(observed.config_maps, names.live_config_name(meta.name))
    if found is None:
        return {names.ANSWERED_ANNOTATION: meta.annotations.get(names.MEASURE_AGAIN_ANNOTATION, "")}
    return {names.ANSWERED_ANNOTATION: "", **(found["metadata"].get("annotations") or {})}
