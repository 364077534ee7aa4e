"""What must happen before a VoiceGateway may disappear: sessions end in peace, then its names leave the broker."""

from __future__ import annotations

import asyncio
import logging

from pydantic import ValidationError

from litevoice_broker.errors import BrokerError
from litevoice_contracts.errors import InvalidField
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.adapters.cluster import DEPLOYMENT, POD, Cluster, ClusterError
from litevoice_operator.api.meta import Resource
from litevoice_operator.api.resolved import Defaults, Gateway, resolve
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.manifests.gateway import grace_seconds
from litevoice_operator.manifests.objects import INSTANCE_LABEL, MANAGED_SELECTOR

BROKER_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 2.0
"""Doubled after each attempt: a broker that restarts is back by then, one that is gone must not block for ever."""
KILL_MARGIN_SECONDS = 30

_log = logging.getLogger(__name__)


async def finalize(cluster: Cluster, resource: Resource, defaults: Defaults, installed: Installed) -> None:
    """Ends the pods (with their drain), then deletes topics and groups. Everything else follows by owner reference.

    Bounded: pods by their grace period, the broker by its attempts; what is left behind then is told in an Event.
    Raises ClusterError when the API server cannot be asked: the caller tries again.
    """
    gateway = _resolved(resource, defaults)
    namespace, name = resource.key
    for component in ("gateway", "worker"):
        await cluster.delete(DEPLOYMENT, namespace, f"{name}-{component}")
    if gateway is None:
        return  # never was valid: the operator made nothing at any broker
    await _pods_gone(cluster, gateway)
    error = await _names_deleted(gateway, installed)
    if error is not None:
        message = (
            f"topics and groups of {gateway.names.request_topic} and {gateway.names.reply_topic} may remain at "
            f"{gateway.name_server}: gave up after {BROKER_ATTEMPTS} attempts: {error}"
        )
        _log.warning("names remain at the broker", extra={"object": f"{namespace}/{name}", "error": str(error)})
        try:
            await cluster.post_event(resource.reference, "Warning", "BrokerCleanupFailed", message)
        except ClusterError as refused:  # a namespace that is being deleted takes no new objects
            _log.warning("event not posted", extra={"object": f"{namespace}/{name}", "error": str(refused)})


def _resolved(resource: Resource, defaults: Defaults) -> Gateway | None:
    try:
        return resolve(resource.metadata, VoiceGatewaySpec.model_validate(resource.spec), defaults)
    except (InvalidField, ValidationError):
        return None


async def _pods_gone(cluster: Cluster, gateway: Gateway) -> None:
    labels = f"{MANAGED_SELECTOR},{INSTANCE_LABEL}={gateway.name}"
    for _ in range(grace_seconds(gateway) + KILL_MARGIN_SECONDS):
        if not await cluster.list(POD, gateway.namespace, labels=labels, limit=1):
            return
        await asyncio.sleep(1)


async def _names_deleted(gateway: Gateway, installed: Installed) -> BrokerError | None:
    broker = Broker(installed)
    pause_seconds = FIRST_PAUSE_SECONDS
    last: BrokerError | None = None
    try:
        await broker.use(gateway.name_server, admin_tls=gateway.admin_tls)
        for attempt in range(BROKER_ATTEMPTS):
            if attempt:
                await asyncio.sleep(pause_seconds)
                pause_seconds *= 2
            try:
                await broker.delete(gateway.names)
            except BrokerError as error:
                last = error
            else:
                return None
    finally:
        await broker.close()
    return last
