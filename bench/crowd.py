"""Callers with an open microphone that type questions: every question is unlike all others, so that an answer that is
lost, or comes twice, shows."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

RATE = 24_000
FRAME_SECONDS = 0.1
ASK_SECONDS = 1.0
"""How often a caller asks, unless the last answer is still missing."""
RETRY_SECONDS = 1.0
"""A caller that was refused comes back after it."""
SETTING = {
    "type": "session.update",
    "session": {
        "type": "realtime",
        "output_modalities": ["text"],
        # Nothing is ever so certainly speech: the network has to hear everything, and no utterance begins.
        "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1.0}}},
    },
}


def chatter(seconds: float = 6.0, seed: int = 1) -> list[str]:
    """Appends of FRAME_SECONDS, ready to be sent: noise in syllables, which no gate takes for a silent room."""
    samples = int(seconds * RATE)
    syllables = 0.5 + 0.5 * np.sin(2 * math.pi * 4 * np.arange(samples) / RATE)
    pcm = (np.random.default_rng(seed).normal(0, 5000, samples) * syllables).clip(-32768, 32767).astype("<i2").tobytes()
    size = int(FRAME_SECONDS * RATE) * 2
    return [
        json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm[at : at + size]).decode()})
        for at in range(0, len(pcm), size)
    ]


@dataclass(frozen=True, slots=True)
class Answered:
    """Times in seconds (time.monotonic())."""

    asked_at: float
    waited: float


@dataclass
class Crowd:
    """All callers of a run, and what they saw.

    Attributes:
        inside: callers with a session, by number.
        sessions: all that ever had one.
        refused: how often a new session was refused, by the reason in the Close.
        sent_away: reasons of a Close with 1013 after the session had begun; an open question does not count then.
        first_refusal_at: time.monotonic(); None while nobody was.
        wrong: what must not happen, in words.
        asked: questions that were sent.
    """

    url: str
    key: str
    frames: Sequence[str] = field(default_factory=chatter)
    inside: dict[int, Caller] = field(default_factory=dict)
    sessions: list[Caller] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    sent_away: list[str] = field(default_factory=list)
    first_refusal_at: float | None = None
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _leaving: set[int] = field(default_factory=set)

    async def arrive(self, count: int, seconds: float = 0.0) -> None:
        """`count` more callers, evenly over `seconds`."""
        first = len(self._tasks)
        for number in range(first, first + count):
            self._tasks[number] = asyncio.create_task(self._call(number))
            await asyncio.sleep(seconds / count)

    def leave(self, stay: int = 0) -> None:
        """All but `stay` of those inside fall silent and hang up after their last answer; nobody calls any more.

        Returns at once.
        """
        staying = set(sorted(self.inside)[:stay])
        self._leaving = set(self._tasks) - staying
        for number in self._leaving - self.inside.keys():
            self._tasks[number].cancel()

    async def gone(self) -> None:
        """Returns when everybody who leaves is gone."""
        await asyncio.gather(*(self._tasks[number] for number in self._leaving), return_exceptions=True)

    def left(self, number: int) -> bool:
        return number in self._leaving

    def since(self, at: float, until: float = math.inf) -> list[float]:
        """How long answers to questions of that time took; what is unanswered counts with the time waited."""
        now = time.monotonic()
        done = [answer.waited for answer in self.answers if at <= answer.asked_at < until]
        return done + [
            now - caller.asked_at
            for caller in self.inside.values()
            if caller.question and at <= caller.asked_at < until
        ]

    async def _call(self, number: int) -> None:
        while not self.left(number):
            caller = Caller(self, number)
            headers = {"Authorization": f"Bearer {self.key}"}
            url = f"{self.url}/realtime?model=litevoice"
            async with connect(url, additional_headers=headers, compression=None, max_size=None) as socket:
                await caller.run(socket)
            if caller.session:
                return
            await asyncio.sleep(RETRY_SECONDS)


class Caller:
    """One connection.

    Attributes:
        session: "" when it was refused.
        question: what it waits for; "" when for nothing.
        heard: ids of the server's events, in order.
    """

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self.session = ""
        self.question = ""
        self.asked_at = 0.0
        self._count = 0
        self._answered = asyncio.Event()
        self._answered.set()
        self.heard: list[str] = []

    async def run(self, socket: ClientConnection) -> None:
        sending: asyncio.Task[None] | None = None
        try:
            async for message in socket:
                event = json.loads(message)
                if event["type"] == "session.created":
                    self.session = event["session"]["id"]
                    self._crowd.inside[self._number] = self
                    self._crowd.sessions.append(self)
                    sending = asyncio.create_task(self._send(socket))
                self._take(event)
        except ConnectionClosed:
            pass
        finally:
            self._crowd.inside.pop(self._number, None)
            if sending is not None:
                sending.cancel()
        close, code = socket.close_reason or "", socket.close_code
        if self.session and code == 1013:
            self._crowd.sent_away.append(close)
            self._crowd.asked -= bool(self.question)
        elif code == 1013:
            self._crowd.refused[close.rpartition(": ")[2]] += 1
            self._crowd.first_refusal_at = self._crowd.first_refusal_at or time.monotonic()
        elif self.question or not self._crowd.left(self._number):
            self._crowd.wrong.append(f"caller {self._number} was closed with {code} {close}")

    async def _send(self, socket: ClientConnection) -> None:
        """The microphone keeps time: what the socket does not take at once is sent later, nothing is left out."""
        await socket.send(json.dumps(SETTING))
        begin, frames = time.monotonic(), self._crowd.frames
        number = self._number
        while not self._crowd.left(self._number):
            await asyncio.sleep(max(0.0, begin + (number - self._number) * FRAME_SECONDS - time.monotonic()))
            await socket.send(frames[number % len(frames)])
            number += 1
            if not self.question and time.monotonic() - self.asked_at >= ASK_SECONDS:
                await self._ask(socket)
        await self._answered.wait()
        await socket.close()

    async def _ask(self, socket: ClientConnection) -> None:
        self._count += 1
        self.question = f"question {self._count} of caller {self._number}"
        self.asked_at = time.monotonic()
        self._answered.clear()
        self._crowd.asked += 1
        content = [{"type": "input_text", "text": self.question}]
        item = {"type": "message", "role": "user", "content": content}
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket.send(json.dumps({"type": "response.create"}))

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event_id", "").startswith("evt_"):
            self.heard.append(event["event_id"])
        if event["type"] == "error":
            self._wrong(f"error {event['error']['code']}")
        elif event["type"] == "response.output_text.done":
            if event["text"] != f"You said: {self.question}.":
                self._wrong(f"{event['text']!r} answers {self.question!r}")
        elif event["type"] == "response.done":
            if event["response"]["status"] != "completed":
                self._wrong(f"an answer is {event['response']['status']}")
            self._crowd.answers.append(Answered(self.asked_at, time.monotonic() - self.asked_at))
            self.question = ""
            self._answered.set()

    def _wrong(self, what: str) -> None:
        self._crowd.wrong.append(f"caller {self._number}, session {self.session}: {what}")
