"""The typed subset of a pod template that is passed on to every pod of the resource."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tacho_operator.api.base import ApiModel, DataKey, Label63, LabelValue, Name, Quantity, integer, items
from tacho_operator.api.spec.affinity import Affinity, LabelSelector

FileMode = Annotated[int, integer(0, 0o777)]


class PodTemplateMetadata(ApiModel):
    """Labels and annotations added to the pods."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    """Labels added to every pod. tacho.dev/ and app.kubernetes.io/ are tacho's own. Example: {team:
    search}."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Annotations added to every pod. tacho.dev/ is tacho's own. Example: {sidecar.istio.io/inject:
    "false"}."""


class Toleration(ApiModel):
    """Lets the pods run on nodes with a matching taint."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Key of the taint. Absent, with operator Exists: every taint. Example: nvidia.com/gpu."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists matches the key, Equal the value too. Absent: Equal."""
    value: LabelValue | None = None
    """Value of the taint, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Absent: every effect."""
    toleration_seconds: Annotated[int, integer(0, form="int64")] | None = None
    """Seconds a pod stays after a NoExecute taint appears. Absent: for ever."""


class TopologySpreadConstraint(ApiModel):
    """How evenly the pods are spread over zones, nodes or other domains."""

    max_skew: Annotated[int, integer(1, 1000)]
    """Maximum difference in pods between two domains. Example: 1."""
    topology_key: Annotated[str, Field(min_length=1, max_length=317)]
    """Node label that names the domain. Example: topology.kubernetes.io/zone."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """Whether a pod is scheduled where the skew cannot be met."""
    label_selector: LabelSelector | None = None
    """Pods that are counted. Absent: the server pods of this resource."""
    min_domains: Annotated[int, integer(1, 1000)] | None = None
    """Minimum domains that must exist, with DoNotSchedule. Absent: 1."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes excluded by affinity count as domains. Absent: Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes excluded by taints count as domains. Absent: Ignore."""
    match_label_keys: Annotated[list[Annotated[str, Field(min_length=1, max_length=317)]], items(8)] = Field(
        default_factory=list
    )
    """Pod labels whose values are added to the selector. Example: [pod-template-hash]."""


class LocalObjectReference(ApiModel):
    """An object of the same namespace, by name."""

    name: Name
    """Name of the object."""


class PodResourceClaim(ApiModel):
    """A dynamic resource claim of the pod: exactly one of a claim and a claim template."""

    name: Label63
    """Name by which engine.resources.claims refers to it."""
    resource_claim_name: Name | None = None
    """Name of a ResourceClaim in the same namespace, shared by all pods."""
    resource_claim_template_name: Name | None = None
    """Name of a ResourceClaimTemplate in the same namespace; each pod gets a claim of its own."""


class KeyToPath(ApiModel):
    """One key of a ConfigMap or Secret as a file."""

    key: DataKey
    """Key in the ConfigMap's or Secret's data."""
    path: Annotated[str, Field(min_length=1, max_length=256)]
    """Relative path of the file, without ".."."""
    mode: FileMode | None = None
    """Permission bits of the file, decimal in JSON. Absent: the volume's defaultMode."""


Items = Annotated[list[KeyToPath], items(32)]


class ProjectedConfigMap(ApiModel):
    """Keys of a ConfigMap in a projected volume."""

    name: Name
    """Name of the ConfigMap, in the same namespace."""
    items: Items = Field(default_factory=list)
    """Keys to show and their paths. Absent: every key under its own name."""
    optional: bool | None = None
    """True: the pod starts even where the ConfigMap is missing."""


class ConfigMapVolume(ProjectedConfigMap):
    """The data of a ConfigMap as files."""

    default_mode: FileMode | None = None
    """Permission bits of the files, decimal in JSON. Absent: 420, which is 0644."""


class SecretVolume(ApiModel):
    """The data of a Secret as files."""

    secret_name: Name
    """Name of the Secret, in the same namespace."""
    items: Items = Field(default_factory=list)
    """Keys to show and their paths. Absent: every key under its own name."""
    optional: bool | None = None
    """True: the pod starts even where the Secret is missing."""
    default_mode: FileMode | None = None
    """Permission bits of the files, decimal in JSON. Absent: 420, which is 0644."""


class EmptyDirVolume(ApiModel):
    """A folder that lives as long as the pod."""

    medium: Literal["", "Memory"] | None = None
    """Memory keeps it in RAM, where it counts for the container's memory. Absent: the node's disk."""
    size_limit: Quantity | None = None
    """Maximum size, as a string. Example: 2Gi."""


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: Name
    """Name of the PersistentVolumeClaim."""
    read_only: bool | None = None
    """True mounts it read-only."""


class ProjectedSecret(ApiModel):
    """Keys of a Secret in a projected volume."""

    name: Name
    """Name of the Secret, in the same namespace."""
    items: Items = Field(default_factory=list)
    """Keys to show and their paths. Absent: every key under its own name."""
    optional: bool | None = None
    """True: the pod starts even where the Secret is missing."""


class ServiceAccountTokenProjection(ApiModel):
    """A short-lived token of the pod's service account, for workload identity."""

    path: Annotated[str, Field(min_length=1, max_length=256)]
    """Relative path of the token file, without ".."."""
    audience: Annotated[str, Field(max_length=256)] | None = None
    """Audience the token is for. Absent: the API server."""
    expiration_seconds: Annotated[int, integer(600, 2**31 - 1, form="int64")] | None = None
    """Lifetime in seconds, at least 600. Absent: 3600."""


class ProjectedSource(ApiModel):
    """One source of a projected volume: exactly one field is set."""

    config_map: ProjectedConfigMap | None = None
    """Keys of a ConfigMap."""
    secret: ProjectedSecret | None = None
    """Keys of a Secret that the volume contains."""
    service_account_token: ServiceAccountTokenProjection | None = None
    """A token of the pod's service account."""


class ProjectedVolume(ApiModel):
    """Several sources in one folder."""

    sources: Annotated[list[ProjectedSource], items(8)] = Field(default_factory=list)
    """The sources that the volume combines."""
    default_mode: FileMode | None = None
    """Permission bits of the files, decimal in JSON. Absent: 420, which is 0644."""


class Volume(ApiModel):
    """A volume of the pods: a name and exactly one source. Host paths are not offered."""

    name: Label63
    """Name by which engine.volumeMounts refers to it. Names that begin with tacho- are tacho's own."""
    config_map: ConfigMapVolume | None = None
    """The data of a ConfigMap as files."""
    secret: SecretVolume | None = None
    """The data of a Secret as files."""
    empty_dir: EmptyDirVolume | None = None
    """A folder that lives as long as the pod."""
    persistent_volume_claim: ClaimVolume | None = None
    """A PersistentVolumeClaim of the same namespace."""
    projected: ProjectedVolume | None = None
    """Several sources in one folder."""


class PodSpecSubset(ApiModel):
    """Where and how the pods run. Containers and security contexts are tacho's own."""

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    """Labels a node must have. Example: {pool: gpu}."""
    tolerations: Annotated[list[Toleration], items(32)] = Field(default_factory=list)
    """Taints the pods accept. Example: [{key: nvidia.com/gpu, operator: Exists}]."""
    affinity: Affinity | None = None
    """Required and preferred nodes, and pods to be near to or away from."""
    topology_spread_constraints: Annotated[list[TopologySpreadConstraint], items(8)] = Field(
        default_factory=list
    )
    """How the pods are spread over zones and nodes. Absent: over both, as far as there is room."""
    image_pull_secrets: Annotated[list[LocalObjectReference], items(8, key="name")] = Field(
        default_factory=list
    )
    """Secrets for pulling the images."""
    service_account_name: Name | None = None
    """Service account of the pods; its token is not mounted. Absent: default."""
    priority_class_name: Name | None = None
    """Priority class of the pods. Absent: the cluster's default."""
    scheduler_name: Name | None = None
    """Scheduler that places the pods. Absent: default-scheduler."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods. Absent: the node's default; GPU operators of today need none. Example:
    nvidia."""
    termination_grace_period_seconds: Annotated[int, integer(1, 86400, form="int64")] | None = None
    """Seconds running requests get to finish before a pod is killed. Absent: 120. Example: 300."""
    resource_claims: Annotated[list[PodResourceClaim], items(8, key="name")] = Field(default_factory=list)
    """Dynamic resource claims of the pods, used by engine.resources.claims."""
    volumes: Annotated[list[Volume], items(16, key="name")] = Field(default_factory=list)
    """Further volumes, mounted by engine.volumeMounts."""


class PodTemplateSpec(ApiModel):
    """Additions to every pod of the resource: labels, placement, volumes."""

    metadata: PodTemplateMetadata | None = None
    """Labels and annotations added to the pods."""
    spec: PodSpecSubset | None = None
    """Where and how the pods run."""
