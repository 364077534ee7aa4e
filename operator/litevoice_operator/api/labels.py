"""Labels of everything that a VoiceGateway owns, and the selectors for it."""

from __future__ import annotations

from typing import Literal

from litevoice_operator.api.base import GROUP

Component = Literal["gateway", "worker"]
COMPONENTS: tuple[Component, ...] = ("gateway", "worker")

MANAGED_BY = "litevoice-operator"
MANAGED_SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
ACCEPTING_LABEL = f"{GROUP}/accepting"
"""Of gateway pods, "true" or "false": whether their Service sends new clients to them. New pods have "true"."""
TEMPLATE_HASH_ANNOTATION = f"{GROUP}/template-hash"
"""Tells the current template from older ones, on templates and on their pods."""
ADMIN_TLS = "admin-tls"
"""Name of the port with TLS, on pods that have one."""
REVISION_LABEL = "pod-template-hash"
"""Of gateway pods and their ReplicaSets: which revision of the template they are of. Deployments call it so, too: what
one of an earlier release has left is told by the same label."""


def selector_labels(name: str, component: Component) -> dict[str, str]:
    """The labels that single out the pods of one component of one VoiceGateway."""
    return {"app.kubernetes.io/name": "litevoice", INSTANCE_LABEL: name, COMPONENT_LABEL: component}


def selector_text(name: str, component: Component) -> str:
    """The same as a label selector in text form."""
    return ",".join(f"{key}={value}" for key, value in selector_labels(name, component).items())


def owned_selector(name: str) -> str:
    """Selects everything of one VoiceGateway."""
    return f"{MANAGED_SELECTOR},{INSTANCE_LABEL}={name}"


def sets_selector(name: str) -> str:
    """Selects the ReplicaSets of its gateways."""
    return f"{owned_selector(name)},{COMPONENT_LABEL}=gateway"


def labels(name: str, component: Component) -> dict[str, str]:
    return {**selector_labels(name, component), "app.kubernetes.io/managed-by": MANAGED_BY}
