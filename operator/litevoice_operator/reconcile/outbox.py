"""Notifications on their way out: a channel that hangs or refuses must not hold up measurements or statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Protocol, TypeVar

from litevoice_operator.adapters.channels import ChannelError
from litevoice_operator.adapters.cluster import ClusterError

MAX_WAITING = 200
PATIENCE_SECONDS = 3.0
"""How long a sender waits for delivery."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 10.0

_log = logging.getLogger(__name__)


class Message(Protocol):
    """`once`: messages about the same object with the same are the same."""

    @property
    def reason(self) -> str: ...

    @property
    def once(self) -> tuple[str, float] | None: ...


T = TypeVar("T", bound=Message)


class Outbox(Generic[T]):
    """Posts messages, for each object in order, until they are accepted or refused. `post` raises ClusterError or
    ChannelError."""

    def __init__(
        self, post: Callable[[Mapping[str, str], T], Awaitable[None]], patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._post = post
        self._patience_seconds = patience_seconds
        self._waiting: dict[asyncio.Task[None], tuple[Mapping[str, str], T]] = {}
        """Deliveries under way, oldest first."""
        self._ended: dict[tuple[str, tuple[str, float] | None], None] = {}
        """Those to be made once whose sender has not heard yet that they are over, oldest first."""

    async def send(self, about: Mapping[str, str], text: T) -> bool:
        """`about`: ObjectReference. True once it is delivered or refused; False after the patience: then it is still
        being tried, and sending the same again (`once`) only asks what came of it. A full outbox drops its oldest."""
        key = about["uid"], text.once
        if key not in self._ended:
            task = self._under_way(about, text) or self._begin(about, text)
            await asyncio.wait({task}, timeout=self._patience_seconds)
            if not task.done():
                return False
        self._ended.pop(key, None)
        return True

    def under_way(self, about: Mapping[str, str]) -> bool:
        """Something about that object is still being tried."""
        return any(other["uid"] == about["uid"] for other, _ in self._waiting.values())

    def _under_way(self, about: Mapping[str, str], text: T) -> asyncio.Task[None] | None:
        same = (
            task
            for task, (other, waiting) in self._waiting.items()
            if text.once is not None and waiting.once == text.once and other["uid"] == about["uid"]
        )
        return next(same, None)

    def _begin(self, about: Mapping[str, str], text: T) -> asyncio.Task[None]:
        if len(self._waiting) >= MAX_WAITING:
            self._drop(next(iter(self._waiting)), "the outbox is full")
        earlier = (task for task, (other, _) in reversed(self._waiting.items()) if other["uid"] == about["uid"])
        task = asyncio.create_task(self._deliver(about, text, next(earlier, None)))
        self._waiting[task] = about, text
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        waiting = list(self._waiting)
        for task in waiting:
            self._drop(task, "the operator is shutting down")
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _deliver(self, about: Mapping[str, str], text: T, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._post(about, text)
            except (ClusterError, ChannelError) as error:
                if not error.retryable:  # a namespace that is being deleted, for example, takes no new objects
                    raise
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(MAX_PAUSE_SECONDS, pause_seconds * 2)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task not in self._waiting:
            return  # dropped
        about, text = self._waiting[task]
        if text.once is not None:
            self._ended[about["uid"], text.once] = None
            if len(self._ended) > MAX_WAITING:
                del self._ended[next(iter(self._ended))]
        if error := task.exception():
            self._drop(task, str(error))
        else:
            del self._waiting[task]

    def _drop(self, task: asyncio.Task[None], why: str) -> None:
        about, text = self._waiting.pop(task)
        task.cancel()
        facts = {"object": f"{about['namespace']}/{about['name']}", "reason": text.reason}
        _log.warning("notification not delivered", extra={**facts, "error": why})
