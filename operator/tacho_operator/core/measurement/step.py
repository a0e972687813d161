"""From what pods report to the figures the status shows, and the next step towards better ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig
from tacho_contract.report import Report
from tacho_operator.api.types import MeasuredRun, Measurement
from tacho_operator.core import names
from tacho_operator.core.manifests.configmaps import LIVE_KEY
from tacho_operator.core.measurement.baselines import baselines
from tacho_operator.core.measurement.disrupt import disruption, told_before
from tacho_operator.core.measurement.mapper import PodReport
from tacho_operator.core.measurement.records import current, updated_measurements
from tacho_operator.core.measurement.remeasure import Remeasure, Remeasuring, remeasure
from tacho_operator.core.measurement.runs import deviating
from tacho_operator.core.measurement.siblings import read_seen, watched, write_seen
from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.view import PodView, references, views
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.keys import live_config
from tacho_operator.core.revisions.step import Planning
from tacho_operator.core.rollout.decision import Rollout
from tacho_operator.core.rollout.reading import lost_nodes
from tacho_operator.core.types import Event, Manifest, Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What is known of the speed, and what to do to know it again."""

    live: LiveConfig
    measurements: tuple[Measurement, ...] = ()
    """Newest first."""
    remeasure: Remeasure = Remeasure()
    deviating: MeasuredRun | None = None
    """The check of a pod that serves and does not do what was measured."""

    siblings: Mapping[str, str] = field(default_factory=dict)
    """By the uid of a pod whose figures are not recorded yet: who was seen beside it."""
    asked: str = ""
    """What is remembered of a serving pod that was told to measure itself."""
    events: tuple[Event, ...] = ()

    @property
    def notes(self) -> Mapping[str, str]:
        """What to keep on the live ConfigMap, by annotation."""
        return {
            names.OUTCOME_ANNOTATION: self.remeasure.note,
            names.ANSWERED_ANNOTATION: self.remeasure.answered,
            names.ASKED_ANNOTATION: self.asked,
            names.SIBLINGS_ANNOTATION: write_seen(self.siblings),
        }


def measure_step(
    observed: Observed,
    planning: Planning,
    rollout: Rollout,
    revisions: Mapping[str, Revision],
    now: datetime,
) -> Measuring:
    """Figures of the active revision, or of the wanted one until it serves."""
    resource, notes = observed.resource, _notes(observed)
    live = live_config(resource.spec)
    active = revisions.get(rollout.active)
    subject = active or planning.revision
    servers, probes = views(observed.pods, names.ROLE_SERVER), views(observed.pods, names.ROLE_PROBE)
    beside = watched(
        (*servers, *probes),
        observed.reports,
        observed.neighbours,
        seen=read_seen(notes.get(names.SIBLINGS_ANNOTATION, "")),
        recorded=resource.status.measurements,
        now=now,
    )
    reports = beside.reports
    doubted = any(
        found.reason == FailureClass.MODEL_CHANGED
        for pod in servers
        if subject and pod.revision == subject.name
        if (found := diagnose(pod, lost_nodes=(), schedule_overdue=False))
    )
    measurements = updated_measurements(
        resource.status.measurements,
        [pod_report(reports[pod.uid], pod) for pod in (*servers, *probes) if pod.uid in reports],
        live=live,
        subject=subject,
        known=revisions,
        doubted=doubted,
    )
    serving = {pod.name for pod in servers if active and pod.revision == active.name and not pod.terminating}
    off = deviating(current(measurements), serving)
    live = dataclasses.replace(live, baselines=() if doubted else baselines(measurements))
    refused = next((item.message for item in observed.refusals if item.role == names.ROLE_PROBE), "")
    settled = not rollout.candidate and planning.wanted == rollout.active
    if active is None or not settled:
        kept = Remeasure(delete=references(probes), answered=notes[names.ANSWERED_ANNOTATION])
        return Measuring(
            live=live,
            measurements=measurements,
            remeasure=kept,
            deviating=off,
            siblings=beside.seen,
            asked=notes.get(names.ASKED_ANNOTATION, ""),
        )
    own = tuple(pod for pod in servers if pod.revision == active.name)
    disabled = live.probe.policy == "Disabled"
    disrupted = disruption(
        "" if disabled else resource.metadata.annotations.get(names.MEASURE_AGAIN_ANNOTATION, ""),
        notes[names.ANSWERED_ANNOTATION],
        servers=own,
        reports=reports,
        former=told_before(_live(observed)),
        note=notes.get(names.ASKED_ANNOTATION, ""),
        now=now,
    )
    live = dataclasses.replace(live, again=disrupted.again)
    case = Remeasuring(
        resource=resource,
        active=active,
        live=live,
        measurements=measurements,
        servers=own,
        probes=probes,
        reports=reports,
        note=notes.get(names.OUTCOME_ANNOTATION, ""),
        answered=disrupted.answered,
        deviating=off,
        refused=refused,
        lost=lost_nodes(observed.nodes),
        now=now,
    )
    step = remeasure(case)
    waits = [item for item in (step.look_again_seconds, disrupted.look_again_seconds) if item is not None]
    return Measuring(
        live=live,
        measurements=measurements,
        remeasure=dataclasses.replace(step, look_again_seconds=min(waits, default=None)),
        deviating=off,
        siblings=beside.seen,
        asked=disrupted.note,
        events=disrupted.events,
    )


def pod_report(report: Report, pod: PodView) -> PodReport:
    engine = pod.container(names.ENGINE_CONTAINER)
    return PodReport(
        report=report,
        image_id=str(engine.raw.get("imageID", "")) if engine else "",
        pod=pod.name,
        terminating=pod.terminating,
        asked=pod.role == names.ROLE_PROBE or bool(report.measurement and report.measurement.request),
    )


def _live_config_map(observed: Observed) -> Manifest | None:
    name = names.live_config_name(observed.resource.metadata.name)
    return next((item for item in observed.config_maps if item["metadata"]["name"] == name), None)


def _live(observed: Observed) -> str:
    return str(((_live_config_map(observed) or {}).get("data") or {}).get(LIVE_KEY, ""))


def _notes(observed: Observed) -> dict[str, str]:
    """What the operator has kept on the live ConfigMap. A request that was there before the first pod is
    answered by that pod's own measurement."""
    meta, found = observed.resource.metadata, _live_config_map(observed)
    if found is None:
        return {names.ANSWERED_ANNOTATION: meta.annotations.get(names.MEASURE_AGAIN_ANNOTATION, "")}
    return {names.ANSWERED_ANNOTATION: "", **(found["metadata"].get("annotations") or {})}
