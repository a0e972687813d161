"""Kubernetes affinity, typed as in core/v1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tacho_operator.api.base import ApiModel, LabelValue, integer, items

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
Values = Annotated[list[Annotated[str, Field(max_length=63)]], items(64)]
Weight = Annotated[int, integer(1, 100)]
Namespaces = Annotated[list[Annotated[str, Field(min_length=1, max_length=63)]], items(32)]
LabelKeys = Annotated[list[LabelKey], items(8)]


class LabelSelectorRequirement(ApiModel):
    """One condition on a label."""

    key: LabelKey
    """Key of a label of nodes or pods."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label relates to the values."""
    values: Values = Field(default_factory=list)
    """Values, for In and NotIn only."""


class LabelSelector(ApiModel):
    """Objects by their labels; all conditions must hold."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    """Required labels and values."""
    match_expressions: Annotated[list[LabelSelectorRequirement], items(16)] = Field(default_factory=list)
    """Conditions on labels."""


class NodeSelectorRequirement(ApiModel):
    """One condition on a node's label or field."""

    key: LabelKey
    """Label key, or field. Example: nvidia.com/gpu.product."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label relates to the values."""
    values: Values = Field(default_factory=list)
    """Values: several for In and NotIn, one integer for Gt and Lt, none for Exists and DoesNotExist."""


Requirements = Annotated[list[NodeSelectorRequirement], items(16)]


class NodeSelectorTerm(ApiModel):
    """Conditions on a node that must all hold."""

    match_expressions: Requirements = Field(default_factory=list)
    """Conditions on the node's labels."""
    match_fields: Requirements = Field(default_factory=list)
    """Conditions on the node's fields. Example: metadata.name."""


class NodeSelector(ApiModel):
    """Nodes that meet at least one of the listed terms."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], items(16, least=1)]
    """Terms; a node has to meet at least one."""


class PreferredNode(ApiModel):
    """A preference for nodes, with a weight."""

    weight: Weight
    """Weight of the preference, 1 to 100."""
    preference: NodeSelectorTerm
    """The nodes preferred."""


class NodeAffinity(ApiModel):
    """Which nodes the pods need or prefer."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes the pods may run on."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredNode], items(16)] = Field(
        default_factory=list
    )
    """Preferred nodes."""


class PodAffinityTerm(ApiModel):
    """Pods to be near to or away from, and the topology that defines near."""

    topology_key: LabelKey
    """Node label that defines near. Example: kubernetes.io/hostname."""
    label_selector: LabelSelector | None = None
    """The pods that the term applies to, by their labels."""
    namespaces: Namespaces = Field(default_factory=list)
    """Namespaces by name. Absent, without namespaceSelector: the pods' own."""
    namespace_selector: LabelSelector | None = None
    """Namespaces of the pods to be near to or away from, by label."""
    match_label_keys: LabelKeys = Field(default_factory=list)
    """Labels whose values must be the same as the pod's own."""
    mismatch_label_keys: LabelKeys = Field(default_factory=list)
    """Labels whose values must differ from the pod's own."""


class PreferredPodAffinity(ApiModel):
    """A preference for nearness or distance, with a weight."""

    weight: Weight
    """Weight of the preference, 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """The pods that the preference applies to."""


class PodAffinity(ApiModel):
    """Pods to run close to; the topologyKey of each term defines close."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodAffinityTerm], items(16)] = Field(
        default_factory=list
    )
    """Terms that must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPodAffinity], items(16)] = (
        Field(default_factory=list)
    )
    """Terms that should hold."""


class PodAntiAffinity(PodAffinity):
    """Pods to keep away from."""


class Affinity(ApiModel):
    """Where the pods go, relative to nodes and other pods."""

    node_affinity: NodeAffinity | None = None
    """Nodes the pods need or prefer."""
    pod_affinity: PodAffinity | None = None
    """Pods to run close to; the topologyKey of each term defines close."""
    pod_anti_affinity: PodAntiAffinity | None = None
    """Pods to keep away from."""
