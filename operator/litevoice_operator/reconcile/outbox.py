"""Notifications on their way out: a channel that hangs or refuses must not hold up measurements or statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from litevoice_operator.adapters.cluster import ClusterError
from litevoice_operator.decide.notifications import EventText

MAX_WAITING = 200
PATIENCE_SECONDS = 3.0
"""How long a sender waits for delivery. Notify first, then write the status: an operator that dies in between notifies
twice rather than never."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 10.0

_log = logging.getLogger(__name__)

Post = Callable[[Mapping[str, str], EventText], Awaitable[None]]


class Outbox:
    """Posts Kubernetes Events, for each object in order, until the API server accepts or refuses them. `post` raises
    ClusterError."""

    def __init__(self, post: Post, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._post = post
        self._patience_seconds = patience_seconds
        self._waiting: dict[asyncio.Task[None], tuple[Mapping[str, str], EventText]] = {}
        """Deliveries under way, oldest first."""

    async def send(self, about: Mapping[str, str], text: EventText) -> None:
        """`about`: ObjectReference. Returns once it is delivered, or after the patience: then it is still being
        tried. A full outbox drops its oldest."""
        if len(self._waiting) >= MAX_WAITING:
            self._drop(next(iter(self._waiting)), "the outbox is full")
        earlier = (task for task, (other, _) in reversed(self._waiting.items()) if other["uid"] == about["uid"])
        task = asyncio.create_task(self._deliver(about, text, next(earlier, None)))
        self._waiting[task] = about, text
        task.add_done_callback(self._done)
        await asyncio.wait({task}, timeout=self._patience_seconds)

    async def close(self) -> None:
        waiting = list(self._waiting)
        for task in waiting:
            self._drop(task, "the operator is shutting down")
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _deliver(self, about: Mapping[str, str], text: EventText, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._post(about, text)
            except ClusterError as error:
                if not error.retryable:  # a namespace that is being deleted, for example, takes no new objects
                    raise
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(MAX_PAUSE_SECONDS, pause_seconds * 2)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task in self._waiting and (error := task.exception()):
            self._drop(task, str(error))
        self._waiting.pop(task, None)

    def _drop(self, task: asyncio.Task[None], why: str) -> None:
        about, text = self._waiting.pop(task)
        task.cancel()
        facts = {"object": f"{about['namespace']}/{about['name']}", "reason": text.reason}
        _log.warning("event not posted", extra={**facts, "error": why})
