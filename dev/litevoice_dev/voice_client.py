"""A caller: the unchanged `openai` client, a microphone that is always on, and a record of all that was heard."""

from __future__ import annotations

import asyncio
import base64
import collections
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from websockets.exceptions import ConnectionClosed

from litevoice_dev.microphone import PACKET_SECONDS, Microphone
from litevoice_dev.unconfirmed import Unconfirmed

KEPT_BYTES = 4 << 20
"""Of appends, in base64, until the broker has them: over a minute of audio."""
CONFIRMED = "litevoice.input_audio_buffer.confirmed"


@dataclass(frozen=True, slots=True)
class Heard:
    """One server event, and when it came (time.monotonic())."""

    at: float
    event: RealtimeServerEvent

    @property
    def type(self) -> str:
        return self.event.type

    @property
    def event_id(self) -> str:
        return str(getattr(self.event, "event_id", ""))


@dataclass(slots=True)
class Answer:
    """What one question led to. Times in seconds; audio is PCM16 mono at 24 kHz."""

    question: str = ""
    text: str = ""
    status: str = ""
    reason: str = ""
    audio: bytearray = field(default_factory=bytearray)
    first_audio_at: float = 0.0
    spoken_until: float = 0.0

    @property
    def latency_seconds(self) -> float:
        """End of speech (the last spoken packet was sent) to the first answer audio."""
        return self.first_audio_at - self.spoken_until


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The connection was lost at `lost_at` with `code`, after `sent` packets; `back_at` is the first event after it."""

    code: int | None
    lost_at: float
    sent: int
    back_at: float


class CallFailed(RuntimeError):  # noqa: N818 - reads as what it is
    """The gateway answered with an error event, or the connection could not be kept."""


class VoiceClient:
    """A call. `async with VoiceClient(url, key) as call: answer = await call.ask(pcm)`.

    Args:
        url: WebSocket base, e.g. ``ws://127.0.0.1:8080/v1``.
        more_urls: where else to look for a gateway when the connection is lost, where no Service stands before them.
        model: of the pipeline that answers.
        session: passed to `session.update` when given.
        acknowledged: what the broker has not confirmed is kept, and sent again on the next connection. Without it, what
            is under way when a connection is cut is lost.
        mute: no microphone; what is said is given to `append`.
        websocket_options: passed to the WebSocket library (e.g. a socket with a small receive buffer).
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        more_urls: Sequence[str] = (),
        model: str = "litevoice",
        session: dict[str, Any] | None = None,
        acknowledged: bool = True,
        mute: bool = False,
        websocket_options: dict[str, Any] | None = None,
    ) -> None:
        self._urls = collections.deque([url, *more_urls])
        self._client = AsyncOpenAI(api_key=api_key, base_url="http://unused.invalid/v1", websocket_base_url=url)
        self._model = model
        self._session = session
        self._acknowledged = acknowledged
        self._mute = mute
        self._unconfirmed: Unconfirmed[str] | None = None
        self._coming_back = False
        self._websocket_options = websocket_options or {}
        self._reading = asyncio.Event()
        self._reading.set()
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None
        self._lost: tuple[int | None, float, int] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.heard: list[Heard] = []
        self.reconnects: list[Reconnect] = []
        self.resent = 0
        self.session_id = ""
        self.microphone = Microphone(self.append)

    async def __aenter__(self) -> Self:
        self._connection = await self._client.realtime.connect(
            model=self._model,
            extra_query={"confirmed_appends": "0"} if self._acknowledged else {"can_return": "true"},
            on_reconnecting=self._on_reconnecting,
            max_retries=40,
            initial_delay=0.1,
            max_delay=1.0,
            websocket_connection_options=self._websocket_options,  # type: ignore[arg-type]
        ).enter()
        self._tasks.append(asyncio.create_task(self._guard(self._listen())))
        await self.wait_for(lambda: bool(self.session_id), 20, "session.created")
        if self._session is not None:
            await self._connection.session.update(session=self._session)  # type: ignore[arg-type]
            await self.wait_for(lambda: any(h.type == "session.updated" for h in self.heard), 20, "session.updated")
        if not self._mute:
            self._tasks.append(asyncio.create_task(self._guard(self.microphone.run())))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()
        await self._client.close()

    async def ask(self, pcm: bytes, timeout_seconds: float = 90) -> Answer:
        """Speaks `pcm` and returns the complete answer to it."""
        start = len(self.heard)
        spoken_until = await self.microphone.say(pcm)
        await self.wait_for(lambda: self.answers_since(start) >= 1, timeout_seconds, "response.done")
        return self.answer(start, spoken_until)

    def answer(self, start: int, spoken_until: float) -> Answer:
        """The answer among what was heard since index `start` of `heard`."""
        answer = Answer(spoken_until=spoken_until)
        for item in self.heard[start:]:
            event: Any = item.event
            if item.type == "conversation.item.input_audio_transcription.completed":
                answer.question = event.transcript
            elif item.type == "response.output_audio.delta":
                answer.first_audio_at = answer.first_audio_at or item.at
                answer.audio += base64.b64decode(event.delta)
            elif item.type == "response.output_audio_transcript.done":
                answer.text = event.transcript
            elif item.type == "response.done":
                answer.status = event.response.status
                details = event.response.status_details
                answer.reason = (details and ((details.error and details.error.message) or details.reason)) or ""
        return answer

    def answers_since(self, start: int) -> int:
        """How many responses have ended since index `start` of `heard`."""
        return sum(1 for item in self.heard[start:] if item.type == "response.done")

    def stop_reading(self) -> None:
        """From now on nothing is read from the socket, as if the caller's device hung."""
        self._reading.clear()

    def read_on(self) -> None:
        self._reading.set()

    async def wait_for(self, condition: Callable[[], bool], timeout_seconds: float, what: str) -> None:
        """Waits until `condition` holds, looking again at each event. Raises CallFailed."""

        def settled() -> bool:
            return self._failure is not None or condition()

        try:
            async with self._changed, asyncio.timeout(timeout_seconds):
                await self._changed.wait_for(settled)
        except TimeoutError:
            last = self.heard[-1].type if self.heard else "nothing"
            raise CallFailed(f"no {what} within {timeout_seconds} s; the last event was {last}") from None
        if self._failure is not None:
            raise CallFailed(f"waiting for {what}: {self._failure}") from self._failure

    async def append(self, packet: bytes) -> None:
        """Sends PCM16 at 24 kHz, now or as soon as there is a connection again."""
        audio = base64.b64encode(packet).decode()
        if self._unconfirmed is None:
            await self._once(lambda: self._connection.input_audio_buffer.append(audio=audio))
        else:
            self._unconfirmed.add(audio)
            await self._send_kept(self._unconfirmed)

    async def commit(self) -> None:
        """Ends an utterance, without turn detection."""
        await self._once(self._connection.input_audio_buffer.commit)

    async def all_confirmed(self, timeout_seconds: float) -> None:
        """Returns when the broker has everything that was appended; with acknowledgements only. Raises CallFailed."""
        unconfirmed = self._unconfirmed
        if unconfirmed is None:
            return
        deadline = time.monotonic() + timeout_seconds
        while unconfirmed.confirmed < unconfirmed.added:
            await self._send_kept(unconfirmed)
            await asyncio.sleep(PACKET_SECONDS)
            if self._failure is not None:
                raise CallFailed(f"waiting for confirmations: {self._failure}") from self._failure
            if time.monotonic() > deadline:
                missing = unconfirmed.added - unconfirmed.confirmed
                raise CallFailed(f"{missing} appends are not confirmed after {timeout_seconds} s")

    async def _send_kept(self, unconfirmed: Unconfirmed[str]) -> None:
        """All that this connection has not got yet. Between the loss of one and `session.created` of the next nothing
        is sent: what comes first is what was not confirmed."""
        while self._failure is None and not self._coming_back and (audio := unconfirmed.take()) is not None:
            try:
                await self._connection.input_audio_buffer.append(audio=audio)
            except ConnectionClosed:
                return  # it is kept

    async def _once(self, send: Callable[[], Awaitable[None]]) -> None:
        """Between a Close and the SDK's reconnect, `send` raises without having sent."""
        while self._failure is None:
            try:
                await send()
                return
            except ConnectionClosed:
                await asyncio.sleep(0.01)

    async def _listen(self) -> None:
        connection = aiter(self._connection)
        while True:
            await self._reading.wait()
            event = await anext(connection)
            if not self._reading.is_set():
                await self._reading.wait()
            await self._take(Heard(time.monotonic(), event))

    async def _take(self, heard: Heard) -> None:
        if self._lost is not None:
            self.reconnects.append(Reconnect(*self._lost, heard.at))
            self._lost = None
        self.heard.append(heard)
        event: Any = heard.event
        if heard.type == "session.created":
            self._created(event.session)
        if heard.type == CONFIRMED and self._unconfirmed is not None:
            self._unconfirmed.confirm(event.appends)
        if heard.type == "error":
            raise CallFailed(f"{event.error.code}: {event.error.message}")
        async with self._changed:
            self._changed.notify_all()

    def _created(self, session: Any) -> None:
        """A gateway of an older release does not count appends, and says so by its silence."""
        if not self.session_id and self._acknowledged and getattr(session, "litevoice", None):
            self._unconfirmed = Unconfirmed(KEPT_BYTES)
        self.session_id = session.id
        if self._unconfirmed is not None:
            self.resent += self._unconfirmed.sent_before
            self._coming_back = False

    def _on_reconnecting(self, event: Any) -> Any:
        self._lost = self._lost or (getattr(event, "close_code", None), time.monotonic(), self.microphone.sent)
        self._urls.rotate(-1)
        self._client.websocket_base_url = self._urls[0]
        seen = next((h.event_id for h in reversed(self.heard) if h.event_id), "")
        query = {"session_id": self.session_id, "last_event_id": seen}
        if self._unconfirmed is not None:
            self._coming_back = True
            query["confirmed_appends"] = str(self._unconfirmed.come_back())
        return {"extra_query": query}

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except StopAsyncIteration:
            self._failure = CallFailed("the connection was closed")
        except Exception as error:
            self._failure = error
        async with self._changed:
            self._changed.notify_all()
