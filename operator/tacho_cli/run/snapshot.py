"""Makes the status that ``tacho run`` prints, with the operator's own status code.

The pod's state in a cluster is known (one replica, on its node, with this report), so the operator's snapshot
is filled in directly. The operator's code builds the status, so that the same measurement gives the same
status in both places.
"""

from __future__ import annotations

from datetime import datetime, timezone

from tacho_cli.run.setup import LOCAL, LOCAL_IMAGE, LocalSetup
from tacho_contract.report import Report
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.measurement.cost import price_of
from tacho_operator.core.measurement.entry import PodReport
from tacho_operator.core.measurement.probe_pods import RemeasurePlan, probe_failure
from tacho_operator.core.measurement.records import updated_measurements
from tacho_operator.core.measurement.step import MeasurementPlan
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.planning import Planning
from tacho_operator.core.rollout.decision import Rollout
from tacho_operator.core.rollout.record import Serving
from tacho_operator.core.status.build import build_status
from tacho_operator.core.status.progress import PodTimes, startup_of
from tacho_operator.core.status.snapshot import ProblemSet, ServerPods, Snapshot


def local_status(setup: LocalSetup, plan: ModelPlan, report: Report) -> LLMDeploymentStatus:
    """``status`` as the operator would write it for this plan and this report."""
    now = datetime.now(timezone.utc)
    status = build_status(local_snapshot(setup, plan, report, now), now)
    return status.model_copy(update={"url": None, "selector": None})


def local_snapshot(setup: LocalSetup, plan: ModelPlan, report: Report, now: datetime) -> Snapshot:
    """The operator's snapshot for one pod on this machine, at the time ``now``."""
    revision = Revision(
        name=setup.revision,
        number=1,
        plan=plan,
        plan_key=setup.plan_key,
        facts_key="",
        pod_template={},
        tacho_image=LOCAL.tacho_image,
        measure_key=setup.live.measure_key,
    )
    disabled = setup.live.probe.policy == "Disabled"
    failed = None if disabled else probe_failure(report, setup.live)
    return Snapshot(
        resource=_first_generation(setup.resource),
        planning=Planning(revision=revision, plan=plan),
        rollout=Rollout(
            serving=Serving(active=revision.name, selected=revision.name),
            reason=f"Revision {revision.name} serves.",
        ),
        subject=revision,
        revisions=(revision,),
        replicas=1,
        pods=ServerPods(
            count=1,
            ready=int(report.ready),
            reached=int(report.ready),
            startup=startup_of(report, PodTimes(created=now, scheduled=now, started=now, ahead_seconds=0.0)),
        ),
        problems=ProblemSet(),
        measuring=MeasurementPlan(
            live=setup.live,
            measurements=updated_measurements(
                (),
                [PodReport(report=report, image_id=LOCAL_IMAGE)],
                live=setup.live,
                subject=revision,
                known={revision.name: revision},
            ),
            remeasure=RemeasurePlan(outcome=failed),
        ),
        price=price_of(setup.resource.spec.cost, plan.gpu_product, LOCAL.gpu_prices),
    )


def _first_generation(resource: LLMDeployment) -> LLMDeployment:
    """The resource with generation 1, as an API server would set it, and without a status from the file."""
    metadata = resource.metadata.model_copy(update={"generation": 1})
    return resource.model_copy(update={"metadata": metadata, "status": LLMDeploymentStatus()})
