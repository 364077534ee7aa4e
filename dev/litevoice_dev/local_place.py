"""Scenarios beside local processes; `BrokerWatch` asks the broker for backlogs as the operator does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from litevoice_broker.config import AdminAccess
from litevoice_contracts.control import SESSIONS_PATH
from litevoice_dev.audit import read_replies, reading_requests
from litevoice_dev.scenarios.place import Disturbance, Line, ReadLines
from litevoice_dev.stack import LocalStack
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.api.backlog_alert import Culprit
from litevoice_operator.observe.backlogs import Load, reply_sample

HOLDER_TIMEOUT_SECONDS = 20.0
REPLIES_TIMEOUT_SECONDS = 60.0
BACKLOG_TIMEOUT_SECONDS = 60.0
BACKLOG_MESSAGES, BACKLOG_AGE_SECONDS = 5, 3
"""What counts as noticed, like a BacklogAlert's threshold."""


class LocalPlace:
    """A stack that runs. No Service stands before its gateways: callers know all of them."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @property
    def urls(self) -> Sequence[str]:
        return [gateway.url for gateway in self._stack.gateways]

    @property
    def direct_url(self) -> str:
        return self._stack.gateways[-1].url

    @property
    def api_key(self) -> str:
        return self._stack.api_key

    async def holder(self, session_id: str) -> str:
        async with asyncio.timeout(HOLDER_TIMEOUT_SECONDS):
            while True:
                with contextlib.suppress(LookupError):
                    return (await self._stack.owner(session_id)).name
                await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def requests(self) -> AsyncIterator[ReadLines]:
        lines: list[Line] = []

        async def read() -> list[Line]:
            return lines

        async with reading_requests(self._stack.broker_settings, lines.append):
            yield read

    async def replies(self, session_id: str) -> list[Line]:
        async with asyncio.timeout(REPLIES_TIMEOUT_SECONDS):
            return await read_replies(self._stack.broker_settings, session_id)


def kill_gateway(stack: LocalStack) -> Disturbance:
    """kill -9; its connections end with it."""

    async def strike(pod: str) -> None:
        next(gateway for gateway in stack.gateways if gateway.name == pod).kill()

    return Disturbance("kill -9", strike, cuts=True)


class BrokerWatch:
    """Measures what waits for clients by the broker's admin protocol, as a BacklogAlert with target Replies does."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    async def seen(self, session_id: str) -> list[Culprit]:
        def noticed(top: Sequence[Load]) -> bool:
            return any(
                c.session == session_id and c.backlog >= BACKLOG_MESSAGES and c.age_seconds >= BACKLOG_AGE_SECONDS
                for c in top
            )

        return [await self._located(load) for load in await self._until(noticed)]

    async def gone(self, session_id: str) -> None:
        await self._until(lambda top: all(load.session != session_id for load in top))

    async def _until(self, condition: Callable[[Sequence[Load]], bool]) -> Sequence[Load]:
        """The first measurement that fits. Raises TimeoutError."""
        name_server = self._stack.name_server
        broker = Broker(Installed(name_server, AdminAccess()))
        await broker.use(name_server, admin_tls=False)
        try:
            async with asyncio.timeout(BACKLOG_TIMEOUT_SECONDS):
                while True:
                    top = reply_sample(*await broker.replies(self._stack.names)).loads
                    if condition(top):
                        return top
                    await asyncio.sleep(0.25)
        finally:
            await broker.close()

    async def _located(self, load: Load) -> Culprit:
        """With what only its gateway knows; there are no nodes here."""
        owner = await self._stack.owner(load.session)
        info = await owner.ask(f"{SESSIONS_PATH}/{load.session}")
        return load.held_by("Held", owner.name, info["client"]).culprit
