"""Callers: one after another they make calls that follow a script, come back when they lose their gateway, and write
down all that they hear.

They stand on the WebSocket library alone, so that what a client does when a connection breaks is to be read here: it
comes back at once, to the next gateway, naming its session and the last event that it saw.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

from litevoice_dev.chaos.records import Answer, Asked, Call, Cut, Seen
from litevoice_dev.microphone import Microphone
from litevoice_dev.unconfirmed import Unconfirmed
from litevoice_dev.voice_client import CONFIRMED, KEPT_BYTES

PATIENCE_SECONDS = 120.0
"""An answer that has not ended by then does not count as late but as missing. Answers take up to half a minute, and
faults of up to a minute follow one another."""
RESEND_SECONDS = 2.0
"""After a connection was lost: how long a question's confirmation may take before it is asked again."""
PING_SECONDS, PONG_SECONDS = 2.0, 4.0
"""How callers notice a gateway that hangs, or a way that swallows everything."""
GOODBYE_SECONDS = 10.0
ENOUGH_SILENCE_PACKETS = 50
"""A second: an utterance is over within it."""
_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.05, 1.0
_GOODBYES = (1000, 1008, 1009)
_KNOWN_ALREADY = ("item_create_duplicate_item_id", "conversation_already_has_active_response")
_OF_THE_CONNECTION = ("session.created", "session.updated", "error", CONFIRMED)
_TEXT_ONLY = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}


@dataclass(frozen=True, slots=True)
class Script:
    """`clips`: each question as PCM16, for a speaking caller; `pause`: seconds between two questions, from and to."""

    questions: Sequence[str]
    pause: tuple[float, float]
    clips: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def spoken(self) -> bool:
        return bool(self.clips)


class Missing(RuntimeError):  # noqa: N818 - reads as what it is
    """An answer that did not come, or a call that could not go on; the message says which."""


class Line:
    """One call while it lasts: a connection that is made again whenever it is lost."""

    def __init__(self, call: Call, urls: Sequence[str], key: str) -> None:
        self.call = call
        self.microphone = Microphone(self._append)
        self._urls = list(urls)
        self._key = key
        self._socket: ClientConnection | None = None
        self._created = asyncio.Event()
        self._changed = asyncio.Condition()
        self._connections = 0
        self._digests: dict[str, Any] = {}
        self._answers: dict[str, Answer] = {}
        self._over: str | None = None
        self.opened_at = 0.0
        self.types: list[str] = []
        self.spoken: int | None = None
        self._unconfirmed = Unconfirmed[str](KEPT_BYTES)
        self.confirmed_items: set[str] = set()

    def heard_since(self, begin: int) -> list[str]:
        """Types from index `begin` of `types` to the first end of an answer, each of several in a row once."""
        heard: list[str] = []
        for kind in self.types[begin:]:
            if kind not in _OF_THE_CONNECTION and heard[-1:] != [kind]:
                heard.append(kind)
            if kind == "response.done":
                break
        return heard

    @property
    def ended(self) -> int:
        """Responses that have ended."""
        return sum(1 for answer in self.call.answers if answer.status)

    async def keep(self) -> None:
        """Connects, again and again, until it is cancelled or the gateway ends the session."""
        backoff = _FIRST_BACKOFF_SECONDS
        while self._over is None:
            known = len(self.call.seen)
            try:
                await self._connect_once()
            except (OSError, InvalidHandshake, InvalidMessage, EOFError) as error:
                self.call.refused += isinstance(error, InvalidStatus)
            self._socket = None
            self._created.clear()
            if len(self.call.seen) > known:
                backoff = _FIRST_BACKOFF_SECONDS
            self._urls.append(self._urls.pop(0))
            await self._tell()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 1.5, _LONGEST_BACKOFF_SECONDS)

    async def _connect_once(self) -> None:
        query = {"model": "litevoice", "can_return": "true"}
        if self.call.session_id:
            seen = next((s.event_id for s in reversed(self.call.seen) if s.event_id), "")
            query |= {"session_id": self.call.session_id, **({"last_event_id": seen} if seen else {})}
        if self.call.acknowledged:
            query["confirmed_appends"] = str(self._unconfirmed.come_back())
        async with connect(
            f"{self._urls[0]}/realtime?{urlencode(query)}",
            additional_headers={"Authorization": f"Bearer {self._key}"},
            compression=None,
            max_size=None,
            proxy=None,
            open_timeout=PONG_SECONDS + PING_SECONDS,
            close_timeout=0.2,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
        ) as socket:
            self._connections += 1
            self._socket = socket
            try:
                while True:
                    await self._take(json.loads(await socket.recv()))
            except ConnectionClosed as closed:
                if self._over is not None:
                    return
                code = closed.rcvd.code if closed.rcvd else None
                self.call.cuts.append(Cut(time.monotonic(), code, self.call.sent))
                if code in _GOODBYES or code == 4001:
                    reason = closed.rcvd.reason if closed.rcvd else ""
                    self.call.problems.append(f"closed with {code} {reason}".strip())
                if code in _GOODBYES:
                    self._over = f"the gateway closed with {code}"

    async def hang_up(self) -> None:
        """Says goodbye, and waits until the gateway has read all that was sent before it."""
        self._over = "hung up"
        if self._socket is not None:
            self._socket.close_timeout = GOODBYE_SECONDS
            await self._socket.close()

    async def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        self.call.seen.append(Seen(time.monotonic(), self._connections, event.get("event_id", ""), kind))
        self.types.append(kind)
        if kind == "session.created":
            self.call.session_id = event["session"]["id"]
            self.opened_at = time.monotonic()
            self._created.set()
        elif kind == CONFIRMED:
            self._unconfirmed.confirm(event["appends"])
        elif kind == "error":
            code = event["error"].get("code")
            if code not in _KNOWN_ALREADY:
                self.call.problems.append(f"error {code}: {event['error'].get('message')}")
        elif kind in ("conversation.item.added", "conversation.item.created"):
            self.confirmed_items.add(event["item"]["id"])
        elif kind.startswith("response."):
            self._take_response(kind, event)
        await self._tell()

    def _take_response(self, kind: str, event: dict[str, Any]) -> None:
        response_id = event.get("response_id") or event["response"]["id"]
        answer = self._answers.get(response_id)
        if answer is None:
            answer = self._answers[response_id] = Answer(response_id, self.spoken)
            self.call.answers.append(answer)
            self._digests[response_id] = hashlib.sha256()
        if kind == "response.created":
            number = (event["response"].get("metadata") or {}).get("question")
            if number is not None:
                answer.question = int(number)
        elif kind == "response.output_audio.delta":
            self._digests[response_id].update(base64.b64decode(event["delta"]))
        elif kind == "response.output_text.done":
            answer.text = event["text"]
        elif kind == "response.output_audio_transcript.done":
            answer.text = event["transcript"]
        elif kind == "response.done":
            answer.status = event["response"]["status"]
            answer.audio = self._digests[response_id].hexdigest()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Raises Missing."""
        try:
            async with self._changed, asyncio.timeout(seconds):
                await self._changed.wait_for(lambda: self._over is not None or condition())
        except TimeoutError:
            raise Missing(f"no {what} within {seconds:.0f} s") from None
        if not condition():
            raise Missing(f"no {what}: {self._over}")

    async def send(self, *messages: Mapping[str, Any]) -> None:
        """Each once, over a connection that has been answered. A connection that has ended has not sent it."""
        for message in messages:
            await self._send(json.dumps(message))

    async def _send(self, text: str) -> None:
        while True:
            await self._created.wait()
            if self._socket is not None:
                try:
                    await self._socket.send(text)
                    return
                except ConnectionClosed:
                    pass
            await asyncio.sleep(0.01)

    async def _append(self, packet: bytes) -> None:
        audio = base64.b64encode(packet).decode()
        message = f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}'
        if self.call.acknowledged:
            self._unconfirmed.add(message)
            await self._send_kept()
        else:
            await self._send(message)
        self.call.sent_at.append(time.monotonic())

    async def _send_kept(self) -> None:
        """What this connection has not got yet, if there is one that has been answered."""
        while self._created.is_set() and self._socket is not None and (message := self._unconfirmed.take()) is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(message)

    async def all_confirmed(self) -> None:
        """Returns when the broker has all that was spoken. Raises Missing."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.call.acknowledged and self._unconfirmed.confirmed < self._unconfirmed.added:
            await self._send_kept()
            await asyncio.sleep(0.02)
            if self._over is not None or time.monotonic() > deadline:
                missing = self._unconfirmed.added - self._unconfirmed.confirmed
                raise Missing(f"{missing} appends were never confirmed")


@dataclass
class Caller:
    """Makes calls until it is told to stop. `calls`: all of them, the one under way last."""

    number: int
    script: Script
    urls: Sequence[str]
    key: str
    seed: int = 0
    acknowledged: bool = True
    calls: list[Call] = field(default_factory=list)
    _last: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """No further question, once the one under way is answered."""
        self._last.set()

    async def run(self, calls: int = 1_000_000) -> None:
        chance = random.Random(self.seed * 1000 + self.number)
        for _ in range(calls):
            if self._last.is_set():
                return
            await self._one_call(chance)

    async def _one_call(self, chance: random.Random) -> None:
        call = Call(self.number, self.script.spoken, acknowledged=self.script.spoken and self.acknowledged)
        self.calls.append(call)
        line = Line(call, self.urls, self.key)
        tasks = [asyncio.create_task(line.keep())]
        try:
            await line.until(lambda: bool(call.session_id), "session.created")
            if self.script.spoken:
                tasks.append(asyncio.create_task(line.microphone.run()))
            else:
                await self._configure(line)
            for number, text in enumerate(self.script.questions):
                if self._last.is_set():
                    break
                await asyncio.sleep(chance.uniform(*self.script.pause))
                await (self._speak(line, number, text) if self.script.spoken else self._type(line, number, text))
            for task in tasks[1:]:  # the microphone
                task.cancel()
            await line.all_confirmed()
        except Missing as missing:
            call.gave_up = str(missing)
        finally:
            for task in tasks[1:]:  # the microphone
                task.cancel()
            await line.hang_up()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _configure(self, line: Line) -> None:
        await line.send(_TEXT_ONLY)
        await self._confirmed(line, lambda: "session.updated" in line.types, lambda: line.send(_TEXT_ONLY))

    async def _speak(self, line: Line, number: int, text: str) -> None:
        before, first, begin, line.spoken = line.ended, line.call.sent, len(line.types), number
        spoken_until = await line.microphone.say(self.script.clips[text])
        asked = Asked(number, spoken_until, first, line.call.sent + ENOUGH_SILENCE_PACKETS)
        line.call.asked.append(asked)
        await line.until(lambda: line.ended > before, f"answer to question {number}")
        asked.done_at, asked.heard = time.monotonic(), line.heard_since(begin)

    async def _type(self, line: Line, number: int, text: str) -> None:
        item_id = f"q{number}"
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "id": item_id, "role": "user", "content": content}
        messages = (
            {"type": "conversation.item.create", "item": item},
            {"type": "response.create", "response": {"metadata": {"question": str(number)}}},
        )
        asked, begin = Asked(number, time.monotonic()), len(line.types)
        line.call.asked.append(asked)
        await line.send(*messages)

        def answers() -> list[Answer]:
            return [answer for answer in line.call.answers if answer.question == number]

        async def again() -> None:
            asked.resent = True
            await line.send(*(messages[1:] if item_id in line.confirmed_items else messages))

        await self._confirmed(line, lambda: bool(answers()), again)
        await line.until(lambda: any(answer.status for answer in answers()), f"answer to question {number}")
        asked.done_at, asked.heard = time.monotonic(), line.heard_since(begin)

    async def _confirmed(self, line: Line, condition: Callable[[], bool], again: Callable[[], Any]) -> None:
        """Waits for `condition`. A connection that was lost meanwhile may have taken what was sent with it: some time
        after the caller is back, it is sent again. Raises Missing."""
        cuts, deadline = len(line.call.cuts), time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await line.until(condition, "confirmation of a client event", RESEND_SECONDS)
            except Missing:
                if time.monotonic() > deadline:
                    raise Missing(f"no confirmation of a client event within {PATIENCE_SECONDS:.0f} s") from None
            back = len(line.call.cuts) > cuts and line.opened_at > line.call.cuts[-1].at
            if back and time.monotonic() - line.opened_at >= RESEND_SECONDS:
                cuts = len(line.call.cuts)
                await again()
