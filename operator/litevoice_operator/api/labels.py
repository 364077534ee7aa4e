"""Labels of everything that a VoiceGateway owns, and the selectors for it."""

from __future__ import annotations

from typing import Literal

Component = Literal["gateway", "worker"]
COMPONENTS: tuple[Component, ...] = ("gateway", "worker")

MANAGED_BY = "litevoice-operator"
MANAGED_SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"


def selector_labels(name: str, component: Component) -> dict[str, str]:
    """The labels that single out the pods of one component of one VoiceGateway."""
    return {"app.kubernetes.io/name": "litevoice", INSTANCE_LABEL: name, COMPONENT_LABEL: component}


def selector_text(name: str, component: Component) -> str:
    """The same as a label selector in text form."""
    return ",".join(f"{key}={value}" for key, value in selector_labels(name, component).items())


def owned_selector(name: str) -> str:
    """Selects everything of one VoiceGateway."""
    return f"{MANAGED_SELECTOR},{INSTANCE_LABEL}={name}"


def labels(name: str, component: Component) -> dict[str, str]:
    return {**selector_labels(name, component), "app.kubernetes.io/managed-by": MANAGED_BY}
