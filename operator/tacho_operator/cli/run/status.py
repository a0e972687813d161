"""The status of ``tacho run``: the operator's own decision about a pod that runs here.

The cluster is played by a few objects, the report is real, and ``decide`` does the rest, so that the
same measurement gives the same status in both places.
"""

from __future__ import annotations

from datetime import datetime, timezone

from tacho_contract.model import ModelFacts
from tacho_contract.report import Report
from tacho_contract.times import format_time
from tacho_operator.cli.run.setup import LOCAL, LOCAL_IMAGE, LocalSetup
from tacho_operator.core.inspection.inspect import facts_key
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.reconcile import decide
from tacho_operator.core.revisions.frozen import birth
from tacho_operator.core.types import Manifest, Observed

_UID = "local"


def _stored(manifest: Manifest, owner: str) -> Manifest:
    """As the API server would return it: with a uid and its controlling owner."""
    name = manifest["metadata"]["name"]
    owners = [{"kind": "Owner", "name": owner, "uid": owner, "controller": True}]
    metadata = {**manifest["metadata"], "uid": f"{manifest['kind']}-{name}", "ownerReferences": owners}
    return {**manifest, "metadata": {**metadata, "generation": 1, "resourceVersion": "1"}}


def _pod(setup: LocalSetup, template: Manifest, report: Report, now: str) -> Manifest:
    ready = "True" if report.ready else "False"
    conditions = [
        {"type": kind, "status": ready, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
    ]
    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": now})
    container = {
        "name": "engine",
        "ready": report.ready,
        "started": True,
        "restartCount": 0,
        "image": LOCAL_IMAGE,
        "imageID": LOCAL_IMAGE,
        "state": {"running": {"startedAt": now}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": f"{setup.revision}-local", "creationTimestamp": now},
        "spec": template["spec"],
        "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [container]},
    }


def local_status(
    raw: Manifest, setup: LocalSetup, plan: ModelPlan, facts: ModelFacts, report: Report
) -> Manifest:
    """``status`` as the operator would write it for this plan and this report."""
    now = datetime.now(timezone.utc)
    stamp = format_time(now)
    metadata = {
        **raw["metadata"],
        "uid": _UID,
        "generation": 1,
        "creationTimestamp": stamp,
        "resourceVersion": "1",
    }
    raw = {**raw, "metadata": metadata, "spec": setup.resource.spec.to_wire()}
    resource = setup.resource.model_copy(
        update={"metadata": setup.resource.metadata.model_copy(update={"uid": _UID, "generation": 1})}
    )
    key = facts_key(resource)
    revision = _stored(birth(resource, plan, facts, facts_key=key, number=1, config=LOCAL), _UID)
    observed = Observed(resource=resource, raw=raw, revisions=(revision,))
    children = {item["kind"]: item for item in decide(observed, LOCAL, now).apply}
    deployment = _stored(children["Deployment"], _UID)
    deployment["status"] = {"observedGeneration": 1, "replicas": 1, "readyReplicas": int(report.ready)}
    pod = _stored(_pod(setup, revision["data"]["podTemplate"], report, stamp), deployment["metadata"]["uid"])
    service = _stored(children["Service"], _UID)
    observed = Observed(
        resource=resource,
        raw=raw,
        revisions=(revision,),
        deployments=(deployment,),
        services=(service,),
        config_maps=tuple(
            _stored(item, _UID) for item in decide(observed, LOCAL, now).apply if item["kind"] == "ConfigMap"
        ),
        pods=(pod,),
        reports={pod["metadata"]["uid"]: report},
    )
    status = decide(observed, LOCAL, now).status
    return {key: value for key, value in status.items() if key not in ("url", "selector")}
