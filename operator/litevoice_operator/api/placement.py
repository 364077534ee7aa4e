"""Where pods of a VoiceGateway run, in Kubernetes' own words: affinity and spread."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from litevoice_operator.api.base import Api, Int32, rules

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Weight = Annotated[Int32, Field(ge=1, le=100)]


class LabelRequirement(Api):
    """One condition of a label selector."""

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value relates to `values`."""
    values: Annotated[list[LabelValue] | None, Field(max_length=32)] = None
    """For In and NotIn."""


class LabelSelector(Api):
    """Selects objects by their labels; all conditions must be met."""

    match_labels: Annotated[dict[str, LabelValue] | None, Field(max_length=32)] = None
    """Labels with these values."""
    match_expressions: Annotated[list[LabelRequirement] | None, Field(max_length=16)] = None
    """Further conditions."""


class NodeRequirement(Api):
    """One condition of a node."""

    key: LabelKey
    """Key of the label, or `metadata.name` in `matchFields`."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the value relates to `values`."""
    values: Annotated[list[Annotated[str, Field(max_length=253)]] | None, Field(max_length=64)] = None
    """For In, NotIn, Gt and Lt."""


class NodeSelectorTerm(Api):
    """Conditions of a node, all of which must be met."""

    match_expressions: Annotated[list[NodeRequirement] | None, Field(max_length=16)] = None
    """Of its labels."""
    match_fields: Annotated[list[NodeRequirement] | None, Field(max_length=16)] = None
    """Of its name."""


class NodeSelector(Api):
    """One of the terms must be met."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1, max_length=16)]
    """The terms."""


class PreferredNode(Api):
    """Nodes that are preferred."""

    weight: Weight
    """How much."""
    preference: NodeSelectorTerm
    """Which."""


class NodeAffinity(Api):
    """Which nodes pods run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Only on these."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredNode] | None, Field(max_length=16)
    ] = None
    """Rather on these."""


class PodAffinityTerm(Api):
    """Pods that are on the same node, in the same zone …"""

    topology_key: LabelKey
    """Label of nodes that says what is the same, for example `kubernetes.io/hostname`."""
    label_selector: LabelSelector | None = None
    """Which pods; absent: none."""
    namespaces: Annotated[list[Annotated[str, Field(max_length=63)]] | None, Field(max_length=16)] = None
    """In which namespaces; absent: the VoiceGateway's."""
    namespace_selector: LabelSelector | None = None
    """In which namespaces, by their labels."""
    match_label_keys: Annotated[list[LabelKey] | None, Field(max_length=16)] = None
    """Only pods with the same values of these labels."""


class PreferredPods(Api):
    """Neighbours that are preferred, or rather avoided."""

    weight: Weight
    """How much."""
    pod_affinity_term: PodAffinityTerm
    """Which."""


class PodAffinity(Api):
    """Beside which pods."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm] | None, Field(max_length=16)
    ] = None
    """Always."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredPods] | None, Field(max_length=16)
    ] = None
    """If possible."""


class Affinity(Api):
    """Which nodes and neighbours pods have."""

    node_affinity: NodeAffinity | None = None
    """Nodes to run on."""
    pod_affinity: PodAffinity | None = None
    """Pods to run beside."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods not to run beside."""


class Spread(Api):
    """How pods of one revision are spread; which pods are counted is the operator's to say."""

    model_config = rules(
        (
            "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            "minDomains requires whenUnsatisfiable DoNotSchedule",
        )
    )

    topology_key: LabelKey
    """Label of nodes that says what to spread over, for example `topology.kubernetes.io/zone`."""
    max_skew: Annotated[Int32, Field(ge=1, le=1000)] = 1
    """By how many pods two places may differ."""
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = "ScheduleAnyway"
    """Whether a pod that would differ by more runs nevertheless, or waits."""
    min_domains: Annotated[Int32 | None, Field(ge=1, le=1000)] = None
    """At least so many places must exist."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes count that `nodeSelector` and `affinity` allow; absent: Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether tainted nodes count only if the taints are tolerated; absent: Ignore."""
