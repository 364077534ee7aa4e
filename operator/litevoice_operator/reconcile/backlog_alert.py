"""One BacklogAlert: measure, decide, tell."""

from __future__ import annotations

import time

from litevoice_broker.errors import BrokerError
from litevoice_contracts.names import Names
from litevoice_operator.adapters.cluster import BACKLOG_ALERT, VOICE_GATEWAY
from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, Severity
from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.decide.alert import AlertState, next_state, seconds_until_change
from litevoice_operator.decide.alert_status import (
    alert_state,
    event_text,
    measured_status,
    orphaned_status,
    unmeasured_status,
)
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.metrics import ALERTS_FIRING
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.execute import broker_problem
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.resources import Resources
from litevoice_operator.reconcile.shared import GatewayViews

POLL_SECONDS = 5.0
STARTING_PAUSE_SECONDS = 1.0


class AlertReconciler:
    def __init__(self, resources: Resources, outbox: Outbox, views: GatewayViews, key: Key) -> None:
        self._resources = resources
        self._outbox = outbox
        self._views = views
        self._key = key
        self._state: AlertState | None = None
        """As last written; kept here because an older CRD may have dropped parts of it. None: as the status says."""
        self._published: Severity | None = None

    async def close(self) -> None:
        self._publish(AlertState())

    async def reconcile(self) -> float | None:
        """Seconds until the next pass, None when the BacklogAlert is gone."""
        found = await self._resources.read(
            BACKLOG_ALERT, self._key, lambda resource: BacklogAlertSpec.model_validate(resource.spec)
        )
        if found is None:
            return None
        resource, spec = found
        if isinstance(spec, Problem):
            return await self._unmeasured(resource, spec.reason, spec.message)
        name = spec.gateway_ref.name
        view = self._views.get((self._key[0], name))
        if view is None and not await self._resources.exists(VOICE_GATEWAY, (self._key[0], name)):
            message = f"spec.gatewayRef.name: there is no VoiceGateway {name} in this namespace"
            return await self._orphaned(resource, "GatewayNotFound", message)
        if view is not None and view.problem is not None:
            return await self._unmeasured(resource, view.problem.reason, f"VoiceGateway {name}: {view.problem.message}")
        if view is None or view.names is None:
            return STARTING_PAUSE_SECONDS  # the VoiceGateway has not been reconciled yet
        return await self._measure(resource, spec, view.backlogs, view.names)

    async def _measure(self, resource: Resource, spec: BacklogAlertSpec, backlogs: Backlogs, names: Names) -> float:
        previous = BacklogAlertStatus.model_validate(resource.status)
        try:
            sample = await backlogs.measure(names, spec.target)
            now = time.time()
            state, transition = next_state(self._state or alert_state(previous), spec, sample.value, now)
            shown = sample.culprits[: spec.top] if state.phase != "Inactive" else ()
            top = await backlogs.locate(names, shown)
        except BrokerError as error:
            problem = broker_problem(error)
            return await self._unmeasured(resource, problem.reason, problem.message)
        if transition is not None:  # before the status: told twice is better than never
            await self._outbox.send(resource.reference, event_text(transition, spec, state, sample.value, top))
        status = measured_status(resource.metadata, previous, state, sample.value, top, now)
        await self._resources.write_status(resource, status)
        self._state = state
        self._publish(state)
        changes = seconds_until_change(state, spec, time.time())
        return POLL_SECONDS if changes is None else min(POLL_SECONDS, max(changes, STARTING_PAUSE_SECONDS))

    async def _unmeasured(self, resource: Resource, reason: str, message: str) -> float:
        previous = BacklogAlertStatus.model_validate(resource.status)
        status = unmeasured_status(resource.metadata, previous, reason, message, time.time())
        await self._resources.write_status(resource, status)
        return POLL_SECONDS

    async def _orphaned(self, resource: Resource, reason: str, message: str) -> float:
        previous = BacklogAlertStatus.model_validate(resource.status)
        if (self._state or alert_state(previous)).phase == "Firing":
            await self._outbox.send(resource.reference, EventText("Normal", "Resolved", message))
        status = orphaned_status(resource.metadata, previous, reason, message, time.time())
        await self._resources.write_status(resource, status)
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
