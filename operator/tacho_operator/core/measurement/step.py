"""From what pods report to the figures the status shows, and the next step towards better ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.launch import LiveConfig
from tacho_operator.api.types import Measurement
from tacho_operator.core import names
from tacho_operator.core.measurement.mapper import PodReport
from tacho_operator.core.measurement.records import updated_measurements
from tacho_operator.core.measurement.remeasure import Remeasure, Remeasuring, remeasure
from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.view import PodView, references, views
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.keys import live_config
from tacho_operator.core.revisions.step import Planning
from tacho_operator.core.rollout.decision import Rollout
from tacho_operator.core.types import Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What is known of the speed, and what to do to know it again."""

    live: LiveConfig
    measurements: tuple[Measurement, ...] = ()
    """Newest first."""
    remeasure: Remeasure = Remeasure()


def measure_step(
    observed: Observed,
    planning: Planning,
    rollout: Rollout,
    revisions: Mapping[str, Revision],
    now: datetime,
) -> Measuring:
    """Figures of the active revision, or of the wanted one until it serves."""
    resource, reports = observed.resource, observed.reports
    live = live_config(resource.spec)
    active = revisions.get(rollout.active)
    subject = active or planning.revision
    servers, probes = views(observed.pods, names.ROLE_SERVER), views(observed.pods, names.ROLE_PROBE)
    measurements = updated_measurements(
        resource.status.measurements,
        [pod_report(observed, pod) for pod in (*servers, *probes) if pod.uid in reports],
        live=live,
        subject=subject,
        known=revisions,
        doubted=any(
            found.reason == FailureClass.MODEL_CHANGED
            for pod in servers
            if subject and pod.revision == subject.name
            if (found := diagnose(pod, lost_nodes=(), schedule_overdue=False))
        ),
    )
    settled = not rollout.candidate and planning.wanted == rollout.active
    if active is None or not settled:
        return Measuring(live=live, measurements=measurements, remeasure=Remeasure(delete=references(probes)))
    case = Remeasuring(
        resource=resource,
        active=active,
        live=live,
        measurements=measurements,
        servers=tuple(pod for pod in servers if pod.revision == active.name),
        probes=probes,
        reports=reports,
        note=_note(observed),
        refused=next((item.message for item in observed.refusals if item.role == names.ROLE_PROBE), ""),
        now=now,
    )
    return Measuring(live=live, measurements=measurements, remeasure=remeasure(case))


def pod_report(observed: Observed, pod: PodView) -> PodReport:
    engine = pod.container(names.ENGINE_CONTAINER)
    return PodReport(
        report=observed.reports[pod.uid],
        image_id=str(engine.raw.get("imageID", "")) if engine else "",
        terminating=pod.terminating,
    )


def _note(observed: Observed) -> str:
    """What the last attempt left on the live ConfigMap."""
    name = names.live_config_name(observed.resource.metadata.name)
    found = next((item for item in observed.config_maps if item["metadata"]["name"] == name), None)
    return str(((found or {}).get("metadata", {}).get("annotations") or {}).get(names.OUTCOME_ANNOTATION, ""))
