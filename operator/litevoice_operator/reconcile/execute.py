"""Executes the actions of a plan, and remembers what was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from litevoice_broker.errors import BrokerError, NotPermitted
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.cluster import DEPLOYMENT, POD, Cluster, ClusterError
from litevoice_operator.api.labels import owned_selector
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.plan import (
    NAMES,
    Action,
    Apply,
    AwaitNoPods,
    BrokerNames,
    DeleteDeployment,
    Done,
    EnsureNames,
    Removal,
    subject,
)
from litevoice_operator.manifests.objects import Manifest

BROKER_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 2.0
"""Doubled after each attempt: a restarting broker is back by then, and one that is gone must not block for ever."""


@dataclass(slots=True)
class Outcome:
    """Attributes:
    applied: objects as the API server returned them.
    refused: about the first object that the API server will not accept until somebody changes something.
    names: why topics and groups are not as wanted.
    """

    applied: list[Manifest] = field(default_factory=list)
    refused: Problem | None = None
    names: Problem | None = None


class Executor:
    """Attributes:
    done: what the next plan needs to know.
    """

    def __init__(self, cluster: Cluster, broker: Broker) -> None:
        self._cluster = cluster
        self._broker = broker
        self.done: dict[str, Done] = {}

    async def execute(self, actions: Iterable[Action]) -> Outcome:
        """Every action is tried, whatever became of the others. Raises ClusterError if a retry may succeed."""
        outcome = Outcome()
        for action in actions:
            if isinstance(action, Apply):
                await self._apply(action, outcome)
            else:
                outcome.names = await self._ensure_names(action)
        return outcome

    async def _apply(self, action: Apply, outcome: Outcome) -> None:
        try:
            outcome.applied.append(await self._cluster.apply(action.manifest))
        except ClusterError as error:
            if error.retryable:
                raise
            outcome.refused = outcome.refused or Problem("ApplyFailed", str(error), lasting=True)
        else:
            self.done[subject(action.manifest)] = Done(action.manifest, time.monotonic())

    async def _ensure_names(self, action: EnsureNames) -> Problem | None:
        wanted = action.wanted
        try:
            await self._broker.use(wanted.name_server, admin_tls=wanted.admin_tls)
            if not action.only_if_missing or await self._broker.missing(wanted.names):
                await self._broker.ensure(wanted.names, wanted.expiration_minutes)
        except BrokerError as error:
            return broker_problem(error)
        self.done[NAMES] = Done(wanted, time.monotonic())
        return None


async def remove(cluster: Cluster, broker: Broker, key: Key, actions: Iterable[Removal]) -> BrokerError | None:
    """Bounded; returns why names may remain at the broker. Raises ClusterError if the API server cannot be reached: the
    caller retries."""
    namespace, name = key
    for action in actions:
        if isinstance(action, DeleteDeployment):
            await cluster.delete(DEPLOYMENT, namespace, action.name)
        elif isinstance(action, AwaitNoPods):
            for _ in range(action.seconds):
                if not await cluster.list(POD, namespace, labels=owned_selector(name), limit=1):
                    break
                await asyncio.sleep(1)
        elif error := await _delete_names(broker, action.unwanted):
            return error
    return None


async def _delete_names(broker: Broker, unwanted: BrokerNames) -> BrokerError | None:
    await broker.use(unwanted.name_server, admin_tls=unwanted.admin_tls)
    pause_seconds = FIRST_PAUSE_SECONDS
    last: BrokerError | None = None
    for attempt in range(BROKER_ATTEMPTS):
        if attempt:
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
        try:
            await broker.delete(unwanted.names)
        except BrokerError as error:
            last = error
        else:
            return None
    return last


def broker_problem(error: BrokerError) -> Problem:
    if error.retryable:
        return Problem("BrokerUnavailable", str(error), lasting=False)
    text = str(error)
    if isinstance(error, NotPermitted):
        text += " (the operator's own credentials are those of its chart's rocketmq.credentialsSecret)"
    return Problem("BrokerRefused", text, lasting=True)
