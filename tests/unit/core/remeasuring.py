"""A throwaway pod in a table: what there is, as the next step towards figures sees it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, NamedTuple

from tacho_contract.report import Report
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core import names
from tacho_operator.core.manifests.objects import PULL_SECONDS
from tacho_operator.core.measurement.attempts import PROVISIONAL_RETRY_SECONDS
from tacho_operator.core.measurement.probe_pods import RemeasureInput, RemeasurePlan, remeasure
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.identity import live_config
from tools.harness.documents import plain_measurement, plain_report
from tools.harness.resources import CLAIM_SPEC, NOW, at, changed, plan, resource

SPEC = changed(CLAIM_SPEC, startupTimeoutSeconds=1000, rollout={"scheduleTimeoutSeconds": 300})


LIVE = live_config(resource(SPEC).spec)


KEY = LIVE.measure_key


ACTIVE = Revision(
    name="smol-1",
    number=1,
    plan=plan(),
    plan_key="p",
    facts_key="f",
    pod_template={"metadata": {}, "spec": {"containers": [{"name": "engine"}]}},
    tacho_image="t",
)


LIMIT_SECONDS = 300 + PULL_SECONDS + 1000 + LIVE.probe.timeout_seconds


READY = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}


NO_ROOM = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]}


NO_IMAGE = {"containerStatuses": [{"name": "engine", "state": {"waiting": {"reason": "ErrImagePull"}}}]}


NOT_STARTED = {
    "containerStatuses": [
        {
            "name": "engine",
            "state": {"waiting": {"reason": "CreateContainerError", "message": "context deadline exceeded"}},
        }
    ]
}


CRASHED = {
    "containerStatuses": [
        {"name": "engine", "restartCount": 1, "state": {"terminated": {"exitCode": 3, "message": "oh no"}}}
    ]
}


def pod(
    name: str, age: float = 10, *, revision: str = "smol-1", key: str = KEY, gone: bool = False, **status: Any
) -> PodView:
    metadata = {
        "name": name,
        "uid": name,
        "creationTimestamp": at(-age),
        "labels": {names.REVISION_LABEL: revision},
        "annotations": {names.MEASURE_KEY_ANNOTATION: key},
    }
    return PodView({"metadata": metadata | ({"deletionTimestamp": at(0)} if gone else {}), "status": status})


def report(state: str = "", *, key: str = KEY, message: str = "", flags: tuple[str, ...] = ()) -> Report:
    measurement = plain_measurement(
        measure_key=key, state=state, message=message, observed_time=at(0), flags=flags
    )
    return plain_report(revision="smol-1", observed_time=at(0), measurement=measurement if state else None)


def note(reason: str, age: float, key: str = KEY, **more: Any) -> str:
    told = {
        "revision": "smol-1",
        "measureKey": key,
        "reason": reason,
        "message": "as before",
        "time": at(-age),
        **more,
    }
    return json.dumps(told, sort_keys=True)


def step(**fields: Any) -> RemeasurePlan:
    """One server that is ready and has measured something else, unless ``fields`` say otherwise."""
    server = pod("server", **READY)
    found: dict[str, Any] = {
        "resource": resource(SPEC),
        "active": ACTIVE,
        "live": LIVE,
        "measurements": (),
        "servers": (server,),
        "probes": (),
        "reports": {},
        "note": "",
        "refused": "",
        "now": NOW,
        **fields,
    }
    return remeasure(RemeasureInput(**{**found, "reports": {"server": report(), **found["reports"]}}))


OTHERS = (pod("other", revision="smol-0"), pod("before", key="another workload"))


def on_node(found: PodView, node: str = "gone") -> PodView:
    return PodView({**found.raw, "spec": {"nodeName": node}})


DISABLED = dataclasses.replace(LIVE, probe=dataclasses.replace(LIVE.probe, policy="Disabled"))


DONE = MeasurementEntry(fingerprint="x", plan_key="p", measure_key=KEY, revision="smol-1", state="Stale")


CLEAN = DONE.model_copy(update={"state": "Complete", "confidence": "Clean", "observed_time": at(-100)})


MOVED = CLEAN.model_copy(update={"confidence": "Provisional", "flags": ["Contended"]})


OLD_MOVED = MOVED.model_copy(update={"observed_time": at(-PROVISIONAL_RETRY_SECONDS)})


ASKED = resource(SPEC, annotations={names.MEASURE_AGAIN_ANNOTATION: "now"})


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


RUNS_SINCE_LONG = {
    "phase": "Running",
    "containerStatuses": [{"name": "engine", "state": {"running": {"startedAt": at(-1000)}}}],
}

LEFT = -1.0
"""For ``looks_again``: what is left of the time that the throwaway pod has."""


class Row(NamedTuple):
    """What there is, and the step that follows."""

    given: dict[str, Any]
    does: str = ""
    """``starts``, ``runs``, or nothing."""
    deletes: str = ""
    """Names of pods."""
    says: str = ""
    keeps_note: bool = False
    looks_again: float | None = None


def assert_step(row: Row) -> None:
    """What there is leads to what is done with the throwaway pod, and to what is said of it."""
    fields, at_work, deleted, said, kept, look_again = row
    found = step(**fields)
    assert ("starts" if found.apply else "runs" if found.running else "") == at_work
    assert found.running == bool(at_work)
    assert [item.name for item in found.delete] == deleted.split()
    told = f"{found.outcome.reason}: {found.outcome.message}" if found.outcome else ""
    assert told.startswith(said)
    assert bool(told) == bool(said)
    assert bool(found.note) == kept
    if look_again == LEFT:
        assert found.requeue_after_seconds is not None
        assert 0 < found.requeue_after_seconds < LIMIT_SECONDS + 1
    else:
        assert found.requeue_after_seconds == look_again
