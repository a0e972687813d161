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
from tacho_operator.api.defaults import CURRENCY, GPU_TOLERATIONS
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
    alike: int = 1
    """Number of equal nodes that this one stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastMeasurement:
    """One earlier measurement in the namespace: its predicted and its actual memory."""

    engine: str
    engine_version: str
    gpu_product: str
    predicted_total_bytes: int
    actual_total_bytes: int
    predicted_known_bytes: int
    """Predicted bytes of weights and KV cache, to compare with ``actual_known_bytes``. Files and context
    length determine these two parts; all other memory is the engine's overhead.
    """
    actual_known_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRefusal:
    """A create or update of a child object that the API server refused."""

    kind: str
    name: str
    role: str = ""
    """Role of the refused pod: server, inspect or probe. "" where the child is no pod."""
    message: str = ""
    """The API server's error text; "" where another owner has an object of this name (``taken``)."""
    taken: bool = False
    """Whether an object of the same kind and name exists with another owner, or none."""
    unowned: bool = False
    """Whether that object has no owner at all."""
    invalid: bool = False
    """Whether the object itself is wrong or too large (HTTP 400, 413 or 422). False: quota, admission or
    permission refused it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCondition:
    """The condition ScalingActive, which the scaler sets in status."""

    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The scaler's last decision: desired replicas, status.autoscaling and the condition ScalingActive."""

    replicas: int
    autoscaling: AutoscalingStatus
    active: ScalingCondition | None = None
    deviation: str = ""
    """What beside the load decides: ScaleUpStabilized or TooFewReplicas, for example; "": nothing."""
    victims: tuple[str, ...] = ()
    """Names of the pods that a scale-down deletes first."""
    time_seconds: float = 0.0
    """When the scaler made the recommendation, in seconds since the epoch."""


# --- what was observed ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The input of one decision, read just before it: the resource, its children, its pods and their reports,
    nodes and claims.
    """

    resource: LLMDeployment
    raw: Manifest
    """The resource as the API server returned it, with metadata and status."""
    revisions: tuple[Manifest, ...] = ()
    """ControllerRevisions that the resource owns."""
    deployments: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    config_maps: tuple[Manifest, ...] = ()
    network_policies: tuple[Manifest, ...] = ()
    disruption_budgets: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    """The resource's server, inspect and probe pods, with their status."""
    replica_sets: tuple[Manifest, ...] = ()
    """The resource's ReplicaSets. Only their condition ReplicaFailure shows why no pod could be created
    (quota, admission), and a Deployment's conditions why it has no ReplicaSet.
    """
    reports: Mapping[str, Report] = field(default_factory=dict)
    """Reports of the pods' runtimes by pod uid; a pod that did not answer has none."""
    probe_turn: bool = True
    """Whether a probe pod may start now: a setting bounds those that run at the same time in the cluster."""
    refusals: tuple[ChildRefusal, ...] = ()
    """Children that the API server refused to create or change in this reconcile pass."""
    unanswered: ChildRefusal | None = None
    """The child that the API server neither accepted nor refused in several tries: overload, no answer, or a
    failing webhook; or whose turn did not come in this reconcile pass. None: every write was answered.
    """
    claims: Mapping[str, Manifest | None] = field(default_factory=dict)
    """PersistentVolumeClaims that spec names, by name; None as value: that claim does not exist."""
    nodes: tuple[NodeFacts, ...] | None = None
    """All nodes; None: the operator has no permission to read nodes."""
    history: tuple[PastMeasurement, ...] = ()
    scaling: Scaled | None = None
    """The scaler's last decision; None: autoscaling is off, or the scaler has not decided yet."""
    replicas_written: datetime | None = None
    """When spec.replicas was changed last while autoscaling was set; None: not that the operator knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The operator's settings that decisions depend on."""

    tacho_image: str
    """Image of the inspect, inject and fetch containers of *new* revisions; existing ones keep theirs."""
    engine_images: Mapping[str, str] = field(default_factory=dict)
    """Image by engine name, in place of the image in the table of engines."""
    image_pull_policy: str = "IfNotPresent"
    operator_namespace: str = "tacho-system"
    monitoring_namespace: str = ""
    inspect_deadline_seconds: int = 300
    allow_insecure_hub: bool = False
    hub_endpoint: str = ""
    """Address of the hub or mirror for resources that name none; "": the Hugging Face Hub."""
    in_pods: bool = True
    """Whether engines run in pods of their images; False: in this Python installation (``tacho run``)."""
    runtime: RuntimeImage | None = None
    """The image that the operator itself runs, by digest or hash; None: unknown."""
    gpu_tolerations: tuple[Mapping[str, str], ...] = GPU_TOLERATIONS
    """Tolerations of all pods that request GPUs."""
    gpu_prices: Mapping[str, str] = field(default_factory=dict)
    """Price of one GPU for one hour, as a Decimal, by the GPU product in node labels."""
    currency: str = CURRENCY
    """ISO 4217 code of the currency of ``gpu_prices``."""

    @property
    def injected(self) -> RuntimeImage:
        """The image that the pods of a new revision copy the runtime from."""
        return self.runtime or RuntimeImage(image=self.tacho_image)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeImage:
    """The image that tacho's runtime is copied from into a revision's pods, and the runtime's hash."""

    image: str
    """Image reference, by digest where the digest is known."""
    sha256: str = ""
    """sha256 of the runtime's file, which pods compare at start. "": unknown, or the image has a digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """All inputs of one plan."""

    spec: LLMDeploymentSpec
    facts: ModelFacts
    nodes: tuple[NodeFacts, ...] | None
    """The nodes, reduced to what the plan depends on. None: the operator may not read nodes."""
    history: tuple[PastMeasurement, ...]
    config: Config
    replan: str
    """Value of the user's replan annotation; a new value requests a new plan."""
    tried_gpus: tuple[str, ...] = ()
    """Kinds of GPU that were planned before and had no free one."""


# --- what is to be done ---------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    kind: str
    name: str
    uid: str
    """uid of the object to delete. The API server then refuses to delete a newer object of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceEvent:
    """A Kubernetes event to post on an LLMDeployment. It is made at a change, not in every pass."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Objects to send as a server-side dry run before the children that depend on them are created."""

    name: str
    """Name of the revision that is tried; before a revision is planned, name of the inspect pod."""
    key: str
    """Identifies a trial: an accepted trial is not repeated while its key stays the same."""
    manifests: tuple[Manifest, ...]
    withheld: frozenset[tuple[str, str]]
    """Kind and name of the children that are not created while the API server refuses the trial."""
    replaces: bool = False
    """Whether the tried Deployment replaces another, which then is not deleted while the trial is refused."""
    needs_quota: bool = False
    """Whether a full quota refuses the trial. False: the pod may wait until the quota has space."""
    recurs: bool = False
    """Whether an accepted trial is repeated after a pause: what it asks may change without another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileDecision:
    """All effects of one reconcile pass. Executed again unchanged, it sends no write to the API server."""

    apply: tuple[Manifest, ...] = ()
    """All children in their complete desired form, in order of creation."""
    trial: Trial | None = None
    delete: tuple[Reference, ...] = ()
    delete_measured: tuple[Reference, ...] = ()
    """Probe pods whose measurement only this decision's status has: deleted after it is written."""
    deletion_costs: Mapping[str, str] = field(default_factory=dict)
    """Value of the annotation pod-deletion-cost by pod name; written before the children."""
    status: LLMDeploymentStatus | None
    """The complete desired status, written if it differs from the observed one. None: status stays."""
    events: tuple[ResourceEvent, ...] = ()
    noted_events: tuple[ResourceEvent, ...] = ()
    """Events that a note on the live ConfigMap keeps from being repeated: posted once it is written."""
    gpu_fault_nodes: int = 0
    """Number of nodes on which a GPU fault recently ended an engine of this resource."""
    requeue_after_seconds: float | None = None
    pending_plan: PlanInputs | None = None
    """The plan that this decision needs first; None: none. After planning, the decision is made again."""
    awaits_probe_turn: bool = False
    """Whether a probe pod is due but has to wait for others: their number in the cluster is bounded."""
    now: datetime
    reason: str
    """What was decided and why, for the log."""
