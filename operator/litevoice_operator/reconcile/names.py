"""Keeps a VoiceGateway's topics and groups at the broker."""

from __future__ import annotations

import time

from litevoice_broker.errors import BrokerError, NotPermitted
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.decide.gateway_status import Problem

RESYNC_SECONDS = 60.0
"""Topics that somebody removed, or a broker without its store, are noticed after this time."""


class BrokerNames:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._done: object = None
        self._done_at = 0.0

    async def ensure(self, gateway: Gateway) -> Problem | None:
        """What the broker objects to, or that it cannot be reached; None when everything is there."""
        expiration_minutes = gateway.spec.rocketmq.expiration_minutes
        wanted = (gateway.name_server, gateway.admin_tls, gateway.names, expiration_minutes)
        if wanted == self._done and time.monotonic() - self._done_at < RESYNC_SECONDS:
            return None
        try:
            await self._broker.use(gateway.name_server, admin_tls=gateway.admin_tls)
            if wanted != self._done or await self._broker.missing(gateway.names):
                await self._broker.ensure(gateway.names, expiration_minutes)
        except BrokerError as error:
            return broker_problem(error)
        self._done, self._done_at = wanted, time.monotonic()
        return None


def broker_problem(error: BrokerError) -> Problem:
    if error.retryable:
        return Problem("BrokerUnavailable", str(error), lasting=False)
    text = str(error)
    if isinstance(error, NotPermitted):
        text += " (the operator's own credentials are those of its chart's rocketmq.credentialsSecret)"
    return Problem("BrokerRefused", text, lasting=True)
