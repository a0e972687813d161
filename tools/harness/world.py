"""A cluster of dictionaries: carries decisions out, and plays kubelet and controllers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.measurement import Environment, Measurement
from tacho_contract.model import InspectResult, ModelFacts
from tacho_contract.report import Report, StartupSeconds
from tacho_contract.units import format_time
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.types import PlanResult
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.reconcile import decide
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.types import (
    ChildRefusal,
    Config,
    NodeFacts,
    Observed,
    PlanInputs,
    ReconcileDecision,
    Scaled,
)
from tacho_operator.shell.observe import read_resource
from tacho_operator.shell.store.trimming import trimmed
from tools.harness.figures import measured
from tools.harness.pod_states import container_state, running
from tools.harness.resources import CLAIM_SPEC, CONFIG, NOW, changed, facts, raw_resource
from tools.harness.status_checks import assert_status_is_valid, plain

MOCK_SPEC = changed(
    CLAIM_SPEC,
    engine={
        "name": "custom",
        "image": "registry.example/mock:1",
        "custom": {"command": ["serve", "$(TACHO_MODEL_PATH)"], "port": 8000},
    },
)

AUTOSCALING = {"minReplicas": 1, "maxReplicas": 8}
QUIET_SECONDS = 10.0
NOT_WRITTEN = ("uid", "creationTimestamp", "deletionTimestamp", "finalizers")
"""Metadata that an apply of the operator leaves as it is."""
Step = Callable[[], None]
T = TypeVar("T")
KIND_FIELDS = {
    "ControllerRevision": "revisions",
    "Deployment": "deployments",
    "Service": "services",
    "ConfigMap": "config_maps",
    "NetworkPolicy": "network_policies",
    "PodDisruptionBudget": "disruption_budgets",
    "ReplicaSet": "replica_sets",
    "Pod": "pods",
}


def copied(value: T) -> T:
    """A copy of plain data, in a fraction of deepcopy's time: most of a walk's time are copies."""
    found: T = pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    return found


def held(kind: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """As decisions are given it: without what the operator's store leaves out."""
    kept = copied(trimmed(kind, manifest))
    return {**kept, "apiVersion": manifest.get("apiVersion", ""), "kind": kind}


class World:
    """One resource and its children."""

    def __init__(self, spec: dict[str, Any] | None = None, config: Config = CONFIG, **metadata: Any) -> None:
        self.raw = raw_resource(spec or MOCK_SPEC, **metadata)
        self.config = config
        self.now = NOW
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.reports: dict[str, Report] = {}
        self.claims: dict[str, dict[str, Any] | None] = {}
        self.refusals: tuple[ChildRefusal, ...] = ()
        self.unanswered: ChildRefusal | None = None
        self.scaling: Scaled | None = None
        self.replicas_written: datetime | None = None
        self.nodes: tuple[NodeFacts, ...] | None = None
        self.planner: Callable[[PlanInputs], PlanResult] = plan_of
        self.probe_turn = True
        """Pods of other resources."""
        self.events: list[tuple[str, str]] = []
        self.mutations = 0
        self._serial = 0

    # --- one turn of the operator
    def observed(self) -> Observed:
        children: dict[str, Any] = {
            field: tuple(held(kind, item) for (kind, _), item in sorted(self.objects.items()) if kind == name)
            for name, field in KIND_FIELDS.items()
        }
        return Observed(
            resource=read_resource(self.raw),
            raw=held("LLMDeployment", self.raw),
            reports=dict(self.reports),
            refusals=self.refusals,
            unanswered=self.unanswered,
            claims=dict(self.claims),
            nodes=self.nodes,
            probe_turn=self.probe_turn,
            scaling=self.scaling,
            replicas_written=self.replicas_written,
            **children,
        )

    def reconcile(self, seconds: float = 0.0) -> ReconcileDecision:
        """Time passes, the operator decides, and what it decided is done."""
        self.now += timedelta(seconds=seconds)
        decision = self.decision()
        status = self.written(decision)
        assert_status_is_valid(status)
        for item in decision.apply:
            self._apply(item)
        for reference in (*decision.delete, *decision.delete_measured):
            found = self.objects[reference.kind, reference.name]
            assert found["metadata"]["uid"] == reference.uid
            self._remove(reference.kind, reference.name)
        if self.raw.get("status", {}) != status:
            self.raw["status"] = status
        self.events += [(event.type, event.reason) for event in (*decision.events, *decision.noted_events)]
        return decision

    def decision(self) -> ReconcileDecision:
        """What the operator decides now, with the plan that it asks for."""
        observed = self.observed()
        asking = decide(observed, self.config, self.now)
        if asking.pending_plan is None:
            return asking
        return decide(observed, self.config, self.now, self.planner(asking.pending_plan))

    def written(self, decision: ReconcileDecision) -> dict[str, Any]:
        """status as it is after this decision."""
        if decision.status is None:
            return dict(self.raw.get("status") or {})
        wire = decision.status.to_wire()
        assert plain(wire) == wire
        return wire

    def _apply(self, desired: dict[str, Any]) -> None:
        key = (desired["kind"], desired["metadata"]["name"])
        live = self.objects.get(key)
        if live is None:
            self._serial += 1
            made = copied(desired)
            made["metadata"]["uid"] = f"uid-{self._serial}"
            made["metadata"]["creationTimestamp"] = format_time(self.now)
            self.objects[key] = made
            self.mutations += 1
            return
        if desired["kind"] in ("ControllerRevision", "Pod"):
            return
        merged = copied(desired)
        merged["metadata"] |= {key: live["metadata"][key] for key in NOT_WRITTEN if key in live["metadata"]}
        if "status" in live:
            merged["status"] = live["status"]
        self.mutations += merged != live
        self.objects[key] = merged

    def _remove(self, kind: str, name: str) -> None:
        self.mutations += 1
        del self.objects[kind, name]
        if kind == "Deployment":
            for pod in [
                item
                for item in self.pods("server")
                if item["metadata"]["labels"][names.REVISION_LABEL] == name
            ]:
                self.remove_pod(pod)

    def settle(
        self, step: Callable[[], None] | None = None, seconds: float = 3.0, turns: int = 20
    ) -> ReconcileDecision:
        """Turns until nothing changes any more, and nothing is about to."""
        for _ in range(turns):
            before = (copied(self.objects), copied(self.raw))
            decision = self.reconcile(seconds)
            if step:
                step()
            self.deployment_controller()
            waits = decision.requeue_after_seconds
            moves = self.brief("Reconciling") == ("True", "RollingOut")
            quiet = waits is None or (waits >= QUIET_SECONDS and not moves)
            if before == (self.objects, self.raw) and quiet:
                return decision
        return decision

    def first_pods(self) -> None:
        """The model is inspected, and the pods of the first revision exist."""
        self.reconcile()
        self.inspected(facts())
        self.reconcile(1)
        self.deployment_controller()

    # --- the user
    def roll_out(self) -> None:
        """A changed context, and the pods of its revision beside the active ones."""
        self.change(context={"maxModelLen": 1024, "concurrency": 2})
        self.reconcile(1)
        self.deployment_controller()

    def change(self, **fields: Any) -> None:
        self.raw["spec"] = changed(self.raw["spec"], **fields)
        self.raw["metadata"]["generation"] += 1

    # --- the cluster
    def pods(self, role: str, revision: str = "") -> list[dict[str, Any]]:
        return [
            item
            for (kind, _), item in sorted(self.objects.items())
            if kind == "Pod"
            and item["metadata"]["labels"].get(names.ROLE_LABEL) == role
            and revision in ("", item["metadata"]["labels"].get(names.REVISION_LABEL))
        ]

    def deployment_controller(self) -> None:
        """Creates and deletes pods until each Deployment has its desired number; the youngest are deleted
        first."""
        for (kind, name), item in list(self.objects.items()):
            if kind != "Deployment":
                continue
            # As a ReplicaSet does: what has failed stays there and does not count.
            mine = [
                pod for pod in self.pods("server", name) if pod.get("status", {}).get("phase") != "Failed"
            ]
            for _ in range(item["spec"]["replicas"] - len(mine)):
                self._serial += 1
                template = item["spec"]["template"]
                pod = {
                    "kind": "Pod",
                    "metadata": {
                        **copied(template["metadata"]),
                        "name": f"{name}-{self._serial:04d}",
                        "uid": f"uid-{self._serial}",
                        "creationTimestamp": format_time(self.now),
                    },
                    "spec": copied(template["spec"]),
                }
                self.objects["Pod", pod["metadata"]["name"]] = pod
            for pod in reversed(mine[item["spec"]["replicas"] :]):
                self.remove_pod(pod)

    def remove_pod(self, pod: dict[str, Any]) -> None:
        del self.objects["Pod", pod["metadata"]["name"]]
        self.reports.pop(pod["metadata"]["uid"], None)

    def inspected(self, found: ModelFacts | Failure) -> None:
        """The running inspect pod ends with this."""
        failure = found if isinstance(found, Failure) else None
        facts = None if isinstance(found, Failure) else found
        result = InspectResult(facts=facts, failure=failure)
        pod = self.pods("inspect")[-1]
        ended = {
            "exitCode": 1 if failure else 0,
            "message": codec.pack(result),
            "finishedAt": format_time(self.now),
        }
        pod["status"] = {
            "phase": "Failed" if failure else "Succeeded",
            "containerStatuses": [{"name": "inspect", "state": {"terminated": ended}}],
        }

    def runs(self, pod: dict[str, Any], phase: str, *, ready: bool = False, **report: Any) -> None:
        """The pod runs and its runtime reports ``phase``."""
        moment = format_time(self.now)
        was = PodView(pod)
        since = was.condition_time("Ready") if was.ready and ready else None
        pod["spec"]["nodeName"] = "node-1"
        pod["status"] = running(moment, ready=ready, since=format_time(since) if since else moment)
        revision = pod["metadata"]["labels"][names.REVISION_LABEL]
        self.reports[pod["metadata"]["uid"]] = Report(
            **{
                "runtime_version": "1.0.0",
                "revision": revision,
                "plan_key": self.plan_key(revision),
                "phase": phase,
                "ready": ready,
                "engine": "custom",
                "environment": Environment(cpu_model="EPYC"),
                "observed_time": moment,
                **report,
            }
        )

    def plan_key(self, revision: str) -> str:
        return str(self.objects["ControllerRevision", revision]["data"]["planKey"])

    def serves(self, pod: dict[str, Any], **measurement: Any) -> None:
        """The pod has measured itself and is ready."""
        revision = pod["metadata"]["labels"][names.REVISION_LABEL]
        self.runs(
            pod,
            "Serving",
            ready=pod["metadata"]["labels"][names.ROLE_LABEL] == "server",
            startup=StartupSeconds(load=4.2, probe=30.1, total=36.0),
            measurement=self.measurement(revision, **measurement),
        )

    def measurement(self, revision: str, **fields: Any) -> Measurement:
        live = live_config(LLMDeployment.read(self.raw).spec)
        return measured(live, self.plan_key(revision), format_time(self.now), **fields)

    def serve_all(self) -> None:
        """Every server pod gets ready."""
        for pod in self.pods("server"):
            if "status" not in pod:
                self.serves(pod)

    def come_up(self) -> None:
        """Takes the resource from creation to a measured and settled state."""
        self.reconcile()
        self.inspected(facts())
        self.settle(self.serve_all)
        assert self.condition("Ready")["status"] == "True", self.raw["status"]["conditions"]

    def crash(self, pod: dict[str, Any], restarts: int = 1) -> None:
        """The engine has died; the kubelet is about to start it again."""
        ended = {"exitCode": 3, "message": "out of luck", "finishedAt": format_time(self.now)}
        container_state(pod, restartCount=restarts, state={"terminated": ended})

    # --- reading
    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.raw["status"]
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        return next((item for item in self.status["conditions"] if item["type"] == kind), {})

    def brief(self, kind: str) -> tuple[str, str]:
        found = self.condition(kind)
        return found.get("status", "absent"), found.get("reason", "")

    def service(self) -> dict[str, Any]:
        return self.objects["Service", "smol"]

    def selected(self) -> str:
        return str(self.service()["spec"]["selector"].get(names.REVISION_LABEL, ""))

    def sizes(self) -> dict[str, int]:
        return {
            name: item["spec"]["replicas"]
            for (kind, name), item in self.objects.items()
            if kind == "Deployment"
        }

    def names(self, kind: str) -> set[str]:
        return {name for found, name in self.objects if found == kind}


def world_of(**autoscaling: object) -> World:
    """A resource with autoscaling whose pods serve."""
    world = World(changed(MOCK_SPEC, replicas=7, autoscaling={**AUTOSCALING, **autoscaling}))
    world.come_up()
    return world
