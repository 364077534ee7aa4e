"""Notifications on their way out: a channel that hangs or refuses must not hold up measurements or statuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from litevoice_operator.adapters.cluster import ClusterError
from litevoice_operator.decide.notifications import EventText

MAX_WAITING = 500
PATIENCE_SECONDS = 3.0
"""How long a sender waits for delivery. Notify first, then write the status: an operator that dies in between notifies
twice rather than never."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    about: Mapping[str, str]
    text: EventText
    gone: asyncio.Event


Post = Callable[[Mapping[str, str], EventText], Awaitable[None]]


class Outbox:
    """Posts Kubernetes Events one by one and in order, each until the API server accepts or refuses it. `post` raises
    ClusterError."""

    def __init__(self, post: Post, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._post = post
        self._patience_seconds = patience_seconds
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._task = asyncio.create_task(self._run(), name="outbox")

    async def send(self, about: Mapping[str, str], text: EventText) -> None:
        """`about`: ObjectReference. Returns once it is delivered, or after the patience: then it is still being
        tried. A full outbox drops its oldest."""
        if self._waiting.full():
            self._drop(self._waiting.get_nowait(), "the outbox is full")
        waiting = _Waiting(about, text, asyncio.Event())
        self._waiting.put_nowait(waiting)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiting.gone.wait(), self._patience_seconds)

    async def close(self) -> None:
        """What is still waiting is lost."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            waiting = await self._waiting.get()
            await self._deliver(waiting)
            waiting.gone.set()

    async def _deliver(self, waiting: _Waiting) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._post(waiting.about, waiting.text)
            except ClusterError as error:
                if not error.retryable:  # a namespace that is being deleted takes no new objects
                    return self._drop(waiting, str(error))
            else:
                return None
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(MAX_PAUSE_SECONDS, pause_seconds * 2)

    def _drop(self, waiting: _Waiting, why: str) -> None:
        facts = {"object": f"{waiting.about['namespace']}/{waiting.about['name']}", "reason": waiting.text.reason}
        _log.warning("event not posted", extra={**facts, "error": why})
        waiting.gone.set()
