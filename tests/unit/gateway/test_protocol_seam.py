"""The session core and a connection serve a protocol that they have never seen: see `echo_protocol.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.producer import Done
from litevoice_contracts import events
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_contracts.names import new_session_id
from litevoice_contracts.packets import Audio, EpochEnd
from litevoice_contracts.positions import LAST_PART, START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway import frames
from litevoice_gateway.connections import Connection
from litevoice_gateway.limits import Limits
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols import UpgradeRequest
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.protocols.registry import PROTOCOLS
from litevoice_gateway.session import Session
from litevoice_gateway.upgrade import Admitted, GatewayState, Rejected, admit
from tests.unit.gateway.driver import Driver
from tests.unit.gateway.echo_protocol import ACK, GOAWAY, HELLO, SOUND, SUBPROTOCOL, TROUBLE, Echo, EchoFactory

KEY = b"k" * 32
READY = GatewayState(draining=False, unready="", full="")
HELLO_FRAME = HELLO + b"s_1 g711_ulaw/8000"


def packet(number: int, audio: bytes = b"ab") -> bytes:
    return number.to_bytes(4, "big") + audio


def acknowledged(number: int) -> bytes:
    return ACK + number.to_bytes(4, "big")


# The session core


def driver(resume: EventId | None = None) -> Driver:
    made = Driver(protocol=Echo(resume=resume))
    made.position = made.session.first_position
    return made


def sent(made: Driver) -> list[bytes]:
    assert all(command.binary for command in made.all(do.Send))
    return [command.data for command in made.all(do.Send)]


def say(made: Driver, *messages: str | bytes) -> None:
    for message in messages:
        made.session.messages([message], made.now)
    made.take()


def test_binary_frames_become_packets_in_the_protocols_own_codec() -> None:
    made = driver()
    say(made, packet(7, b"one"), packet(8, b"two"))
    made.pass_time(0.2)
    assert made.packets == [Audio(b"one"), Audio(b"two")]
    assert [envelope.codec for envelope in made.published] == ["g711_ulaw/8000"]
    assert [envelope.client_seqs for envelope in made.published] == [[7, 8]]
    assert sent(made) == [HELLO_FRAME]
    assert made.observed("client_events") == [do.Observe("client_events", "audio", 2)]


def test_acknowledgements_are_cumulative_and_follow_the_brokers() -> None:
    made = driver()
    say(made, packet(7), packet(8))
    made.pass_time(0.2)
    say(made, packet(9))
    made.pass_time(0.2)
    first, second = made.all(do.Publish)
    assert (first.client_seq, second.client_seq) == (8, 9)
    assert sent(made) == [HELLO_FRAME], "nothing is confirmed yet"
    for publish in (first, second):
        made.session.confirmed(publish.fresh, made.now, publish.client_seq)
        made.take()
    assert sent(made)[1:] == [acknowledged(8), acknowledged(9)]


def test_a_replay_is_not_acknowledged_again() -> None:
    made = driver()
    say(made, packet(7))
    made.pass_time(0.2)
    made.clear()
    made.down(events.TurnReplay("gap"))
    (replay,) = made.all(do.Publish)
    assert replay.envelope.packets == [Audio(b"ab")]
    assert (replay.fresh, replay.client_seq) == (0, None)
    assert replay.envelope.client_seqs == [7], "the worker sees by it what it has"


def test_positions_come_through_and_a_client_that_comes_back_gets_the_rest() -> None:
    made = driver()
    made.down(events.AudioDelta("r", "i", b"x"))
    made.down(events.AudioDelta("r", "i", b"y"))
    assert sent(made)[1:] == [SOUND + bytes(8) + b"x", SOUND + bytes(7) + b"\1y"]
    again = driver(EventId(0, -1, LAST_PART))
    again.down(events.AudioDelta("r", "i", b"x"))
    again.down(events.AudioDelta("r", "i", b"y"))
    assert sent(again) == [HELLO_FRAME, SOUND + bytes(7) + b"\1y"]


def test_goaway_comes_once_and_before_the_close_while_packets_are_still_acknowledged() -> None:
    made = driver()
    made.down(events.SpeechStarted("i", 0))
    made.session.drain(made.now, at_edge=True, by=made.now + 2)
    made.take()
    assert sent(made)[1:] == [GOAWAY]
    assert made.closes == [], "the turn is open"
    say(made, packet(1))
    made.pass_time(0.2)
    made.session.confirmed(1, made.now, 1)
    made.pass_time(3)
    assert sent(made)[1:] == [GOAWAY, acknowledged(1)]
    assert made.closes == [1012]


def test_a_session_that_may_complete_is_told_at_once_too_and_only_once() -> None:
    made = driver()
    made.session.drain(made.now, at_edge=False, by=made.now + 1)
    made.take()
    assert sent(made)[1:] == [GOAWAY]
    made.pass_time(1.1)
    kinds = [type(command) for command in made.log if isinstance(command, do.Send | do.SendClose)]
    assert kinds == [do.Send, do.Send, do.SendClose]


def test_nothing_is_acknowledged_after_the_close() -> None:
    made = driver()
    say(made, packet(1))
    made.session.drain(made.now, at_edge=True, by=made.now)
    made.take()
    made.clear()
    made.session.confirmed(1, made.now, 1)
    made.take()
    assert sent(made) == []


def test_text_is_refused_in_the_protocols_own_words() -> None:
    made = driver()
    say(made, "text", b"1234")
    assert sent(made)[1:] == [TROUBLE + b"bad_frame"] * 2


def test_openai_refuses_binary_frames_and_lives_on() -> None:
    made = Driver()
    made.clear()
    say(made, packet(7))
    assert made.sent[0]["error"]["code"] == "invalid_message"
    assert made.sent[0]["error"]["param"] == "message"
    assert made.closes == []


# The upgrade


def ask(target: str, headers: Mapping[str, str]) -> Admitted | Rejected:
    request = UpgradeRequest.parse(target, headers)
    known = {"alices-key": "alice"}
    return admit(request, lambda _: READY, (EchoFactory(), *PROTOCOLS), known.get, KEY)


ECHO = {"sec-websocket-protocol": f"other, {SUBPROTOCOL}"}


def test_path_and_subprotocol_choose() -> None:
    echo = ask("/v1/realtime?key=alices-key", ECHO)
    openai = ask("/v1/realtime", {"authorization": "Bearer alices-key"})
    assert isinstance(echo, Admitted)
    assert isinstance(openai, Admitted)
    assert isinstance(echo.protocol, Echo)
    assert isinstance(openai.protocol, OpenAIRealtime)
    assert echo.protocol.subprotocol == SUBPROTOCOL


def test_another_connection_is_another_object() -> None:
    one, two = ask("/v1/realtime?key=alices-key", ECHO), ask("/v1/realtime?key=alices-key", ECHO)
    assert isinstance(one, Admitted)
    assert isinstance(two, Admitted)
    assert one.protocol is not two.protocol


MINE, THEIRS = (
    new_session_id(KEY, "alice", 8),
    new_session_id(KEY, "bob", 8),
)


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        ("", 401, b'{"no": "invalid_api_key"}'),
        ("key=alices-key&session={theirs}", 403, b'{"no": "session_not_yours"}'),
        ("key=alices-key&session={mine}&heard=x", 400, b'{"no": "bad_position"}'),
    ],
)
def test_refusals_have_the_protocols_own_form(query: str, status: int, body: bytes) -> None:
    answer = ask("/v1/realtime?" + query.format(mine=MINE, theirs=THEIRS), ECHO)
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.body) == (status, body)


def test_coming_back_without_a_position_means_from_the_start() -> None:
    answer = ask(f"/v1/realtime?key=alices-key&session={MINE}", ECHO)
    assert isinstance(answer, Admitted)
    assert (answer.protocol.session_id, answer.protocol.resume) == (MINE, START)


# The connection


class Pod:
    """A `ConnectionHost` that keeps what is published until it is confirmed."""

    reads_in_beats = False

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.waiting: list[tuple[UpEnvelope, Done]] = []
        self.handed_over: list[tuple[bytes, Done]] = []
        self.lost_packets = 0
        self.ends: list[do.End] = []

    def await_departure(self, connection: Connection, *, soon: bool) -> None:
        connection.depart()

    def publish(self, connection: Connection, envelope: bytes, done: Done) -> None:
        self.waiting.append((UpEnvelope.decode(envelope), done))

    def hand_over(self, session_id: str, body: bytes, done: Done) -> None:
        self.handed_over.append((body, done))

    def confirm(self) -> list[UpEnvelope]:
        waiting, self.waiting = self.waiting, []
        handed_over, self.handed_over = self.handed_over, []
        for _, done in [*waiting, *handed_over]:
            done(None)
        return [envelope for envelope, _ in waiting]

    def pause_replies(self, connection: Connection) -> None: ...

    async def resume_replies(self, connection: Connection) -> None: ...

    def wake_replies(self) -> None: ...

    def count_slow_reader(self, change: int) -> None: ...

    def lost(self, packets: int) -> None:
        self.lost_packets += packets

    def ended(self, connection: Connection, end: do.End) -> None:
        self.ends.append(end)

    def forget_if_over(self, connection: Connection) -> None: ...


class Wire:
    """A `Transport` that writes down what it is told."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def send(self, data: bytes, *, binary: bool) -> None:
        assert binary
        self.log.append(data)

    def send_close(self, code: int, reason: str) -> None:
        self.log.append(code)

    def ping(self) -> None: ...

    def disconnect(self) -> None:
        self.log.append("disconnected")

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def connected() -> tuple[Connection, Pod, Wire]:
    pod, wire = Pod(), Wire()
    session = Session(Opening("s_1", lambda: 1), Echo(), Limits(), asyncio.get_running_loop().time())
    connection = Connection(pod, session, wire, 0)
    connection.opened()
    return connection, pod, wire


async def test_from_the_frame_to_the_acknowledgement_and_goaway() -> None:
    connection, pod, wire = await connected()
    assembler = frames.Assembler(1000)
    for number in (1, 2):
        message = assembler.frame(frames.BINARY, packet(number), fin=True, reserved=False)
        assert message is not None
        connection.message(message)
    assert wire.log == [HELLO_FRAME], "the broker has not confirmed"
    assert [envelope.packets for envelope in pod.confirm()] == [[Audio(b"ab")], [Audio(b"ab")]]
    assert wire.log == [HELLO_FRAME, acknowledged(1), acknowledged(2)]
    connection.delivered(0, DownEnvelope(1, 1, [events.AudioDelta("r", "i", b"x")]).encode())
    connection.drain(at_edge=True, by=0.0)
    assert wire.log[3:] == [SOUND + bytes(8) + b"x", GOAWAY, 1012]
    connection.message(frames.PeerClose(1012))
    assert [envelope.packets for envelope in pod.confirm()] == [[EpochEnd()]]
    assert wire.log[-1] == "disconnected"
    assert (pod.ends, pod.lost_packets) == ([do.End(True, "moved", 0)], 0)
    rendered = pod.metrics.render().decode()
    assert 'litevoice_gateway_client_events_total{type="audio"} 2.0' in rendered
    assert "litevoice_gateway_packets_published_total 3.0" in rendered
    assert 'litevoice_gateway_closes_total{code="1012"} 1.0' in rendered


async def test_what_the_broker_did_not_take_is_not_acknowledged() -> None:
    connection, pod, wire = await connected()
    for number in (1, 2):
        connection.message(frames.Binary(packet(number)))
    (_, first), (_, second) = pod.waiting
    first(BrokerUnavailable("gone"))
    second(None)
    assert wire.log == [HELLO_FRAME, 1013], "an acknowledgement of the second would cover the first"
    assert pod.lost_packets == 1
