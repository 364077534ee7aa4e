"""A caller that types one question after the other and comes back when its connection ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.waiting import until

_TEXT_ONLY = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
PAUSE_SECONDS = 0.2


class TypingCaller:
    """Enter it. Attributes:
    asked, answers: questions, and what was answered, in order.
    event_ids: of everything that was heard.
    trouble: errors, and how connections ended.
    """

    def __init__(self, url: str, api_key: str) -> None:
        self._url, self._headers = url, {"Authorization": f"Bearer {api_key}"}
        self.session_id = ""
        self.asked: list[str] = []
        self.answers: list[str] = []
        self.event_ids: list[str] = []
        self.trouble: list[str] = []
        self._answered = asyncio.Event()
        self._created = asyncio.Event()
        self._going = True
        self._unsent: list[str] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def finish(self) -> None:
        """Asks nothing more, and returns when the last question is answered."""
        self._going = False
        await until(
            lambda: len(self.answers) >= len(self.asked),
            lambda: f"{self.session_id}: {len(self.answers)} of {len(self.asked)} answers, {self.trouble[-5:]}",
            timeout_seconds=60,
        )

    async def _run(self) -> None:
        while True:
            query = f"session_id={self.session_id}&last_event_id={self._last_position}&" if self.session_id else ""
            url = f"{self._url}/realtime?{query}model=litevoice&can_return=true"
            try:
                async with connect(url, additional_headers=self._headers, proxy=None) as socket:
                    await self._talk(socket)
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                self.trouble.append(str(error))
            await asyncio.sleep(PAUSE_SECONDS)

    @property
    def _last_position(self) -> str:
        return next((i for i in reversed(self.event_ids) if i.split("_")[1].isdigit()), "")

    async def _talk(self, socket: ClientConnection) -> None:
        asking = asyncio.create_task(self._ask(socket))
        try:
            async for message in socket:
                self._take(json.loads(message))
        finally:
            asking.cancel()

    async def _ask(self, socket: ClientConnection) -> None:
        await self._created.wait()  # a gateway that takes no new sessions accepts the connection and closes it
        if not self.asked:
            await socket.send(json.dumps(_TEXT_ONLY))
        while self._going or self._unsent:
            if not self._unsent and len(self.answers) == len(self.asked):
                self.asked.append(f"question {len(self.asked)}")
                content = [{"type": "input_text", "text": self.asked[-1]}]
                item = {"type": "message", "role": "user", "content": content}
                events = {"type": "conversation.item.create", "item": item}, {"type": "response.create"}
                self._unsent = [json.dumps(event) for event in events]
            while self._unsent:  # what a connection does not take that is being closed is sent on the next
                await socket.send(self._unsent[0])
                del self._unsent[0]
            self._answered.clear()
            await self._answered.wait()
            await asyncio.sleep(PAUSE_SECONDS)

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "error":
            self.trouble.append(str(event["error"]))
        self.event_ids.append(event["event_id"])
        if event["type"] == "session.created":
            self.session_id = event["session"]["id"]
            self._created.set()
        elif event["type"] == "response.output_text.done":
            self.answers.append(event["text"])
            self._answered.set()


async def answered(callers: Sequence[TypingCaller], questions: int) -> None:
    """Returns when each has so many answers more."""
    wanted = {caller: len(caller.answers) + questions for caller in callers}
    await until(
        lambda: all(len(caller.answers) >= count for caller, count in wanted.items()),
        lambda: [(one.session_id, len(one.answers), one.trouble[-3:]) for one in callers],
        timeout_seconds=60,
    )
