"""A caller that stops reading in the middle of a long answer: its replies wait at the broker, and somebody notices."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from litevoice_dev.scenarios.audits import audited_events
from litevoice_dev.scenarios.place import BacklogWatch, Place, Show
from litevoice_dev.scenarios.printing import backlog_table
from litevoice_dev.speech import speak
from litevoice_dev.tally import Tally
from litevoice_dev.voice_client import Answer, VoiceClient
from litevoice_operator.api.backlog_alert import Culprit

QUESTION = "tell me about the moon"
"""The answer takes half a minute: much more than what fits between the gateway and a caller that does not read."""


@dataclass(slots=True)
class Outcome:
    """`client`: the caller's address as it knows it itself; `top`: what was noticed."""

    session_id: str = ""
    client: str = ""
    top: list[Culprit] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    events: Tally = field(default_factory=lambda: Tally("events", 0, 0))

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, but for the tally."""
        found = []
        mine = next((culprit for culprit in self.top if culprit.session == self.session_id), None)
        if mine is None:
            found.append("the session is not listed with a backlog")
        elif not (mine.backlog and mine.pod and mine.client):
            found.append("the list does not tell backlog, gateway and client of the session")
        if self.answer.status != "completed":
            found.append(f"its answer is {self.answer.status or 'absent'}, not completed")
        return found


def narrow_socket(url: str) -> socket.socket:
    """A connection whose receive buffer is small, so that a reader that stops is noticed soon."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.connect((parts.hostname, parts.port or 80))
    connection.setblocking(False)
    return connection


async def stop_reading(place: Place, watch: BacklogWatch, show: Show) -> Outcome:
    """The whole call; the caller reads on when `watch` has noticed."""
    outcome = Outcome()
    connection = narrow_socket(place.direct_url)
    address, port = connection.getsockname()
    outcome.client = f"{address}:{port}"
    options = {"sock": connection, "max_queue": 2, "ping_interval": None}  # a device that hangs asks for nothing
    async with VoiceClient(place.direct_url, place.api_key, websocket_options=options) as call:
        outcome.session_id = call.session_id
        start = len(call.heard)
        spoken_until = await call.microphone.say(await speak(QUESTION))
        await call.wait_for(lambda: bool(call.answer(start, 0).audio), 60, "the first answer audio")
        call.stop_reading()
        show(f"session {call.session_id} has stopped reading while a long answer is spoken")
        outcome.top = await watch.seen(call.session_id)
        for line in backlog_table(outcome.top[:3]):
            show(f"  {line}")
        call.read_on()
        show("it reads on")
        await call.wait_for(lambda: call.answers_since(start) >= 1, 120, "the rest of the long answer")
        outcome.answer = call.answer(start, spoken_until)
        await watch.gone(call.session_id)
    outcome.events = await audited_events(place, call)
    return outcome
