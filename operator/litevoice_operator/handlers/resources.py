"""Events of custom resources, pods and ReplicaSets → the controller."""

from __future__ import annotations

from typing import Any

import kopf

from litevoice_operator.api.base import GROUP, VERSION

DELETED = "DELETED"
RETRY_SECONDS = 5.0


def register(registry: kopf.OperatorRegistry, own_namespace: str) -> None:
    """on.event everywhere: it needs neither finalizers nor annotations. Only a VoiceGateway has something to clean up
    before it goes, so only it has an on.delete, and with it kopf's finalizer. Not in the operator's own namespace: when
    that is deleted, the operator goes first."""

    def elsewhere(namespace: str, **_: Any) -> bool:
        return namespace != own_namespace

    kopf.on.login(registry=registry)(login)
    kopf.on.event(GROUP, VERSION, "voicegateways", registry=registry)(resource_event)
    kopf.on.delete(GROUP, VERSION, "voicegateways", registry=registry, backoff=RETRY_SECONDS, when=elsewhere)(
        voice_gateway_deleted
    )
    kopf.on.event(GROUP, VERSION, "backlogalerts", registry=registry)(resource_event)
    kopf.on.event("", "v1", "pods", registry=registry)(pod_event)
    kopf.on.event("apps", "v1", "replicasets", registry=registry)(replica_set_event)


def login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


async def resource_event(event: dict[str, Any], memo: Any, **_: Any) -> None:
    memo.controller.resource_event(event["object"], deleted=event["type"] == DELETED)


async def voice_gateway_deleted(body: Any, memo: Any, **_: Any) -> None:
    await memo.controller.gateway_deleted(body)


async def pod_event(event: dict[str, Any], memo: Any, **_: Any) -> None:
    memo.controller.pod_event(event["object"], deleted=event["type"] == DELETED)


async def replica_set_event(event: dict[str, Any], memo: Any, **_: Any) -> None:
    memo.controller.replica_set_event(event["object"], deleted=event["type"] == DELETED)
