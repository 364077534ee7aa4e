"""People who call, ask one thing and hang up, several a second: sessions are made and forgotten all the time."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from litevoice_dev.chaos.records import Visit

PATIENCE_SECONDS = 120.0
MOST_AT_ONCE = 100
_QUESTION = "how many days are in a week"
_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": _QUESTION}]}
_MESSAGES = (
    {"type": "conversation.item.create", "item": _ITEM},
    {"type": "response.create", "response": {"output_modalities": ["text"]}},
)


@dataclass
class Churn:
    """`visits`: all that are over. `sessions`: ids of all that were made.

    A visitor whose connection is cut does not come back (``cut``), nor does one that is refused; ``silent`` is one that
    nobody answered although the connection stood.
    """

    urls: Sequence[str]
    key: str
    per_second: float
    seed: int = 0
    visits: list[Visit] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until it is cancelled; then those who are inside finish (`finish`)."""
        chance = random.Random(self.seed)
        for number in itertools.count():
            if not self.per_second:
                return
            await asyncio.sleep(chance.expovariate(self.per_second))
            if len(self._tasks) < MOST_AT_ONCE:
                task = asyncio.create_task(self._visit(self.urls[number % len(self.urls)]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _visit(self, url: str) -> None:
        began = time.monotonic()
        outcome = await self._outcome(url)
        self.visits.append(Visit(began, outcome, time.monotonic() - began))

    async def _outcome(self, url: str) -> str:
        headers, inside = {"Authorization": f"Bearer {self.key}"}, False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async with connect(
                    f"{url}/realtime?model=litevoice",
                    additional_headers=headers,
                    compression=None,
                    proxy=None,
                    close_timeout=1,
                    ping_interval=2,
                    ping_timeout=4,
                ) as socket:
                    created = json.loads(await socket.recv())
                    if created["type"] != "session.created":
                        return "refused"
                    self.sessions.append(created["session"]["id"])
                    inside = True
                    for message in _MESSAGES:
                        await socket.send(json.dumps(message))
                    while True:
                        event: dict[str, Any] = json.loads(await socket.recv())
                        if event["type"] == "error":
                            return "error"
                        if event["type"] == "response.done":
                            return "answered" if event["response"]["status"] == "completed" else "error"
        except TimeoutError:
            return "silent" if inside else "cut"
        except InvalidStatus:
            return "refused"
        except ConnectionClosed as closed:
            return "refused" if closed.rcvd and closed.rcvd.code == 1013 else "cut"
        except (OSError, InvalidHandshake, InvalidMessage, EOFError):
            return "cut"
