"""What a connection has read and not decoded yet: it waits for a bundle, and comes before whatever happens later."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_contracts.packets import Audio, Commit, EpochEnd, Packet
from litevoice_gateway import frames
from litevoice_gateway.connections import FRAMES_AT_ONCE, UNREAD_BYTES, UNREAD_MESSAGES, Connection
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.session import Session
from tests.unit.gateway.driver import PCM
from tests.unit.gateway.test_protocol_seam import Pod


class Timetable(Pod):
    """Bundles leave when the test says so."""

    reads_in_beats = True

    def __init__(self) -> None:
        super().__init__()
        self.passengers: list[Connection] = []
        self.soon: list[bool] = []

    def await_departure(self, connection: Connection, *, soon: bool) -> None:
        self.soon.append(soon)
        if connection not in self.passengers:
            self.passengers.append(connection)

    def board(self) -> None:
        for connection in self.passengers:
            connection.board()

    def depart(self) -> None:
        passengers, self.passengers = self.passengers, []
        for connection in passengers:
            connection.depart()

    @property
    def packets(self) -> list[Packet]:
        return [packet for envelope, _ in self.waiting for packet in envelope.packets]


class Wire:
    """A `Transport` that writes down what it is told."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closes: list[int] = []
        self.reading = True

    def send(self, data: bytes, *, binary: bool) -> None:
        assert not binary
        self.sent.append(data.decode())

    def send_close(self, code: int, reason: str) -> None:
        self.closes.append(code)

    def ping(self) -> None: ...

    def disconnect(self) -> None: ...

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def connected(*, opened: bool = True) -> tuple[Connection, Timetable, Wire]:
    pod, wire = Timetable(), Wire()
    now = asyncio.get_running_loop().time()
    session = Session(Opening("s_1", lambda: 1), OpenAIRealtime(lambda: "item"), Limits(), now)
    connection = Connection(pod, session, wire, 0)
    if opened:
        connection.opened()
        wire.sent.clear()
    return connection, pod, wire


def audio(content: str = PCM) -> frames.Text:
    return frames.Text(json.dumps({"type": "input_audio_buffer.append", "audio": content}))


SPOKEN = Audio(b"\1\2" * 480)


async def test_what_a_client_says_is_read_when_the_bundle_leaves_that_takes_it_along() -> None:
    connection, pod, wire = await connected()
    connection.message(audio())
    connection.message(audio("no base64!"))
    connection.message(audio())
    assert (len(pod.passengers), pod.packets, wire.sent) == (1, [], [])
    assert connection.held_bytes == sum(len(message.content) for message in (audio(), audio("no base64!"), audio()))
    pod.depart()
    assert pod.packets == [SPOKEN, SPOKEN]
    assert ["invalid_base64" in message for message in wire.sent] == [True]
    pod.depart()
    assert pod.passengers == [], "nothing else waits for a departure"


async def test_the_way_to_the_broker_is_timed_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("litevoice_gateway.connections.time.monotonic", lambda: clock[0])
    connection, pod, _ = await connected()

    def timed() -> tuple[float, float]:
        found = pod.metrics.registry.get_sample_value
        name = "litevoice_gateway_uplink_seconds"
        return found(f"{name}_count") or 0, found(f"{name}_sum") or 0

    for read_at, confirmed_at, count, total in (
        (1000.0, 1000.25, 1, 0.25),
        (1000.5, 1001.0, 1, 0.25),
        (1002.0, 1002.5, 2, 0.75),
    ):
        clock[0] = read_at
        connection.message(audio())
        pod.depart()
        clock[0] = confirmed_at
        pod.confirm()
        assert timed() == (count, total)


async def test_much_is_read_at_once() -> None:
    connection, pod, _ = await connected()
    many = UNREAD_BYTES // len(audio().content) + 1
    for _ in range(many):
        assert connection.session.held_bytes == 0
        connection.message(audio())
    assert connection.session.held_bytes == connection.held_bytes == many * len(SPOKEN.data)
    pod.depart()
    assert pod.packets == [SPOKEN] * many


async def test_many_are_read_at_once() -> None:
    connection, pod, wire = await connected()
    for _ in range(UNREAD_MESSAGES - 1):
        connection.message(audio("nonsense!"))
    before = len(wire.sent)
    connection.message(audio("nonsense!"))
    assert (before, len(wire.sent)) == (0, UNREAD_MESSAGES), "an error for each"
    pod.depart()
    assert wire.reading


async def test_frames_that_are_no_messages_count_like_messages() -> None:
    connection, _, wire = await connected()
    burst = 2 * Limits().max_events_per_second
    read = []
    for _ in range(burst + FRAMES_AT_ONCE):
        connection.frame()
        read.append(wire.reading)
    connection.session.tick(asyncio.get_running_loop().time() + 2)
    connection.run()
    assert burst - FRAMES_AT_ONCE < read.index(False) + 1 <= burst
    assert not read[-1]
    assert (wire.reading, wire.closes) == (True, []), "it goes on later"


async def test_frames_of_a_session_that_is_not_restored_yet_change_nothing() -> None:
    connection, _, wire = await connected(opened=False)
    for _ in range(10 * Limits().max_events_per_second):
        connection.frame()
    assert wire.reading


async def test_what_is_not_audio_is_read_at_once_in_its_order() -> None:
    connection, pod, wire = await connected()
    connection.message(audio())
    connection.message(frames.Text('{"type": "input_audio_buffer.commit"}'))
    connection.message(frames.Text("{}"))
    connection.message(audio())
    assert len(wire.sent) == 1, "the error is not late"
    assert pod.soon == [False, True], "somebody waits for an answer"
    pod.depart()
    assert pod.packets == [SPOKEN, Commit(), SPOKEN]


@pytest.mark.parametrize(
    ("happens", "closes"),
    [
        (Connection.evicted, [4001]),
        (Connection.lost, []),
        (Connection.cut, []),
        (Connection.refused, [1013]),
        (lambda connection: connection.message(frames.PeerClose(1000)), [1000]),
        (lambda connection: connection.message(frames.Broken(1002, "nonsense")), [1002]),
        (lambda connection: connection.drain(at_edge=True, by=0.0), [1012]),
    ],
    ids=["evicted", "lost", "cut", "refused", "closed by the client", "broken", "drained"],
)
async def test_what_was_said_before_the_end_is_still_published(
    happens: Callable[[Connection], None], closes: list[int]
) -> None:
    connection, pod, wire = await connected()
    for _ in range(3):
        connection.message(audio())
    happens(connection)
    assert [packet for packet in pod.packets if packet != EpochEnd()] == [SPOKEN] * 3
    assert (wire.closes, pod.lost_packets) == (closes, 0)


async def test_before_a_session_is_open_its_client_waits_for_no_bundle() -> None:
    connection, pod, _ = await connected(opened=False)
    connection.message(audio())
    assert pod.passengers == []
    connection.opened()
    pod.depart()
    assert pod.packets == [SPOKEN]


# When the socket is read


async def test_who_speaks_is_read_once_per_beat() -> None:
    connection, pod, wire = await connected()
    connection.message(audio())
    reading = [wire.reading]
    for beat in range(1, 4):
        pod.depart()
        reading.append(wire.reading)
        pod.board()
        reading.append(wire.reading)
        connection.message(audio())
        assert len(pod.packets) == beat
    assert reading == [True] + [False, True] * 3, "left alone until the next bundle is about to leave"
    pod.depart()
    pod.board()
    pod.depart()
    assert wire.reading, "nothing came: it may speak at any time"
    assert pod.passengers == []


async def test_who_sends_much_is_read_as_it_comes() -> None:
    connection, pod, wire = await connected()
    for _ in range(UNREAD_BYTES // len(audio().content) + 2):
        connection.message(audio())
    pod.depart()
    much = wire.reading
    connection.message(audio())
    pod.depart()
    assert (much, wire.reading) == (True, False)


async def test_who_must_not_be_read_is_not_read_for_a_bundle_either() -> None:
    connection, pod, wire = await connected()
    connection.message(audio())
    pod.depart()
    connection.hold_back(True)
    pod.board()
    before = wire.reading
    connection.hold_back(False)
    assert (before, wire.reading) == (False, True)


@pytest.mark.parametrize("leave", [Connection.evicted, Connection.refused], ids=["evicted", "refused"])
async def test_who_was_sent_a_close_is_read_up_to_its_answer(leave: Callable[[Connection], None]) -> None:
    connection, pod, wire = await connected()
    connection.message(audio())
    pod.depart()
    before = wire.reading
    leave(connection)
    assert (before, wire.reading) == (False, True)


async def test_what_a_replaced_connection_still_says_is_counted_as_lost() -> None:
    connection, pod, _ = await connected()
    connection.message(audio())
    connection.evicted()
    assert pod.lost_packets == 0
    connection.message(audio())
    connection.message(audio())
    assert pod.lost_packets == 2


async def test_the_log_tells_a_sessions_life_once_when_nothing_more_can_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    def lives() -> list[dict[str, object]]:
        named = ("session", "turns", "resumed", "outcome", "replays", "lost_packets", "code")
        ended = (record for record in caplog.records if record.message == "session ended")
        return [{name: getattr(record, name) for name in named} for record in ended]

    connection, pod, _ = await connected()
    connection.message(audio())
    connection.message(frames.PeerClose(1000))
    pod.depart()
    assert lives() == [], "the broker has not answered yet"
    pod.confirm()
    connection.lost()
    assert lives() == [
        {
            "session": "s_1",
            "turns": 0,
            "resumed": False,
            "outcome": "completed",
            "replays": 0,
            "lost_packets": 0,
            "code": 1000,
        }
    ]
    caplog.clear()
    cut, pod, _ = await connected()
    cut.message(audio())
    cut.lost()
    for _, done in [*pod.waiting, *pod.handed_over]:
        done(BrokerUnavailable("gone"))
    assert [(life["code"], life["lost_packets"]) for life in lives()] == [(1006, 2)], "what was said, and the end"
