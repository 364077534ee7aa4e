"""One BacklogAlert: measure, decide, tell."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from litevoice_broker.errors import BrokerError
from litevoice_contracts.names import Names
from litevoice_operator.adapters.cluster import BACKLOG_ALERT, VOICE_GATEWAY, ClusterError
from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, Healed, Severity
from litevoice_operator.api.conditions import BLIND
from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.api.times import within
from litevoice_operator.decide.alert import AlertState, next_state, seconds_until_change, worst_first
from litevoice_operator.decide.alert_status import (
    alert_state,
    measured_status,
    orphaned_status,
    routed_status,
    transition_time,
    unmeasured_status,
)
from litevoice_operator.decide.budget import alert_pause
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.healing import AGAIN_SECONDS, next_patient, with_healed
from litevoice_operator.decide.routing import Mute, alerts, blind_body, muted, told_to, webhook_body
from litevoice_operator.decide.telling import EVENTS, after_telling, due, event_text, only_recipients, sight, sight_once
from litevoice_operator.metrics import ALERTS_BLIND, ALERTS_FIRING
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.execute import broker_problem
from litevoice_operator.reconcile.healing import Healer
from litevoice_operator.reconcile.shared import Shared, ShownAlert

STARTING_PAUSE_SECONDS = 1.0
_DELETED = Problem(reason="Deleted", message="the BacklogAlert was deleted", lasting=True)
_CHANGED = Problem(reason="Changed", message="the BacklogAlert watches something else", lasting=True)
"""No status says so: it is for those who are told the end."""


class AlertReconciler:
    def __init__(self, shared: Shared, healer: Healer, key: Key) -> None:
        self._resources = shared.resources
        self._outbox = shared.outbox
        self._notifier = shared.notifier
        self._views = shared.views
        self._shown = shared.alerts
        self._healer = healer
        self._treatment: asyncio.Task[Healed | None] | None = None
        self._examined: dict[str, float] = {}
        """When a session was last looked at, to heal it; as long as that matters."""
        self._about = ("", "")
        self._key = key
        self._uid = ""
        self._status = BacklogAlertStatus()
        """As last decided; kept here because it may not have been written, and an older CRD drops parts of it."""
        self._written = False
        self._state: AlertState | None = None
        """To the fraction of a second; None: as the status says."""
        self._dry_run = False
        self._published: tuple[Severity | None, bool] = (None, False)
        self._latest: tuple[Resource, BacklogAlertSpec] | None = None
        """That could be read."""
        self._know_blind: set[str] = set()
        """Webhooks that were told that it is blind, and not yet that it sees."""

    async def close(self) -> None:
        if self._treatment is not None:
            self._treatment.cancel()
        self._publish(BacklogAlertStatus())
        self._shown.pop(self._key, None)
        self._watch_no_longer(self._about)
        self._notifier.put(self._key, {})

    async def reconcile(self) -> float | None:
        """Seconds until the next pass, None when the BacklogAlert is gone."""
        found = await self._resources.read(
            BACKLOG_ALERT, self._key, lambda resource: BacklogAlertSpec.model_validate(resource.spec)
        )
        if found is None:
            await self._tell_end()
            return None
        resource, spec = found
        self._dry_run = isinstance(spec, BacklogAlertSpec) and spec.dry_run
        about = (spec.gateway_ref.name, spec.target) if isinstance(spec, BacklogAlertSpec) else ("", "")
        if about != self._about:
            before, self._about = self._about, about
            self._watch_no_longer(before)
            if all(before) and all(about):
                self._begin_anew(resource)
        if self._uid != resource.metadata.uid:  # the operator has started, or this is another one of the same name
            await self._tell_end()
            self._uid, self._written = resource.metadata.uid, True
            self._status, self._state = BacklogAlertStatus.model_validate(resource.status), None
            self._know_blind = set()
            if isinstance(spec, BacklogAlertSpec) and self._status.blind_told:
                self._know_blind |= set(spec.routes)
            self._publish(self._status)
        if isinstance(spec, BacklogAlertSpec):
            self._latest = resource, spec
        if isinstance(spec, Problem):
            return await self._unmeasured(resource, None, spec, blind=False)
        name = spec.gateway_ref.name
        view = self._views.get((self._key[0], name))
        if view is None and not await self._resources.exists(VOICE_GATEWAY, (self._key[0], name)):
            message = f"spec.gatewayRef.name: there is no VoiceGateway {name} in this namespace"
            problem = Problem("GatewayNotFound", message, lasting=False)
            self._state = None
            status = orphaned_status(resource.metadata, self._status, problem, time.time())
            return await self._write_and_tell(resource, spec, status)
        if view is not None and view.problem is not None:
            problem = Problem(view.problem.reason, f"VoiceGateway {name}: {view.problem.message}", view.problem.lasting)
            return await self._unmeasured(resource, spec, problem)
        if view is None or view.names is None:
            return STARTING_PAUSE_SECONDS  # the VoiceGateway has not been reconciled yet
        return await self._measure(resource, spec, view.backlogs, view.names)

    def _begin_anew(self, resource: Resource) -> None:
        """It watches something else from now on: what fired is over, and nothing of it counts any more."""
        over = orphaned_status(resource.metadata, self._status, _CHANGED, time.time())
        self._status = over.model_copy(update={"conditions": self._status.conditions})
        self._state, self._written = None, False

    async def _measure(self, resource: Resource, spec: BacklogAlertSpec, backlogs: Backlogs, names: Names) -> float:
        try:
            sample = await backlogs.measure(names, spec.target)
            now = time.time()
            state, transition = next_state(self._state or alert_state(self._status), spec, sample, now)
            shown = worst_first(spec, state.severity, sample.loads)[: spec.top] if state.phase != "Inactive" else ()
            top = [load.culprit for load in await backlogs.locate(names, shown)]
        except BrokerError as error:
            return await self._unmeasured(resource, spec, broker_problem(error))
        self._state = state
        status = measured_status(
            resource.metadata,
            self._status,
            state,
            sample.value,
            top,
            now,
            transition=transition,
            unseen=sample.unseen,
        )
        status = self._healed(spec, status, draining=backlogs.draining)
        pause_seconds = await self._write_and_tell(resource, spec, status)
        pause_seconds = backlogs.next_in(spec.target, pause_seconds)
        changes = seconds_until_change(state, spec, time.time())
        return pause_seconds if changes is None else min(pause_seconds, max(changes, STARTING_PAUSE_SECONDS))

    def _healed(self, spec: BacklogAlertSpec, status: BacklogAlertStatus, *, draining: bool) -> BacklogAlertStatus:
        """With what came of the last treatment; begins the next one, which nothing waits for."""
        ended = self._treatment
        if ended is not None and ended.done():
            self._treatment = None
            if (done := ended.result()) is not None:
                status = status.model_copy(update={"healed": with_healed(status.healed, done)})
        wanted = spec.healing is not None and not spec.dry_run and not draining and status.state == "Firing"
        if spec.healing is not None and wanted and self._treatment is None:
            now = time.time()
            self._examined = {one: at for one, at in self._examined.items() if within(AGAIN_SECONDS, at, now)}
            if session := next_patient(spec.healing, status.healed, self._examined, status.top, now):
                self._examined[session] = now
                gateway, alert = (self._key[0], spec.gateway_ref.name), self._key[1]
                self._treatment = asyncio.create_task(
                    self._healer.treat(gateway, alert, spec.healing, status.healed, session)
                )
        return status

    async def _unmeasured(
        self, resource: Resource, spec: BacklogAlertSpec | None, problem: Problem, *, blind: bool = True
    ) -> float:
        status = unmeasured_status(resource.metadata, self._status, problem, time.time(), blind=blind)
        if self._state is not None:
            self._state = replace(self._state, clearing_since=None)
        return await self._write_and_tell(resource, spec, status)

    async def _write_and_tell(
        self, resource: Resource, spec: BacklogAlertSpec | None, status: BacklogAlertStatus
    ) -> float:
        """First the status with the transition, then who is to know it, then that they do: an operator that dies in
        between tells it under the same name, and an Event of that name is posted once. A status that cannot be written
        keeps nobody from being told."""
        if spec is not None:
            view, now = self._views.get((self._key[0], spec.gateway_ref.name)), time.time()
            mute = muted(spec, status, draining=view is not None and view.backlogs.draining, now=now)
            channels, why = self._notifier.channels, mute.why if mute else ""
            failing = self._notifier.failing(spec.routes)
            status = routed_status(
                resource.metadata, self._status, status, spec.routes, channels, why, now, failing=failing
            )
        refused = await self._write(resource, status)
        if spec is not None:
            status = await self._tell(resource, spec, status, mute)
        refused = await self._write(resource, status) or refused
        if refused is not None:
            raise refused
        return alert_pause(len(self._shown))

    async def _tell(
        self, resource: Resource, spec: BacklogAlertSpec, status: BacklogAlertStatus, mute: Mute | None
    ) -> BacklogAlertStatus:
        """The status with what is known now. `mute`: why channels are told no news."""
        about, notifier = resource.reference, self._notifier
        status = only_recipients(status, spec.routes)
        if not spec.dry_run:
            news = sight(status, time.time())
            if news is not None and await self._outbox.send(about, news.text):
                status = status.model_copy(update={"blind_told": news.blind})
        if mute is None or mute.passes:
            await self._tell_sight(resource, spec, status)
        managers, found = notifier.alertmanagers(spec.routes), alerts(resource.metadata, spec, status)
        shown = {name: told_to(status, name, found, mute) for name in managers}
        notifier.put(self._key, shown, f"{mute.why}: told no longer" if mute and not mute.passes else "")
        webhooks = [] if mute else notifier.webhooks(spec.routes)
        under_way = notifier.under_way(about, webhooks)
        if self._outbox.under_way(about):
            under_way.append(EVENTS)
        untold = due(status, [*([] if spec.dry_run else [EVENTS]), *webhooks], under_way)
        once = status.last_transition, transition_time(status.last_transition)
        told = await asyncio.gather(
            *(
                self._outbox.send(about, event_text(spec, status))
                if name == EVENTS
                else notifier.tell(name, about, webhook_body(name, resource.metadata, spec, status), once)
                for name in untold
            )
        )
        know = [name for name, delivered in zip(untold, told, strict=True) if delivered]
        return after_telling(status, know if mute or not status.last_transition else [*know, *managers])

    async def _tell_sight(self, resource: Resource, spec: BacklogAlertSpec, status: BacklogAlertStatus) -> None:
        """To webhooks that do not know it, and which nothing waits for: an Alertmanager is told by `alerts`."""
        webhooks = set(self._notifier.webhooks(spec.routes))
        self._know_blind &= webhooks
        untold = webhooks - self._know_blind if status.blind_told else self._know_blind
        if not untold:
            return
        self._know_blind = webhooks if status.blind_told else set()
        about = {**resource.reference, "uid": f"{resource.reference['uid']}/blind"}
        once = sight_once(status)
        bodies = {name: blind_body(name, resource.metadata, spec, status, time.time()) for name in sorted(untold)}
        await asyncio.gather(*(self._notifier.tell(name, about, body, once) for name, body in bodies.items()))

    async def _tell_end(self) -> None:
        """The BacklogAlert is gone: webhooks that know that it fires, or that it is blind, are told that it is over.
        Events would be about nothing."""
        if self._latest is None:
            return
        (resource, spec), self._latest, now = self._latest, None, time.time()
        status = orphaned_status(resource.metadata, self._status, _DELETED, now).model_copy(
            update={"blind_told": False}
        )
        await self._tell_sight(resource, spec, status)
        about, webhooks = resource.reference, self._notifier.webhooks(spec.routes)
        once = status.last_transition, transition_time(status.last_transition)
        untold = due(status, webhooks, self._notifier.under_way(about, webhooks))
        bodies = {name: webhook_body(name, resource.metadata, spec, status) for name in untold}
        await asyncio.gather(*(self._notifier.tell(name, about, body, once) for name, body in bodies.items()))

    def _watch_no_longer(self, about: tuple[str, str]) -> None:
        """The number of a VoiceGateway's backlog, unless another BacklogAlert watches it."""
        view = self._views.get((self._key[0], about[0]))
        others = (shown for key, shown in self._shown.items() if key[0] == self._key[0] and key != self._key)
        if view is not None and not any((one.gateway, one.target) == about for one in others):
            view.backlogs.unpublish(about[1])

    async def _write(self, resource: Resource, status: BacklogAlertStatus) -> ClusterError | None:
        """Why it could not be written."""
        if self._written and status == self._status:
            return None
        self._status, self._written = status, False
        self._publish(status)
        try:
            await self._resources.write_status(resource, status)
        except ClusterError as error:
            return error
        self._written = True
        return None

    def _publish(self, status: BacklogAlertStatus) -> None:
        self._shown[self._key] = ShownAlert(*self._about, status)
        severity = status.severity if status.state == "Firing" and not self._dry_run else None
        blind = not self._dry_run and any(
            condition.type == BLIND and condition.status == "True" for condition in status.conditions
        )
        before = self._published
        if severity != before[0]:
            if before[0] is not None:
                ALERTS_FIRING.remove(*self._key, before[0])
            if severity is not None:
                ALERTS_FIRING.labels(*self._key, severity).set(1)
        if blind and not before[1]:
            ALERTS_BLIND.labels(*self._key).set(1)
        elif before[1] and not blind:
            ALERTS_BLIND.remove(*self._key)
        self._published = severity, blind
