"""One BacklogAlert: measure, decide, tell."""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import ValidationError

from litevoice_broker.errors import BrokerError
from litevoice_operator.adapters.cluster import BACKLOG_ALERT, VOICE_GATEWAY, Cluster
from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, Severity
from litevoice_operator.api.meta import Resource
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.decide.alert import AlertState, next_state, seconds_until_change
from litevoice_operator.decide.alert_status import (
    alert_state,
    event_text,
    measured_status,
    orphaned_status,
    unmeasured_status,
)
from litevoice_operator.metrics import ALERTS_FIRING
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.gateway import GatewayReconciler
from litevoice_operator.reconcile.loop import Key
from litevoice_operator.reconcile.names import broker_problem
from litevoice_operator.reconcile.status import Statuses

POLL_SECONDS = 5.0
STARTING_PAUSE_SECONDS = 1.0


class AlertReconciler:
    def __init__(
        self,
        cluster: Cluster,
        statuses: Statuses,
        find_gateway: Callable[[Key], GatewayReconciler | None],
        key: Key,
    ) -> None:
        self._cluster = cluster
        self._statuses = statuses
        self._find_gateway = find_gateway
        self._key = key
        self._state: AlertState | None = None
        """As last written; remembered, because an older CRD may have dropped parts of it. None: as the status says."""
        self._published: Severity | None = None

    async def close(self) -> None:
        self._publish(AlertState())

    async def step(self) -> float | None:
        body = await self._cluster.get(BACKLOG_ALERT, *self._key)
        if body is None:
            return None
        resource = Resource.model_validate(body)
        if resource.metadata.deletion_timestamp is not None:
            return None
        try:
            spec = BacklogAlertSpec.model_validate(resource.spec)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            return await self._unmeasured(resource, "InvalidSpec", f"spec.{field}: {first['msg']}")
        gateway = self._find_gateway((self._key[0], spec.gateway_ref.name))
        if gateway is None and await self._cluster.get(VOICE_GATEWAY, self._key[0], spec.gateway_ref.name) is None:
            message = f"spec.gatewayRef.name: there is no VoiceGateway {spec.gateway_ref.name} in this namespace"
            return await self._orphaned(resource, "GatewayNotFound", message)
        if gateway is not None and gateway.problem is not None:
            message = f"VoiceGateway {spec.gateway_ref.name}: {gateway.problem.message}"
            return await self._unmeasured(resource, gateway.problem.reason, message)
        if gateway is None or gateway.measurable is None:
            return STARTING_PAUSE_SECONDS  # the operator has not looked at the VoiceGateway yet
        return await self._measure(resource, spec, gateway.backlogs, gateway.measurable)

    async def _measure(self, resource: Resource, spec: BacklogAlertSpec, backlogs: Backlogs, gateway: Gateway) -> float:
        previous = BacklogAlertStatus.model_validate(resource.status)
        try:
            sample = await backlogs.measure(gateway, spec.target)
            now = time.time()
            state, transition = next_state(self._state or alert_state(previous), spec, sample.value, now)
            shown = sample.culprits[: spec.top] if state.phase != "Inactive" else ()
            top = await backlogs.locate(gateway, shown)
        except BrokerError as error:
            problem = broker_problem(error)
            return await self._unmeasured(resource, problem.reason, problem.message)
        if transition is not None:  # before the status: told twice is better than never
            event = event_text(transition, spec, state, sample.value, top)
            await self._cluster.post_event(resource.reference, event.type, event.reason, event.message)
        await self._statuses.write(
            resource, measured_status(resource.metadata, previous, state, sample.value, top, now)
        )
        self._state = state
        self._publish(state)
        changes = seconds_until_change(state, spec, time.time())
        return POLL_SECONDS if changes is None else min(POLL_SECONDS, max(changes, STARTING_PAUSE_SECONDS))

    async def _unmeasured(self, resource: Resource, reason: str, message: str) -> float:
        previous = BacklogAlertStatus.model_validate(resource.status)
        status = unmeasured_status(resource.metadata, previous, reason, message, time.time())
        await self._statuses.write(resource, status)
        return POLL_SECONDS

    async def _orphaned(self, resource: Resource, reason: str, message: str) -> float:
        previous = BacklogAlertStatus.model_validate(resource.status)
        if (self._state or alert_state(previous)).phase == "Firing":
            await self._cluster.post_event(resource.reference, "Normal", "Resolved", message)
        await self._statuses.write(resource, orphaned_status(resource.metadata, previous, reason, message, time.time()))
        self._state = None
        self._publish(AlertState())
        return POLL_SECONDS

    def _publish(self, state: AlertState) -> None:
        severity = state.severity if state.phase == "Firing" else None
        if severity == self._published:
            return
        if self._published is not None:
            ALERTS_FIRING.remove(*self._key, self._published)
        if severity is not None:
            ALERTS_FIRING.labels(*self._key, severity).set(1)
        self._published = severity
