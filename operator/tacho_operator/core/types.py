"""The nouns of the core: what was observed, what a plan is, what is to be done.

Frozen data only. Manifests are plain dicts as the API server speaks them (they are not round-tripped
through client models); everything tacho decides on is typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tacho_contract.report import Report
from tacho_operator.api.defaults import CURRENCY
from tacho_operator.api.types import AutoscalingStatus, ConditionStatus, LLMDeployment, LLMDeploymentStatus

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What planning reads of a node."""

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, str]
    """Kubernetes quantities as strings: cpu, memory, nvidia.com/gpu, …"""
    taints: tuple[Mapping[str, str], ...] = ()
    ready: bool = True
    unschedulable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One earlier measurement in the namespace: predicted against actual."""

    engine: str
    engine_version: str
    quantization_method: str
    gpu_product: str
    predicted_bytes: int | None
    """Without the KV cache, as is the actual figure: an engine that fills its budget with the cache uses what
    it was allowed whatever else was predicted wrongly."""
    actual_bytes: int | None
    predicted_kv_cache_tokens: int | None
    actual_kv_cache_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A child that the API server would not create or change."""

    kind: str
    name: str
    role: str = ""
    """Of a pod: server, inspect or probe."""
    message: str = ""
    """What quota or admission said (HTTP 403); "" where the name is taken."""
    taken: bool = False
    """An object of that name exists, and somebody else owns it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCondition:
    """What the scaler says of one of its conditions."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """What the scaler has decided last, as it is to be carried out and shown."""

    replicas: int
    autoscaling: AutoscalingStatus
    conditions: tuple[ScalingCondition, ...] = ()
    victims: tuple[str, ...] = ()
    """Pods that are to go first."""


# --- what was observed ----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Waiting:
    """Resources that wait for the same."""

    count: int = 0
    freed: datetime | None = None
    """When one of them last waited no longer, within a minute or so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything one decision looks at, read live just before it."""

    resource: LLMDeployment
    raw: Manifest
    """The same object as read: metadata and status exactly as stored."""
    revisions: tuple[Manifest, ...] = ()
    """ControllerRevisions this resource owns."""
    deployments: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    config_maps: tuple[Manifest, ...] = ()
    network_policies: tuple[Manifest, ...] = ()
    disruption_budgets: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    """Of every role, with status."""
    replica_sets: tuple[Manifest, ...] = ()
    """For FailedCreate (quota, admission), which only they show."""
    reports: Mapping[str, Report] = field(default_factory=dict)
    """By pod uid; a pod that did not answer is absent."""
    neighbours: tuple[Manifest, ...] = ()
    """Pods of all resources that the operator looks after, while one of this resource's is measured."""
    refusals: tuple[Refusal, ...] = ()
    """Children that could not be had in this very turn."""
    claims: Mapping[str, Manifest | None] = field(default_factory=dict)
    """PersistentVolumeClaims the spec names, by claim name; None: it does not exist."""
    nodes: tuple[NodeFacts, ...] | None = None
    """None: the operator may not read nodes."""
    history: tuple[History, ...] = ()
    scaling: Scaled | None = None
    """None: nobody scales it, or the scaler has not looked yet."""
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """Who waits for a hub, of all that the operator looks after, by the reason that Ready gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the operator's settings say that decisions depend on."""

    tacho_image: str
    """For inspect, inject and fetch of *new* revisions; running ones keep theirs."""
    engine_images: Mapping[str, str] = field(default_factory=dict)
    """Engine name to image, overriding the engine table."""
    image_pull_policy: str = "IfNotPresent"
    operator_namespace: str = "tacho-system"
    monitoring_namespace: str = ""
    inspect_deadline_seconds: int = 300
    allow_insecure_hub: bool = False
    in_pods: bool = True
    """Engines run in pods of their images, and not as packages of this Python (``tacho run``)."""
    gpu_prices: Mapping[str, str] = field(default_factory=dict)
    """Price of one GPU for one hour, a Decimal, by its product as node labels name it."""
    currency: str = CURRENCY
    """Of these prices."""


# --- what is to be done ---------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    kind: str
    name: str
    uid: str
    """Deletion carries it as a precondition: a replaced object is not ours to delete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Posted on transitions only."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All effects one reconcile asks for; executing an unchanged one sends no mutating request."""

    apply: tuple[Manifest, ...] = ()
    """Complete desired children, in order of creation."""
    delete: tuple[Reference, ...] = ()
    deletion_costs: Mapping[str, str] = field(default_factory=dict)
    """By the name of a pod: its annotation of that name, set before anything is applied."""
    status: LLMDeploymentStatus | None
    """The whole desired status; the same as observed means no write. None: it stays as it is."""
    events: tuple[Event, ...] = ()
    requeue_after_seconds: float | None = None
    now: datetime
    reason: str
    """One sentence for the log: what this decision does and why."""
