"""Parts of pod templates that a VoiceGateway may set, in Kubernetes' own words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from litevoice_operator.api.base import Api, Int64

# The API server's own pattern for quantities, in two halves: an amount, and a suffix or an exponent.
_AMOUNT = r"([0-9]+(\.[0-9]*)?)|(\.[0-9]+)"
_SUFFIX = rf"([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?({_AMOUNT}))"
Quantity = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": rf"^(\+|-)?({_AMOUNT})({_SUFFIX})?$"}),
]
LabelValues = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)]


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
    """Where pods run and what they may use."""

    resources: Resources = Resources()
    """Resources of the container; absent requests are filled with 100m CPU and 256Mi memory."""
    node_selector: LabelValues = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list)
    """Taints that the pods tolerate."""
    labels: LabelValues = Field(default_factory=dict)
    """Labels added to the pods; the operator's own (app.kubernetes.io/…) win."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=65536)]], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Annotations added to the pods; the operator's own (litevoice.dev/…) win."""
    image_pull_secrets: Annotated[list[Annotated[str, Field(min_length=1, max_length=253)]], Field(max_length=8)] = (
        Field(default_factory=list)
    )
    """Names of Secrets with registry credentials."""
