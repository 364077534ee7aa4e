"""A client that has its appends counted: what it is told, what it sends again, and that a worker takes each once."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Cursor, Item, Mark, Snapshot
from litevoice_contracts.packets import Audio
from litevoice_contracts.positions import START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway.protocols import Refusal, UpgradeRequest
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime, OpenAIRealtimeFactory
from litevoice_worker.order import PacketOrder
from tests.unit.gateway.driver import PENDING, WALL_MILLISECONDS, Driver, a_turn

CONFIRMED = "litevoice.input_audio_buffer.confirmed"


def slice_of(number: int) -> bytes:
    return number.to_bytes(4, "big")


def append(made: Driver, *numbers: int) -> None:
    for number in numbers:
        made.say(type="input_audio_buffer.append", audio=base64.b64encode(slice_of(number)).decode())


def heard(*owners: Driver) -> list[bytes]:
    """What a worker that knows nothing hears of all that the owners published, one after the other."""
    order, audio, now = PacketOrder(epoch_wait_seconds=0.5), list[bytes](), 0.0
    for owner in owners:
        while owner.published:
            published = owner.published
            owner.clear()
            for envelope in published:
                now += 1
                for arrival in (order.tick(now), order.receive(envelope, now)):
                    audio += [n.packet.data for n in arrival.packets if isinstance(n.packet, Audio)]
                    if arrival.question:
                        owner.down(*arrival.question.events, attempt=arrival.question.attempt)
    return audio + [n.packet.data for n in order.tick(now + 1).packets if isinstance(n.packet, Audio)]


def counted(confirmed: int | None = 0, resume: EventId | None = None) -> Driver:
    protocol = OpenAIRealtime(lambda: "item_new", resume=resume, confirmed_appends=confirmed)
    return Driver(resume=resume, protocol=protocol)


def confirm(made: Driver) -> None:
    """The broker confirms whatever it was given and has not confirmed yet."""
    for publish in made.all(do.Publish):
        made.session.confirmed(publish.fresh, made.now, publish.client_seq, publish.fresh_bytes)
    made.log = [command for command in made.log if not isinstance(command, do.Publish)]
    made.take()


def told(made: Driver) -> list[int]:
    return [message["appends"] for message in made.sent if message["type"] == CONFIRMED]


def test_the_count_is_told_about_twice_a_second_and_the_last_one_in_any_case() -> None:
    made, number = counted(), 0
    for _ in range(20):  # two seconds of a microphone
        append(made, *range(number + 1, number + 6))
        number += 5
        made.pass_time(0.1)
        confirm(made)
    assert 4 <= len(told(made)) <= 5
    assert told(made) == sorted(told(made))
    made.pass_time(1)
    assert told(made)[-1] == 100
    before = len(told(made))
    made.pass_time(5)
    assert len(told(made)) == before, "it has not moved"


def test_only_what_the_broker_has_is_told() -> None:
    made = counted()
    append(made, 1, 2)
    made.pass_time(2)
    assert told(made) == []
    confirm(made)
    assert told(made) == [2]


def test_what_a_replaced_connection_still_says_is_not_lost_for_it_comes_again() -> None:
    made = counted()
    append(made, 1)
    made.session.evicted(made.now)
    append(made, 2)
    assert made.all(do.Lose) == []


def test_a_client_that_did_not_ask_sees_nothing_new() -> None:
    made = counted(confirmed=None)
    append(made, 1, 2)
    made.pass_time(1)
    (envelope,) = made.published
    confirm(made)
    made.pass_time(2)
    assert made.types == ["session.created"]
    assert "litevoice" not in made.sent[0]["session"]
    assert envelope.client_seqs is None


def test_session_created_says_that_appends_are_counted() -> None:
    assert counted().sent[0]["session"]["litevoice"] == {"confirmed_appends": 0}


def test_asked_for_by_session_update_the_next_append_is_the_first() -> None:
    made = counted(confirmed=None)
    append(made, 1, 2)
    made.say(type="session.update", session={"litevoice": {"confirmed_appends": 0}})
    append(made, 3)
    made.pass_time(1)
    numbers = [envelope.client_seqs for envelope in made.published]
    assert [n for some in numbers for n in some or []][-1] == 1
    confirm(made)
    assert told(made) == [1]


@pytest.mark.parametrize(("by_query", "first"), [(0, 1), (None, 8)])
def test_appends_are_counted_from_one_place_only(by_query: int | None, first: int) -> None:
    made = counted(by_query)
    if by_query is None:
        made.say(type="session.update", session={"litevoice": {"confirmed_appends": 7}})
    made.say(type="session.update", session={"litevoice": {"confirmed_appends": 3}}, event_id="mine")
    assert made.sent[-1]["error"]["param"] == "session.litevoice.confirmed_appends"
    assert made.sent[-1]["error"]["event_id"] == "mine"
    append(made, 1)
    made.pass_time(1)
    assert made.published[-1].client_seqs == [first]


def test_commits_and_other_events_are_not_counted() -> None:
    made = counted()
    append(made, 1)
    made.say(type="input_audio_buffer.commit")
    append(made, 2)
    made.pass_time(1)
    numbers = [n for envelope in made.published for n in envelope.client_seqs or []]
    assert numbers == [1, None, 2]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "input_audio_buffer.append", "audio": "not base64!"},
        {"type": "input_audio_buffer.append", "audio": ""},
        {"type": "input_audio_buffer.append"},
        {"audio": "A" * 200, "type": "input_audio_buffer.append", "event_id": 7},
    ],
)
def test_an_append_that_is_refused_counts_as_the_client_counts_it(message: dict[str, Any]) -> None:
    made = counted()
    append(made, 1)
    made.session.messages([json.dumps(message)], made.now)
    append(made, 3)
    made.pass_time(1)
    assert [n for envelope in made.published for n in envelope.client_seqs or []] == [1, 3]
    confirm(made)
    assert told(made) == [3]


@pytest.mark.parametrize(
    "message", ['{"type": "input_audio_buffer.append", "audio', '["input_audio_buffer.append"]', '{"type": "unknown"}']
)
def test_what_is_no_append_does_not_count(message: str) -> None:
    made = counted()
    made.session.messages([message], made.now)
    append(made, 1)
    made.pass_time(1)
    assert [n for envelope in made.published for n in envelope.client_seqs or []] == [1]


def test_a_client_that_does_not_read_gets_the_newest_count_when_it_does() -> None:
    made = counted()
    made.session.writable(can_write=False, now=made.now)
    for number in range(1, 6):
        append(made, number)
        made.pass_time(1)
        confirm(made)
    assert told(made) == []
    made.session.writable(can_write=True, now=made.now)
    made.pass_time(1)
    assert told(made) == [5]


def test_nothing_is_told_after_the_close() -> None:
    made = counted()
    append(made, 1)
    made.session.drain(made.now, at_edge=True, by=made.now)
    made.take()
    confirm(made)
    made.pass_time(1)
    assert made.closes == [1012]
    assert told(made) == []


def test_nothing_behind_what_the_broker_did_not_take_is_told() -> None:
    made = counted()
    append(made, 1)
    made.pass_time(0.2)
    append(made, 2)
    made.pass_time(0.2)
    first, second = made.all(do.Publish)
    made.session.not_confirmed(first.fresh, made.now, first.fresh_bytes)
    made.session.confirmed(second.fresh, made.now, second.client_seq, second.fresh_bytes)
    made.take()
    made.pass_time(2)
    assert told(made) == []
    assert made.closes == [1013], "the client comes back and sends both again"


# Coming back after kill -9


@pytest.mark.parametrize(
    ("arrived", "told_before"),
    [
        pytest.param(10, 10, id="everything had arrived, and the client knows"),
        pytest.param(10, 6, id="everything had arrived, and the client knows of some"),
        pytest.param(7, 6, id="some had not arrived"),
        pytest.param(6, 6, id="none of what is not confirmed had arrived"),
        pytest.param(10, 0, id="the client knows of nothing"),
        pytest.param(0, 0, id="nothing had arrived"),
    ],
)
def test_what_is_sent_again_is_applied_once(arrived: int, told_before: int) -> None:
    first, second = counted(), counted(told_before, resume=START)
    second.wall = WALL_MILLISECONDS + 1000
    append(first, *range(1, arrived + 1))
    first.pass_time(1)
    append(second, *range(told_before + 1, 13))
    second.pass_time(2)
    assert heard(first, second) == [slice_of(number) for number in range(1, 13)]


def test_session_created_says_what_was_restored_and_what_was_lost() -> None:
    made = counted(40, resume=EventId.parse("evt_5_2"))
    a_turn(made)
    session = made.sent[0]["session"]
    assert session["litevoice"] == {
        "confirmed_appends": 40,
        "restored": {"position": 5, "items": 1, "turns": 1, "response_id": "r1"},
        "lost": {"events": 0, "appends": 0},
    }


def test_what_was_lost_of_appends_that_nobody_counted_is_not_known() -> None:
    made = counted(None, resume=START)
    assert made.sent[0]["session"]["litevoice"] == {
        "restored": {"position": -1, "items": 0, "turns": 0, "response_id": None},
        "lost": {"events": 0, "appends": None},
    }


def test_a_position_that_cannot_be_read_is_a_lost_event() -> None:
    made = counted(None, resume=EventId.parse("evt_2_0"))
    snapshot = Snapshot(items=[Item("u1", "user", "hi")], turn=1, pending=PENDING)
    made.down(events.ItemCreated(snapshot.items[0]), snapshot=snapshot)
    made.session.delivered(1, b"from another release", made.now)
    made.position = 2
    made.down(events.ItemCreated(Item("u2", "user", "ho")))
    extension = made.sent[0]["session"]["litevoice"]
    assert extension["lost"] == {"events": 1, "appends": None}
    assert extension["restored"] == {"position": 2, "items": 1, "turns": 1, "response_id": "r1"}


def test_a_worker_that_begins_from_a_snapshot_knows_the_count() -> None:
    made = counted(2, resume=EventId.parse("evt_0_0"))
    made.down(events.Progress(Mark(1, 5)), snapshot=Snapshot(cursor=Cursor(client_seq=4)))
    append(made, 3, 4, 5)
    made.pass_time(2)
    assert heard(made) == [slice_of(5)]


# The upgrade


def upgrade(query: str) -> Driver:
    request = UpgradeRequest.parse(f"/v1/realtime?{query}", {"authorization": "Bearer k"})
    protocol = OpenAIRealtimeFactory(lambda: "item").connect(request)
    return Driver(resume=protocol.resume, protocol=protocol)


def test_the_query_asks_and_says_where_the_client_stands() -> None:
    assert upgrade("confirmed_appends=0").sent[0]["session"]["litevoice"] == {"confirmed_appends": 0}
    made = upgrade("session_id=s_1&confirmed_appends=41")
    append(made, 42)
    made.pass_time(2)
    assert made.published[-1].client_seqs == [42]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("confirmed_appends=-1", "a whole number from 0"),
        ("confirmed_appends=all", "a whole number from 0"),
        ("confirmed_appends=undefined&session_id=s", "a whole number from 0"),
        (f"session_id=s&confirmed_appends={10**12 + 1}", "a whole number from 0"),
        ("session_id=s&confirmed_appends=" + "9" * 5000, "a whole number from 0"),
        ("confirmed_appends=5", "expected 0 for a new session"),
    ],
)
def test_a_count_that_cannot_be_is_refused(query: str, expected: str) -> None:
    with pytest.raises(Refusal, match=expected) as refusal:
        upgrade(query)
    assert refusal.value.problem.param == "confirmed_appends"
