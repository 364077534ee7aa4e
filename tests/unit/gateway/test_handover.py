"""A session changes its gateway while a worker is gone that had heard the beginning of an utterance: the gateway that
lets the session go leaves what no worker is done with in the log, and the next one sends it to whoever asks."""

from __future__ import annotations

import asyncio
import base64

import pytest

from litevoice_broker.errors import Overloaded
from litevoice_broker.producer import Done
from litevoice_contracts import events
from litevoice_contracts.conversation import Cursor, Item, Mark, Snapshot, Untranscribed
from litevoice_contracts.envelopes import KEEP_ALIVE, DownEnvelope, UpEnvelope
from litevoice_contracts.news import SessionNews
from litevoice_contracts.packets import Audio, CreateItem, EpochEnd, GiveUp, Packet, Silence, Update
from litevoice_contracts.positions import START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway import frames
from litevoice_gateway.connections import Connection
from litevoice_gateway.handover import Handed
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.packet_log import MAX_ATTEMPTS, MAX_ENVELOPE_BYTES
from litevoice_gateway.session import LEFT_SECONDS, Session
from litevoice_worker.order import PacketOrder
from tests.unit.gateway.driver import LATER, PCM, WALL, Driver
from tests.unit.gateway.echo_protocol import Echo
from tests.unit.gateway.test_protocol_seam import Pod, Wire

SOUND = Audio(base64.b64decode(PCM))
QUIET = base64.b64encode(bytes(960)).decode()
STARTED = events.SpeechStarted("i1", 0)


def ended(driver: Driver) -> list[bytes]:
    """The log, after the client has gone without a word."""
    driver.depart()
    driver.confirm_all()
    driver.clear()
    driver.session.disconnected(driver.now)
    driver.take()
    return [*driver.bodies, *(command.body for command in driver.all(do.HandOver))]


def speaking(count: int = 3) -> Driver:
    """A worker has said that the utterance has begun, and nothing since."""
    driver = Driver()
    driver.audio(count)
    driver.pass_time(0.2)
    driver.down(STARTED)
    return driver


def next_owner(log: list[bytes], *, seen: EventId = START, limits: Limits | None = None) -> Driver:
    """Has read the log."""
    driver = Driver(resume=seen, limits=limits)
    for body in log[driver.position :]:
        driver.session.delivered(driver.position, body, driver.now)
        driver.position += 1
    driver.take()
    driver.pass_time(LEFT_SECONDS + 0.1)
    driver.clear()
    return driver


def asked(driver: Driver, attempt: int = 0) -> list[UpEnvelope]:
    """What a worker gets that knows nothing."""
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"), attempt=attempt)
    return driver.published


def applied(envelopes: list[UpEnvelope]) -> list[Packet]:
    """By a worker that knows nothing of the session."""
    order = PacketOrder(0.5)
    packets = [packet.packet for envelope in envelopes for packet in order.receive(envelope, 0.0).packets]
    assert order.known
    return [packet for packet in packets if not isinstance(packet, EpochEnd)]


def test_the_next_owner_sends_it_to_a_worker_that_asks() -> None:
    second = next_owner(ended(speaking(3)))
    second.audio(2)
    second.pass_time(0.2)
    first, own = asked(second)
    assert (first.epoch, first.seq, first.attempt) == (WALL, 0, 1)
    assert first.packets == [SOUND, SOUND, SOUND, EpochEnd()]
    assert first.snapshot is not None
    assert (own.epoch, own.seq, own.packets, own.attempt) == (LATER, 0, [SOUND, SOUND], 1)
    assert own.snapshot is None
    second.clear()
    second.audio(1)
    second.pass_time(0.2)
    assert applied([first, own, *second.published]) == [SOUND] * 6


def test_also_when_the_client_says_nothing_more() -> None:
    second = next_owner(ended(speaking()))
    second.pass_time(10)
    (first, *_) = second.published
    assert (first.packets, first.seq) == ([Silence(48_000)], 0), (
        "a worker that is not quite there may have died: it asks"
    )
    assert applied(asked(second)) == [SOUND] * 3 + [Silence(48_000)], "and who has stopped in mid-speech is silent"


def test_what_the_client_has_numbered_keeps_its_numbers() -> None:
    first = Driver(opened=True)
    first.say(type="session.update", session={"litevoice": {"confirmed_appends": 0}})
    first.audio(2)
    (replay,) = asked(next_owner(ended(first)))
    assert isinstance(replay.packets[0], Update)
    assert replay.client_seqs == [None, 1, 2, None]


@pytest.mark.parametrize("settled", ["silence", "done with", "never sent"])
def test_nothing_is_left_when_nothing_is_needed(settled: str) -> None:
    driver = Driver()
    if settled == "silence":
        driver.say(type="input_audio_buffer.append", audio=QUIET)
        driver.pass_time(0.2)
        assert driver.packets == [Silence(960)]
    elif settled == "done with":
        driver.audio(3)
        driver.pass_time(0.2)
        driver.down(events.Progress(Mark(WALL, 2)))
    assert ended(driver) == driver.bodies


def test_what_a_worker_is_done_with_meanwhile_is_not_sent_again() -> None:
    """It knows the session, and tells its new owner, in the log or beside it."""
    log = ended(speaking(4))
    second = next_owner(log)
    second.down(events.Progress(Mark(WALL, 1), audio_ms=40, noise_floor=2.0))
    (replay,) = asked(second)
    assert (replay.seq, replay.packets) == (2, [SOUND, SOUND, EpochEnd()])
    assert replay.snapshot is not None
    assert replay.snapshot.boundary == Mark(WALL, 1)
    assert replay.snapshot.cursor == Cursor(audio_ms=40, noise_floor=2.0)

    third = next_owner(log)
    news = SessionNews("s_1", progress=events.Progress(Mark(WALL, 4)))
    third.session.worker_is_alive(third.now, news)
    (replay,) = asked(third)
    assert (replay.epoch, replay.packets) == (LATER, [])
    third.pass_time(30)
    assert len([envelope for envelope in third.published if not envelope.packets]) == 1, "nothing is expected"


def test_nor_what_an_owner_has_read_before_it_is_live() -> None:
    """The client has seen more of the log than what was left."""
    log = ended(speaking(4))
    more = DownEnvelope(WALL, 1, [events.Progress(Mark(WALL, 1))]).encode()
    (replay,) = asked(next_owner([*log, more, KEEP_ALIVE], seen=EventId(3, -1)))
    assert (replay.seq, replay.packets) == (2, [SOUND, SOUND, EpochEnd()])


def test_nor_what_a_snapshot_has() -> None:
    second = next_owner(ended(speaking(4)))
    second.down(STARTED, snapshot=Snapshot(boundary=Mark(WALL, 2), cursor=Cursor(audio_ms=60)))
    (replay,) = asked(second)
    assert (replay.seq, replay.packets) == (3, [SOUND, EpochEnd()])
    assert replay.snapshot is not None
    assert replay.snapshot.cursor.audio_ms == 60


def test_silence_after_it_is_left_as_well() -> None:
    """Without it the utterance would not end."""
    second = next_owner(ended(speaking(3)))
    second.say(type="input_audio_buffer.append", audio=QUIET)
    assert len(ended(second)) == 1


def test_silence_is_left_by_an_owner_that_has_not_read_yet_what_it_ends() -> None:
    """It had gone before the log of the one before reached it; else nobody would have the end of the utterance."""
    log = ended(speaking())
    second = Driver(resume=START)
    second.wall += 1000
    second.pass_time(LEFT_SECONDS)
    second.say(type="input_audio_buffer.append", audio=QUIET)
    second.pass_time(0.2)
    assert second.packets == [Silence(960)]
    (left,) = ended(second)[len(second.bodies) :]
    (entry,) = DownEnvelope.decode(left).events
    assert isinstance(entry, events.Handover)
    assert entry.packets == [Silence(960), EpochEnd()]
    third = next_owner([*log, left])
    assert applied(asked(third)) == [SOUND] * 3 + [Silence(960)]


def test_nor_is_it_left_once_a_worker_has_told_its_progress() -> None:
    second = Driver(resume=START)
    second.pass_time(LEFT_SECONDS)
    second.say(type="input_audio_buffer.append", audio=QUIET)
    second.pass_time(0.2)
    second.down(events.Progress(Mark(second.published[-1].epoch, 0)))
    second.say(type="input_audio_buffer.append", audio=QUIET)
    second.pass_time(0.2)
    assert ended(second) == second.bodies


def test_the_owners_own_progress_goes_along() -> None:
    """A worker has told it beside the log, where the next owner does not read."""
    first = speaking(4)
    news = SessionNews("s_1", progress=events.Progress(Mark(WALL, 1), audio_ms=40))
    first.session.worker_is_alive(first.now, news)
    (replay,) = asked(next_owner(ended(first)))
    assert (replay.seq, replay.packets) == (2, [SOUND, SOUND, EpochEnd()])
    assert replay.snapshot is not None
    assert (replay.snapshot.boundary, replay.snapshot.cursor.audio_ms) == (Mark(WALL, 1), 40)


def test_what_stands_in_the_log_twice_is_sent_once() -> None:
    log = ended(speaking(3))
    (replay,) = asked(next_owner([*log, log[-1]]))
    assert replay.packets == [SOUND, SOUND, SOUND, EpochEnd()]


def left(seq: int, count: int, *, epoch: int = 1, progress: int | None = None) -> events.Handover:
    packets: list[Packet] = [Audio(bytes([number])) for number in range(seq, seq + count)]
    numbers: list[int | None] = [100 + number for number in range(seq, seq + count)]
    upto = None if progress is None else events.Progress(Mark(1, progress))
    return events.Handover(epoch, seq, packets, "g711_ulaw/8000", numbers, upto)


def test_what_is_left_is_in_order_and_never_what_is_settled() -> None:
    handed = Handed()
    handed.take(left(2, 2), 7)
    handed.settle(Mark(1, 1))
    handed.take(left(4, 2, progress=2), 8)
    assert (handed.since, handed.at) == (7, 8)
    (first, second) = handed.entries
    assert (first.seq, first.packets, first.client_seqs) == (3, [Audio(b"\3")], [103])
    assert (second.seq, len(second.packets)) == (4, 2)
    assert handed.size == 3
    handed.take(left(2, 4, progress=1), 9)
    assert handed.entries == (first, second), "all of it is known"
    assert handed.progress == events.Progress(Mark(1, 2)), "an older one says nothing"
    handed.settle(Mark(2, -1))
    assert not handed
    handed.take(left(2, 4), 10)
    assert not handed, "it has been settled"
    handed.take(left(0, 1, epoch=2), 11)
    assert (handed.since, handed.at) == (11, 11)


def test_what_the_first_of_three_owners_leaves_comes_first_even_when_the_second_was_quicker() -> None:
    handed = Handed()
    handed.take(left(0, 2, epoch=2), 7)
    handed.take(left(3, 2, epoch=1), 8)
    handed.take(left(3, 3, epoch=1), 9)
    assert [(entry.epoch, entry.seq, len(entry.packets)) for entry in handed.entries] == [
        (1, 3, 2),
        (1, 5, 1),
        (2, 0, 2),
    ]
    assert (handed.since, handed.at) == (7, 9), "a worker that was given the second one's is to ask again"
    handed.settle(Mark(1, 5))
    handed.take(left(3, 3, epoch=1), 10)
    assert [entry.epoch for entry in handed.entries] == [2]


def test_it_counts_whatever_its_attempt() -> None:
    """A worker has asked after the gateway has lost the session."""
    log = ended(speaking(3))
    question = DownEnvelope(WALL, 1, [events.TurnReplay("unknown_session")]).encode()
    second = next_owner([*log[:-1], question, log[-1]])
    assert second.session.take() == []
    (replay,) = asked(second, attempt=1)
    assert (replay.attempt, len(replay.packets)) == (2, 4)


def test_the_worker_is_made_to_ask_when_it_comes_after_the_replay() -> None:
    log = ended(speaking(3))
    second = next_owner(log[:-1])
    second.audio(1)
    second.pass_time(0.2)
    begun = asked(second)
    assert applied(begun) == [SOUND]
    order = PacketOrder(0.5)
    for envelope in begun:
        order.receive(envelope, 0.0)
    second.clear()
    second.session.delivered(second.position, log[-1], second.now)
    second.position += 1
    second.take()
    (empty,) = second.published
    question = order.receive(empty, 0.0).question
    assert question is not None
    assert question.events == [events.TurnReplay("gap", Mark(LATER, 0), provoked=True)]
    assert applied(asked(second, attempt=1)) == [SOUND] * 4


@pytest.mark.parametrize("refused", [True, False])
def test_also_when_it_has_refused_that_before_this_owner_is_there(refused: bool) -> None:
    """It has begun with what the second of three owners had, under the number of the question that the third answers
    again: it would take that for known."""
    log = ended(speaking(3))
    log.insert(-1, DownEnvelope(WALL, 1, [events.TurnReplay("unknown_session")]).encode())
    if refused:
        log.append(DownEnvelope(WALL + 1, 1, [events.EpochRejected(WALL, WALL + 1)], 1).encode())
    third = Driver(resume=START)
    for body in log:
        third.session.delivered(third.position, body, third.now)
        third.position += 1
    third.pass_time(LEFT_SECONDS)
    replay, *others = third.published
    assert (replay.epoch, replay.attempt, len(replay.packets)) == (WALL, 1, 4)
    assert [(one.seq, one.packets) for one in others] == ([(1, [])] if refused else [])


def test_it_comes_before_what_is_left_of_a_later_epoch() -> None:
    """The worker that had begun without it was done with the silence that followed."""
    log = ended(speaking(3))
    second = next_owner(log[:-1])
    second.audio(5)
    second.pass_time(0.2)
    asked(second)
    silence = SessionNews("s_1", progress=events.Progress(Mark(LATER, 2)), attempt=1)
    second.session.worker_is_alive(second.now, silence)
    second.session.delivered(second.position, log[-1], second.now)
    second.position += 1
    second.session.worker_is_alive(second.now, silence)
    second.audio(1)
    second.pass_time(0.2)
    replay = asked(second, attempt=1)
    assert [(one.epoch, one.seq, one.continues) for one in replay] == [(WALL, 0, False), (LATER, 3, True)]
    order = PacketOrder(0.5)
    given = [packet.mark for envelope in replay for packet in order.receive(envelope, 0.0).packets]
    assert given == [*(Mark(WALL, seq) for seq in range(4)), *(Mark(LATER, seq) for seq in range(3, 6))]
    assert order.known


def test_it_says_that_this_is_all_when_a_killed_owner_had_the_end_of_an_utterance() -> None:
    """Its client may wait for the answer in silence, and nothing else would tell the worker that the rest is lost."""
    lost = Snapshot(turn=1, cursor=Cursor(untranscribed=[Untranscribed(1, Mark(WALL + 1, 5), respond=True)]))
    committed = DownEnvelope(WALL + 1, 1, [events.InputCommitted("i1")], snapshot=lost)
    left, nothing = asked(next_owner([*ended(speaking(1)), committed.encode()]))
    assert (left.epoch, left.packets) == (WALL, [SOUND, EpochEnd()])
    assert (nothing.epoch, nothing.seq, nothing.packets, nothing.continues) == (LATER, 0, [], True)


def test_an_owner_that_goes_passes_on_what_the_next_one_would_not_read() -> None:
    log = ended(speaking(3))
    second = next_owner(log)
    second.audio(1)
    assert len(ended(second)) == 1, "what stands in the log is read from there"
    typed = Snapshot(items=[Item("i0", "user", "typed")], turn=1, cursor=Cursor(open_turn=1))
    second = next_owner(log)
    second.bodies = log
    second.down(events.ItemCreated(typed.items[0]), snapshot=typed)  # whoever comes next begins to read here
    second.audio(1)
    whole = ended(second)
    assert len(whole) == len(log) + 2
    last, own = asked(next_owner(whole, seen=EventId(2, 2)))
    assert applied([last, own]) == [SOUND] * 4


def test_a_turn_is_given_up_as_a_whole() -> None:
    second = next_owner(ended(speaking(3)))
    second.audio(1)
    second.pass_time(0.2)
    for attempt in range(MAX_ATTEMPTS):
        published = asked(second, attempt)
    (given_up,) = published
    assert given_up.epoch == LATER
    assert given_up.packets == [GiveUp(MAX_ATTEMPTS, 80, MAX_ATTEMPTS)]


def test_it_counts_in_the_bounds() -> None:
    log = ended(speaking(60))
    second = next_owner(log, limits=Limits(retained_seconds=1))
    assert second.session.held_bytes >= 60 * 960
    for _ in range(24):
        second.say(type="input_audio_buffer.append", audio=base64.b64encode(b"\1\2" * 24_000).decode())
        second.pass_time(0.1)
    assert second.observed("dropped")[0] == do.Observe("dropped", "retained_packets", 61)
    assert all(envelope.epoch == LATER for envelope in asked(second))


def test_long_audio_goes_in_several_messages() -> None:
    first = Driver()
    for _ in range(12):
        first.say(type="input_audio_buffer.append", audio=base64.b64encode(b"\1\2" * 24_000).decode())
        first.pass_time(1)
    log = ended(first)
    assert len(log) == 2
    assert max(map(len, log)) <= MAX_ENVELOPE_BYTES + 1024
    assert len(applied(asked(next_owner(log)))) == 12


def test_what_has_taken_effect_before_its_epoch_was_refused_is_not_done_again() -> None:
    first = Driver()
    first.audio(2)
    content = [{"type": "input_text", "text": "typed"}]
    first.say(type="conversation.item.create", item={"type": "message", "role": "user", "content": content})
    seq = next(number for number, packet in enumerate(first.packets) if isinstance(packet, CreateItem))
    item = Item("i1", "user", "")
    first.down(STARTED)
    first.down(events.ItemCreated(item), snapshot=Snapshot(items=[item], cursor=Cursor(events=Mark(WALL, seq))))
    first.down(events.EpochRejected(WALL, WALL))
    (replay,) = asked(next_owner(ended(first)))
    assert replay.epoch == LATER
    assert isinstance(replay.packets[seq], CreateItem)
    assert replay.snapshot is not None
    assert replay.snapshot.cursor.events == Mark(LATER, seq)


class FullPod(Pod):
    def hand_over(self, session_id: str, body: bytes, done: Done) -> None:
        raise Overloaded("full")


@pytest.mark.parametrize("pod", [Pod(), FullPod()], ids=["taken", "not taken"])
async def test_a_connection_is_settled_when_the_broker_has_it_or_will_not(pod: Pod) -> None:
    session = Session(Opening("s_1", lambda: 1), Echo(), Limits(), asyncio.get_running_loop().time())
    connection = Connection(pod, session, Wire(), 0)
    connection.opened()
    connection.message(frames.Binary(b"\0\0\0\1\1\2"))
    pod.confirm()
    connection.lost()
    assert not connection.settled.is_set()
    pod.confirm()
    await connection.settled.wait()
    assert connection.session.settled
