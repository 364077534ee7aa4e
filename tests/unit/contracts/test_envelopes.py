"""Envelopes and positions: what one image writes the other reads, and nothing else is accepted."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from litevoice_contracts.conversation import Item, Mark, ResponseRequest, SessionConfig, Snapshot, TurnDetection
from litevoice_contracts.envelopes import Bundle, DownEnvelope, ResumePoint, UpEnvelope
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import AudioDelta, Progress, SessionError, TurnReplay
from litevoice_contracts.news import WorkerNews
from litevoice_contracts.packets import Audio, Commit, CreateItem, EpochEnd, Update
from litevoice_contracts.positions import LAST_PART, START, EventId

SNAPSHOT = Snapshot(
    config=SessionConfig(instructions="be brief", turn_detection=None, tools=[{"type": "function", "name": "f"}]),
    items=[Item("item_1", "user", "hello", audio=True), Item("item_2", "assistant", "hi", complete=False)],
    turn=3,
    boundary=Mark(7, 41),
    pending=ResponseRequest("resp_1", "item_3", metadata={"k": "v"}),
)
UP = UpEnvelope(
    session_id="s_abc",
    epoch=7,
    seq=42,
    turn=3,
    attempt=1,
    codec="g711_ulaw/8000",
    packets=[Audio(b"\0\1"), Commit("event_1"), CreateItem(SNAPSHOT.items[0]), Update(SessionConfig()), EpochEnd()],
    snapshot=SNAPSHOT,
    resume=ResumePoint("resp_1", "item_3", "One. ", "Two.", 9600),
)
BUNDLE = Bundle("g_1", [UP.encode(), b"broken", UpEnvelope("s_2", 1, 0, 0, [Audio(b"a")]).encode()])


def test_up_round_trip() -> None:
    assert UpEnvelope.decode(UP.encode()) == UP
    assert UP.last == Mark(7, 46)


def test_a_property_that_is_not_known_any_more_is_ignored() -> None:
    properties, body = BUNDLE.encode()
    assert Bundle.decode(properties | {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, body) == BUNDLE


def test_client_seqs_are_one_for_each_packet() -> None:
    envelope = UpEnvelope("s_1", 1, 0, 0, [Audio(b"a"), Audio(b"b")], client_seqs=[4, None])
    assert UpEnvelope.decode(envelope.encode()) == envelope
    with pytest.raises(InvalidField, match="client_seqs: expected one for each of the 2 packets"):
        UpEnvelope.decode(replace(envelope, client_seqs=[4]).encode())


def test_down_round_trip() -> None:
    down = DownEnvelope(
        epoch=7,
        turn=3,
        attempt=1,
        snapshot=SNAPSHOT,
        events=[
            AudioDelta("r", "i", b"\xff\0"),
            Progress(Mark(7, 46)),
            TurnReplay("gap", None),
            SessionError("c", "m"),
        ],
    )
    assert DownEnvelope.decode(down.encode()) == down


def test_a_bundle_carries_envelopes_that_are_read_one_by_one() -> None:
    properties, body = BUNDLE.encode()
    assert properties == {"v": "3", "gateway": "g_1", "count": "3"}
    assert Bundle.decode(properties, body) == BUNDLE
    assert UpEnvelope.decode(BUNDLE.envelopes[0]) == UP


Change = Callable[[dict[str, str]], None]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("v", lambda p: p.update(v="1")),
        ("v", lambda p: p.pop("v")),
        ("gateway", lambda p: p.update(gateway="no spaces")),
        ("count", lambda p: p.update(count="4")),
        ("count", lambda p: p.pop("count")),
    ],
)
def test_bad_properties_are_named(field: str, change: Change) -> None:
    properties, body = BUNDLE.encode()
    change(properties)
    with pytest.raises(InvalidField) as caught:
        Bundle.decode(properties, body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (0, "../../etc/passwd"),
        (0, "s" * 65),
        (1, -1),
        (2, "three"),
        (4, [{"t": "z"}]),
        (5, "mp3"),
        (6, -1),
    ],
)
def test_bad_fields_of_an_envelope_are_named(path: int, wrong: object) -> None:
    fields = msgspec.msgpack.decode(UP.encode())
    fields[path] = wrong
    with pytest.raises(InvalidField, match=rf"\$\[{path}\]") as caught:
        UpEnvelope.decode(msgspec.msgpack.encode(fields))
    assert caught.value.field == "body"


@given(st.binary(max_size=200))
@example(b"\x95\xa4\x00\x00\x00\x80")  # text that is not UTF-8
def test_no_body_crashes_a_reader(body: bytes) -> None:
    for decode in (
        DownEnvelope.decode,
        UpEnvelope.decode,
        WorkerNews.decode,
        lambda b: Bundle.decode(BUNDLE.encode()[0], b),
    ):
        try:
            decode(body)
        except InvalidField:
            continue


def test_an_old_reader_says_which_version_it_speaks() -> None:
    with pytest.raises(InvalidField, match="v: expected 2"):
        DownEnvelope.decode(DownEnvelope(1, 1, [], v=3).encode())


def test_turn_detection_off_is_not_the_default() -> None:
    assert Snapshot().config.turn_detection == TurnDetection()
    assert UpEnvelope.decode(UP.encode()).snapshot == SNAPSHOT


@pytest.mark.parametrize(
    ("text", "event_id"),
    [
        ("evt_17_12", EventId(17, 12)),
        ("evt_17_12_3", EventId(17, 12, 3)),
        ("evt_17_x", EventId(17, -1)),
        ("evt_17_12_g4", EventId(17, 12, LAST_PART)),
        ("evt_x_x_g0", START),
    ],
)
def test_event_ids_are_read(text: str, event_id: EventId) -> None:
    assert EventId.parse(text) == event_id


@pytest.mark.parametrize("text", ["", "evt_", "evt_12", "evt_1_2", "event_1_0", "evt_1_0_", "evt_-1_0", "evt_1_0_g"])
def test_other_event_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        EventId.parse(text)
    assert caught.value.field == "last_event_id"


@given(st.integers(0, 10**12), st.integers(-1, 10**12), st.integers(0, 9999), st.integers(0, 1000))
def test_event_ids_round_trip(position: int, snapshot: int, part: int, n: int) -> None:
    event_id = EventId(position, min(position, snapshot), part)
    assert EventId.parse(str(event_id)) == event_id
    assert EventId.parse(event_id.gateway_made(n)) == EventId(event_id.position, event_id.snapshot, LAST_PART)
