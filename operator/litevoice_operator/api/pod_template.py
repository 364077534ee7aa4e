"""Parts of pod templates that a VoiceGateway may set, in Kubernetes' own words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from litevoice_operator.api.base import Api, Int32, Int64, ObjectName, Quantity, keyed_by, rules
from litevoice_operator.api.placement import Affinity, Spread
from litevoice_operator.api.pod_contents import Variable, VariablesSource, Volume, VolumeMount

LabelValues = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)]

Annotations = Annotated[dict[str, Annotated[str, Field(max_length=65536)]], Field(max_length=64)]


class Resources(Api):
    """Resources of the container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What the scheduler reserves, for example `cpu: 500m`."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """The most that the container may use."""


class Toleration(Api):
    """Lets the pods run on nodes with a matching taint."""

    key: Annotated[str, Field(max_length=316)] = ""
    """Key of the taint; empty with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists: any value; Equal: this value."""
    value: Annotated[str, Field(max_length=63)] = ""
    """Value of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Effect of the taint; empty: every effect."""
    toleration_seconds: Int64 | None = None
    """How long a NoExecute taint is tolerated; absent: forever."""


class PodSettings(Api):
    """Where pods run, what they may use, and what is added to them."""

    model_config = rules(
        (
            "!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes) && "
            "self.volumes.exists(volume, volume.name == mount.name))",
            "volumeMounts: each must name one of volumes",
        )
    )

    max_unavailable_percent: Annotated[Int32 | None, Field(ge=1, le=100)] = None
    """Pods that drains of nodes may evict at a time, in percent of all, rounded up; absent: one. A gateway that is
    alone is evicted only once the operator has started another one."""
    resources: Resources = Resources()
    """Resources of the container; absent requests are filled with 100m CPU and 256Mi memory."""
    node_selector: LabelValues = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list)
    """Taints that the pods tolerate."""
    labels: LabelValues = Field(default_factory=dict)
    """Labels added to the pods; the operator's own (app.kubernetes.io/…) win."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations added to the pods; the operator's own (litevoice.dev/…) win."""
    image_pull_secrets: Annotated[list[Annotated[str, Field(min_length=1, max_length=253)]], Field(max_length=8)] = (
        Field(default_factory=list)
    )
    """Names of Secrets with registry credentials."""
    service_account_annotations: Annotations = Field(default_factory=dict)
    """Annotations of the pods' own ServiceAccount, `<name>-gateway` or `<name>-worker`: how clouds give it an identity.
    Another ServiceAccount cannot be named: who may write a VoiceGateway would have the permissions of any of them."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled; absent: as Kubernetes does by its tag."""
    affinity: Affinity | None = None
    """Which nodes and neighbours the pods have."""
    topology_spread_constraints: Annotated[list[Spread], Field(max_length=8)] = Field(default_factory=list)
    """How pods are spread; absent: over nodes, and without `affinity` over zones, as far as possible."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    env: Annotated[
        list[Variable],
        Field(
            max_length=64,
            json_schema_extra=keyed_by("name"),
        ),
    ] = Field(default_factory=list)
    """Environment variables added to the container."""
    env_from: Annotated[list[VariablesSource], Field(max_length=16)] = Field(default_factory=list)
    """Secrets and ConfigMaps whose keys are added as variables."""
    volumes: Annotated[
        list[Volume],
        Field(
            max_length=16,
            json_schema_extra=keyed_by("name"),
        ),
    ] = Field(default_factory=list)
    """Volumes added to the pods: Secrets, ConfigMaps, empty folders, claims."""
    volume_mounts: Annotated[
        list[VolumeMount],
        Field(
            max_length=16,
            json_schema_extra=keyed_by("mountPath"),
        ),
    ] = Field(default_factory=list)
    """Where they are in the container."""
