"""Types of the operator's core: the observed state, the settings, and the decision. Frozen data only.

Manifests are plain dicts as the API server sends them; values that tacho decides on are typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tacho_contract.model import ModelFacts
from tacho_contract.report import Report
from tacho_operator.api.defaults import CURRENCY
from tacho_operator.api.status.measurement import SeenTraffic
from tacho_operator.api.status.status import AutoscalingStatus, ConditionStatus, LLMDeploymentStatus
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The facts of a node that planning reads."""

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, str]
    """Kubernetes quantities as strings: cpu, memory, nvidia.com/gpu, …"""
    taints: tuple[Mapping[str, str], ...] = ()
    ready: bool = True
    unschedulable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PastMeasurement:
    """One earlier measurement in the namespace: its predicted and its actual memory."""

    engine: str
    engine_version: str
    gpu_product: str
    predicted_total_bytes: int
    actual_total_bytes: int
    predicted_known_bytes: int
    """Weights and KV cache, as in ``actual_known_bytes``: what files and the context determine. The rest is
    the engine's overhead."""
    actual_known_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRefusal:
    """A child object that the API server refused to create or change."""

    kind: str
    name: str
    role: str = ""
    """Role of the refused pod: server, inspect or probe; "" for other kinds."""
    message: str = ""
    """The API server's words; "" where the name is taken."""
    taken: bool = False
    """An object of that name exists with another owner."""
    invalid: bool = False
    """The object itself is wrong or too large (HTTP 400, 413, 422), whatever quota and admission say."""
    contested: bool = False
    """It was written again and again, and something else changed it each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCondition:
    """One condition of status that the scaler sets: AbleToScale, ScalingActive or ScalingLimited."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The scaler's last decision, with status.autoscaling and its conditions."""

    replicas: int
    autoscaling: AutoscalingStatus
    conditions: tuple[ScalingCondition, ...] = ()
    victims: tuple[str, ...] = ()
    """Pods to delete first."""
    time_seconds: float = 0.0
    """Time of a recommendation."""


# --- what was observed ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class HubWaiters:
    """How many resources wait for the same hub, and when that hub last worked."""

    count: int = 0
    """Those of the resource's namespace."""
    recovered: datetime | None = None
    """When a waiting resource last succeeded, to about a minute."""
    elsewhere: int = 0
    """Those of all other namespaces."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A pod on the same node whose owner references, not only its labels, lead to an LLMDeployment."""

    pod: Manifest
    start_seconds: float
    """Maximum time from its creation to its measurement, by its Deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The state that one decision depends on, read just before it: the resource, its children, pods, nodes,
    reports."""

    resource: LLMDeployment
    raw: Manifest
    """The same object as read, with metadata and status exactly as stored."""
    revisions: tuple[Manifest, ...] = ()
    """ControllerRevisions this resource owns."""
    deployments: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    config_maps: tuple[Manifest, ...] = ()
    network_policies: tuple[Manifest, ...] = ()
    disruption_budgets: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    """Pods of every role, with status."""
    replica_sets: tuple[Manifest, ...] = ()
    """ReplicaSets, read for the condition FailedCreate (quota, admission), which no other object reports."""
    reports: Mapping[str, Report] = field(default_factory=dict)
    """Reports by pod uid; a pod that did not answer is absent."""
    neighbours: tuple[Neighbour, ...] = ()
    """Pods of all resources, while a pod of this resource is being measured."""
    probe_turn: bool = True
    """Whether a probe pod may start now: their number in the cluster is bounded."""
    refusals: tuple[ChildRefusal, ...] = ()
    """Children that the API server refused in this reconcile pass."""
    unanswered: ChildRefusal | None = None
    """A child that it has neither taken nor refused in several tries: an overload, a silence, a webhook that
    fails."""
    claims: Mapping[str, Manifest | None] = field(default_factory=dict)
    """PersistentVolumeClaims that spec names, by name; None: it does not exist."""
    nodes: tuple[NodeFacts, ...] | None = None
    """The nodes; None: the operator may not read nodes."""
    history: tuple[PastMeasurement, ...] = ()
    scaling: Scaled | None = None
    """The scaler's decision; None: no autoscaling, or no decision yet."""
    traffic: Mapping[tuple[str, str], SeenTraffic] = field(default_factory=dict)
    """What pods carried beyond a measured lower bound, by pod uid and that measurement's fingerprint."""
    waiting: Mapping[str, HubWaiters] = field(default_factory=dict)
    """Resources that wait for this one's hub, by the reason of their condition Ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The operator's settings that decisions depend on."""

    tacho_image: str
    """Image for inspect, inject and fetch containers of *new* revisions; running revisions keep their own."""
    engine_images: Mapping[str, str] = field(default_factory=dict)
    """Engine name to image, overriding the engine table."""
    image_pull_policy: str = "IfNotPresent"
    operator_namespace: str = "tacho-system"
    monitoring_namespace: str = ""
    inspect_deadline_seconds: int = 300
    allow_insecure_hub: bool = False
    hub_endpoint: str = ""
    """Hub or mirror of resources that name none; "": the Hugging Face Hub."""
    in_pods: bool = True
    """Engines run in pods of their images; False: as packages of this Python (``tacho run``)."""
    gpu_prices: Mapping[str, str] = field(default_factory=dict)
    """Price of one GPU for one hour, a Decimal, by its product as node labels name it."""
    currency: str = CURRENCY
    """Currency of gpu_prices, as an ISO 4217 code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeImage:
    """The image, and the hash, of the runtime that is copied into the pods of a revision."""

    image: str
    """By digest where one is known."""
    sha256: str = ""
    """Hash of the runtime's file, which each pod compares. "": the image has a digest, or none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """All inputs of one plan."""

    spec: LLMDeploymentSpec
    facts: ModelFacts
    nodes: tuple[NodeFacts, ...] | None
    """Only nodes and facts of nodes that the plan reads. None: the operator may not read nodes."""
    history: tuple[PastMeasurement, ...]
    config: Config
    replan: str
    """The user's annotation; a new value asks for another try."""


# --- what is to be done ---------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    kind: str
    name: str
    uid: str
    """A precondition of the deletion: an object that was replaced is not deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceEvent:
    """A Kubernetes event to post on an LLMDeployment; made when something changes, not in every pass."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Objects to send as a server-side dry run before others are created."""

    name: str
    """The revision, or the pod where none is planned yet."""
    key: str
    """Two trials with the same key are one, and accepted once."""
    manifests: tuple[Manifest, ...]
    withheld: frozenset[tuple[str, str]]
    """Kind and name of the children that are not made while the trial is refused."""
    replaces: bool = False
    """It is the successor of a Deployment, none of which is deleted while the trial is refused."""
    needs_quota: bool = False
    """Without room in the quota it is refused; else a pod may wait for room later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileDecision:
    """All effects of one reconcile pass. Carrying out an unchanged decision sends no mutating request."""

    apply: tuple[Manifest, ...] = ()
    """Complete desired children, in order of creation."""
    trial: Trial | None = None
    delete: tuple[Reference, ...] = ()
    deletion_costs: Mapping[str, str] = field(default_factory=dict)
    """Deletion-cost annotation by pod name, set before any object is applied."""
    status: LLMDeploymentStatus | None
    """The complete desired status; a status equal to the observed one is not written. None: the status stays
    unchanged."""
    events: tuple[ResourceEvent, ...] = ()
    cut_requests: int = 0
    """Requests that pods have cut, as its events say."""
    gpu_fault_nodes: int = 0
    """Nodes on which a GPU fault ended an engine lately."""
    requeue_after_seconds: float | None = None
    pending_plan: PlanInputs | None = None
    """The plan that the decision lacks. It counts until a decision is made with that plan."""
    awaits_probe_turn: bool = False
    """A probe pod is due and may not start yet."""
    now: datetime
    reason: str
    """The decision and its reason, for the log."""
