"""The packet log of a session: batches, numbers, retained packets, replays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.conversation import Codec, Cursor, Item, Mark, SessionConfig, Snapshot
from litevoice_contracts.envelopes import MAX_BODY_BYTES, DownEnvelope, UpEnvelope
from litevoice_contracts.events import Progress, SpeechStarted, TurnReplay
from litevoice_contracts.packets import (
    MAX_AUDIO_BYTES,
    Audio,
    Commit,
    CreateItem,
    EpochEnd,
    Packet,
    Silence,
    audio_of,
    described,
)
from litevoice_gateway import commands as do
from litevoice_gateway.epochs import new_epoch
from litevoice_gateway.limits import Limits
from litevoice_gateway.packet_log import MAX_ENVELOPE_BYTES, SNAPSHOT_INTERVAL_SECONDS, PacketLog
from litevoice_gateway.session_state import SessionState

WALL = 1000
EPOCH = new_epoch(WALL, 0, -1)
NEXT = new_epoch(WALL, 0, EPOCH)


class Log:
    """A packet log whose commands are taken after each call."""

    def __init__(self, *, begun: bool = True, retained_seconds: int = 60, new: bool = True) -> None:
        self.state = SessionState(0, SessionConfig())
        self.wall = WALL
        self.dropped = 0
        self.out: list[do.Command] = []
        limits = Limits(retained_seconds=retained_seconds)
        self.packets = PacketLog("s_1", limits, self.state, lambda: self.wall, self.out, new=new)
        if begun:
            self.packets.begin(0)

    def taken(self) -> list[UpEnvelope]:
        self.dropped += sum(
            int(command.amount)
            for command in self.out
            if isinstance(command, do.Observe) and command.label == "retained_packets"
        )
        taken = [command.envelope for command in self.out if isinstance(command, do.Publish)]
        self.out.clear()
        return taken

    def send(self, *packets: Packet, now: float = 0.0) -> list[UpEnvelope]:
        """In one batch, up to the first event in it."""
        for packet in packets:
            self.packets.add(packet, "pcm16/24000", now)
        self.packets.flush(now)
        return self.taken()

    def replay(self) -> list[UpEnvelope]:
        """A worker asks for it."""
        self.state.apply(self.state.position + 1, DownEnvelope(0, 0, [TurnReplay("gap")], self.state.attempt))
        self.packets.answer(0)
        return self.taken()


def numbered(envelopes: list[UpEnvelope]) -> list[tuple[int, Packet]]:
    return [(envelope.seq + i, packet) for envelope in envelopes for i, packet in enumerate(envelope.packets)]


def test_packets_wait_for_the_departure_of_their_partition() -> None:
    log = Log()
    log.packets.add(Audio(b"ab"), "pcm16/24000", 5.0)
    log.packets.add(Audio(b"cd"), "pcm16/24000", 5.01)
    assert log.out == [do.AwaitDeparture()], "asked for once"
    log.packets.add(Commit(), "pcm16/24000", 5.02)
    log.packets.add(Commit(), "pcm16/24000", 5.03)
    log.packets.add(Audio(b"ef"), "pcm16/24000", 5.04)
    assert log.out == [do.AwaitDeparture(), do.AwaitDeparture(soon=True)], "and once more, because somebody waits"
    log.packets.depart(5.05)
    assert [envelope.packets for envelope in log.taken()] == [
        [Audio(b"ab"), Audio(b"cd"), Commit(), Commit(), Audio(b"ef")]
    ]
    log.packets.add(Audio(b"gh"), "pcm16/24000", 5.06)
    assert log.out == [do.AwaitDeparture()]


def test_speech_is_sent_soon() -> None:
    log = Log()
    log.state.apply(0, DownEnvelope(epoch=EPOCH, turn=0, events=[SpeechStarted("item_1", 0)]))
    log.packets.add(Audio(b"ab"), "pcm16/24000", 5.0)
    assert log.out == [do.AwaitDeparture(soon=True)]


def test_before_the_epoch_begins_packets_are_only_collected() -> None:
    log = Log(begun=False)
    log.packets.add(Audio(b"ab"), "pcm16/24000", 5.0)
    assert (log.out, log.packets.pending.collected) == ([], 1)
    log.packets.begin(6.0)
    assert [envelope.packets for envelope in log.taken()] == [[Audio(b"ab")]]


def test_a_batch_is_one_envelope_with_contiguous_numbers() -> None:
    log = Log()
    (first,) = log.send(Audio(b"a"), Audio(b"b"))
    (second,) = log.send(Audio(b"c"))
    assert (first.seq, len(first.packets), second.seq) == (0, 2, 2)
    assert log.packets.pending.unconfirmed == 3
    log.packets.pending.confirmed(2, 0, 2)
    assert log.packets.pending.unconfirmed == 1


def test_how_long_the_broker_has_confirmed_nothing() -> None:
    """Not how old a turn is: while somebody speaks, something is always under way."""
    log = Log()
    assert log.packets.pending.unconfirmed_seconds(50.0) == 0
    log.send(Audio(b"a"), now=100.0)
    assert log.packets.pending.unconfirmed_seconds(101.0) == 1
    log.send(Audio(b"b"), now=102.0)
    assert log.packets.pending.unconfirmed_seconds(103.0) == 3, "the first one still waits"
    log.packets.pending.confirmed(1, 103.5, 1)
    assert log.packets.pending.unconfirmed_seconds(104.0) == 0.5
    log.packets.pending.confirmed(log.packets.pending.unconfirmed, 104.0, 1)
    log.send(Audio(b"c"), now=200.0)
    assert log.packets.pending.unconfirmed_seconds(200.5) == 0.5, "nothing was under way in between"


@pytest.mark.parametrize(("codec", "second"), [("pcm16/24000", 48_000), ("g711_ulaw/8000", 8_000)])
def test_long_audio_leaves_in_packets_of_a_second(codec: Codec, second: int) -> None:
    log, audio = Log(), bytes(range(1, 251)) * (second // 100)
    log.packets.add(Audio(audio), codec, 0.0)
    log.packets.flush(0.0)
    parts = [packet for _, packet in numbered(log.taken())]
    assert [len(audio_of(part, codec)) for part in parts] == [second, second, second // 2]
    assert b"".join(audio_of(part, codec) for part in parts) == audio
    log.packets.add(Audio(audio), codec, 0.0, client_seq=7)
    log.packets.flush(0.0)
    (envelope,) = log.taken()
    assert (len(envelope.packets), envelope.client_seqs) == (1, [7]), "its number would no longer say what was taken"


def test_first_envelope_of_a_new_session_carries_the_snapshot() -> None:
    log = Log()
    log.state.snapshot = Snapshot(items=[Item("i", "user", "x")], turn=4, boundary=Mark(7, 3))
    (first,) = log.send(Audio(b"a"))
    (second,) = log.send(Audio(b"b"))
    assert first.snapshot == log.state.snapshot
    assert second.snapshot is None
    restored = Log(new=False)
    (first,) = restored.send(Audio(b"a"))
    assert first.snapshot is None, "its log may hold more than the owner has read: a worker has to ask"


def test_first_envelope_after_a_boundary_carries_the_new_snapshot_if_it_follows_it() -> None:
    log = Log()
    log.send(Audio(b"a"), Audio(b"b"))
    log.state.snapshot = Snapshot(turn=1, boundary=Mark(EPOCH, 1))
    (between,) = log.send(Audio(b"c"))
    assert between.snapshot is None, "packets 0 and 1 are not done yet: a new worker could not begin here"
    log.packets.progress(Progress(Mark(EPOCH, 2)))
    (after,) = log.send(Audio(b"d"))
    assert after.snapshot == Snapshot(turn=1, boundary=Mark(EPOCH, 2))


def test_in_silence_the_snapshot_goes_along_now_and_then() -> None:
    log = Log()
    log.send(Audio(b"a"))
    log.packets.progress(Progress(Mark(EPOCH, 0)))
    (soon,) = log.send(Audio(b"b"), now=1)
    log.packets.progress(Progress(Mark(EPOCH, 1)))
    (late,) = log.send(Audio(b"c"), now=SNAPSHOT_INTERVAL_SECONDS)
    assert soon.snapshot is None
    assert late.snapshot is not None
    assert late.snapshot.boundary == Mark(EPOCH, 1)


def test_replay_has_snapshot_and_all_that_is_retained_under_the_old_numbers() -> None:
    log = Log()
    log.send(*(Audio(bytes([n])) for n in range(6)))
    log.packets.progress(Progress(Mark(EPOCH, 2)))
    (replay,) = log.replay()
    assert (replay.epoch, replay.seq, replay.attempt) == (EPOCH, 3, 1)
    assert replay.packets == [Audio(bytes([n])) for n in (3, 4, 5)]
    assert replay.snapshot is not None
    assert replay.snapshot.boundary == Mark(EPOCH, 2)
    (following,) = log.send(Audio(b"x"))
    assert following.seq == 6
    assert following.attempt == 1


def test_a_worker_that_begins_after_silence_knows_when_it_is_and_how_loud_the_place_is() -> None:
    log = Log()
    log.state.snapshot = Snapshot(turn=1, boundary=Mark(EPOCH - 1, 5), cursor=Cursor(audio_ms=70, client_seq=9))
    log.send(*(Audio(bytes([n])) for n in range(6)))
    log.packets.progress(Progress(Mark(EPOCH, 2), 2660, 3.5))
    log.packets.progress(Progress(Mark(EPOCH, 1), 1660, 9.5))
    expected = Cursor(audio_ms=2660, client_seq=9, noise_floor=3.5)
    (replay,) = log.replay()
    assert replay.snapshot == Snapshot(turn=1, boundary=Mark(EPOCH, 2), cursor=expected)
    log.packets.reject(EPOCH, EPOCH)
    _, refused = log.replay()
    assert refused.snapshot == Snapshot(turn=1, boundary=Mark(EPOCH - 1, 5), cursor=expected)
    log.state.snapshot = Snapshot(turn=2, boundary=Mark(EPOCH, 2), cursor=Cursor(audio_ms=2670))
    (later,) = log.replay()
    assert later.snapshot is not None
    assert later.snapshot.cursor == Cursor(audio_ms=2670), "a snapshot of the same place knows it best"


def test_what_the_snapshot_has_is_not_sent_again_though_nobody_told_of_it() -> None:
    """The time of its boundary would count for packets before it."""
    log = Log()
    log.send(*(Audio(bytes([n])) for n in range(6)))
    log.packets.progress(Progress(Mark(EPOCH, 1), 20))
    log.state.snapshot = Snapshot(turn=1, boundary=Mark(EPOCH, 3), cursor=Cursor(audio_ms=40))
    (replay,) = log.replay()
    assert (replay.seq, replay.packets) == (4, [Audio(b"\4"), Audio(b"\5")])
    assert replay.snapshot == log.state.snapshot


def test_nor_when_the_epoch_of_that_is_refused() -> None:
    log = Log()
    log.send(*(Audio(bytes([n])) for n in range(6)))
    log.state.snapshot = Snapshot(turn=1, boundary=Mark(EPOCH, 3), cursor=Cursor(audio_ms=40))
    log.packets.reject(EPOCH, EPOCH)
    _, again = log.replay()
    assert (again.epoch, again.seq, again.packets) == (NEXT, 0, [Audio(b"\4"), Audio(b"\5")])
    assert again.snapshot is not None
    assert again.snapshot.cursor.audio_ms == 40


def test_replay_without_packets_still_carries_the_snapshot_at_the_next_number() -> None:
    log = Log()
    log.send(Audio(b"a"))
    log.packets.progress(Progress(Mark(EPOCH, 0)))
    (replay,) = log.replay()
    assert (replay.seq, replay.packets) == (1, [])
    assert replay.snapshot is not None
    assert replay.last == Mark(EPOCH, 0)


def test_replay_of_an_unused_epoch_leaves_the_snapshot_as_it_is() -> None:
    log = Log()
    log.state.snapshot = Snapshot(turn=2, boundary=Mark(3, 9))
    (replay,) = log.replay()
    assert (replay.seq, replay.snapshot) == (0, log.state.snapshot)


def test_refused_epoch_is_opened_again_with_everything_retained_from_zero() -> None:
    log = Log()
    log.send(*(Audio(bytes([n])) for n in range(4)))
    log.packets.progress(Progress(Mark(EPOCH, 1)))
    log.packets.reject(EPOCH, EPOCH + 4)
    question, again = log.replay()
    assert (question.seq, question.packets) == (2, [])
    assert (again.epoch, again.seq, again.packets) == (NEXT, 0, [Audio(b"\2"), Audio(b"\3")])
    assert again.snapshot is not None
    (following,) = log.send(Audio(b"x"))
    assert (following.epoch, following.seq) == (NEXT, 2)


def test_what_took_effect_in_an_epoch_that_was_refused_does_not_again() -> None:
    """One worker has refused it, another one had taken it: an item behind audio that may still be needed."""
    log = Log()
    log.send(*(Audio(bytes([n])) for n in range(4)))
    log.packets.progress(Progress(Mark(EPOCH, 1)))
    log.packets.reject(EPOCH, EPOCH + 4)
    log.taken()
    log.state.snapshot = Snapshot(cursor=Cursor(events=Mark(EPOCH, 3), packet=Mark(EPOCH, 2), packet_bytes=1))
    (replay,) = log.replay()
    assert replay.snapshot is not None
    assert (replay.snapshot.cursor.events, replay.snapshot.cursor.packet) == (Mark(NEXT, 1), Mark(NEXT, 0))
    log.state.snapshot = Snapshot(cursor=Cursor(events=Mark(EPOCH, 1)))
    (replay,) = log.replay()
    assert replay.snapshot is not None
    assert replay.snapshot.cursor.events == Mark(EPOCH, 1), "it is not sent again"


def test_progress_of_another_epoch_means_nothing() -> None:
    log = Log()
    log.send(Audio(b"a"))
    log.packets.progress(Progress(Mark(EPOCH - 1, 100)))
    assert log.packets.retained == 1


def test_what_waits_is_counted_in_messages() -> None:
    log = Log()
    log.send(Audio(b"a"), Audio(b"b"), Audio(b"c"))
    log.send(Audio(b"d"))
    assert log.packets.retained_envelopes == 2
    log.packets.progress(Progress(Mark(EPOCH, 1)))
    assert log.packets.retained_envelopes == 2, "the first is not done with as a whole"
    log.packets.progress(Progress(Mark(EPOCH, 2)))
    assert log.packets.retained_envelopes == 1
    log.packets.reject(EPOCH, EPOCH)
    log.packets.progress(Progress(Mark(NEXT, 0)))
    assert (log.packets.retained, log.packets.retained_envelopes) == (0, 0)


def test_retained_audio_is_bounded_and_what_is_given_up_is_counted() -> None:
    log = Log(retained_seconds=5)
    second = b"\1" * 48_000
    for _ in range(60):
        log.send(Audio(second))
    assert log.dropped > 0
    assert log.packets.retained + log.dropped == 60
    assert log.packets.retained <= 5 + (1 << 20) // 48_000 + 1
    assert numbered(log.replay())[0][0] == log.dropped


def test_a_change_of_codec_begins_another_envelope() -> None:
    log = Log()
    log.packets.add(Audio(b"a"), "pcm16/24000", 0)
    log.packets.add(Audio(b"b"), "g711_ulaw/8000", 0)
    envelopes = log.send()
    assert [(envelope.codec, envelope.seq) for envelope in envelopes] == [("pcm16/24000", 0), ("g711_ulaw/8000", 1)]
    assert [envelope.codec for envelope in log.replay()] == ["pcm16/24000", "g711_ulaw/8000"]


def test_end_closes_the_epoch_and_an_unused_epoch_needs_no_end() -> None:
    log = Log()
    log.packets.end(0)
    assert log.out == []
    log.packets.add(Audio(b"a"), "pcm16/24000", 0)
    log.packets.end(0)
    (published,) = (command for command in log.out if isinstance(command, do.Publish))
    assert published.envelope.packets == [Audio(b"a"), EpochEnd()]
    assert published.fresh == 2


packets = st.one_of(
    st.binary(min_size=1, max_size=300_000).map(Audio),
    st.text(max_size=50).map(lambda text: CreateItem(Item("i", "user", text))),
)


@given(st.lists(st.tuples(packets, st.booleans(), st.integers(0, 12)), max_size=20))
def test_a_replay_always_gives_exactly_what_was_sent_and_not_done(steps: list[tuple[Packet, bool, int]]) -> None:
    log = Log(retained_seconds=600)
    sent: list[tuple[int, Packet]] = []
    done = -1
    for packet, flush, progress in steps:
        log.packets.add(packet, "pcm16/24000", 0)
        if flush:
            log.packets.flush(0)
        envelopes = log.taken()
        sent += numbered(envelopes)
        for envelope in envelopes:
            assert len(envelope.encode()) < MAX_BODY_BYTES
        if progress < len(sent):
            done = max(done, progress)
            log.packets.progress(Progress(Mark(EPOCH, progress)))
    assert [seq for seq, _ in sent] == list(range(len(sent)))
    replay = log.replay()
    assert numbered(replay) == [(seq, packet) for seq, packet in sent if seq > done]
    assert replay[0].snapshot is not None
    assert all(envelope.snapshot is None for envelope in replay[1:])
    assert all(len(envelope.encode()) < MAX_ENVELOPE_BYTES * 2 for envelope in replay)


# Silence


@pytest.mark.parametrize(("codec", "silent"), [("pcm16/24000", 0), ("g711_ulaw/8000", 0xFF), ("g711_alaw/8000", 0xD5)])
def test_digital_silence_is_described_and_read_back(codec: Codec, silent: int) -> None:
    log = Log()
    quiet, loud = bytes([silent]) * 960, bytes([silent]) * 959 + b"\1"
    for data in (quiet, loud):
        log.packets.add(Audio(data), codec, 0)
    log.packets.depart(0)
    (envelope,) = log.taken()
    assert envelope.packets == [Silence(960), Audio(loud)]
    assert [audio_of(packet, codec) for packet in envelope.packets] == [quiet, loud]


def test_a_long_slice_of_silence_is_carried_as_it_is() -> None:
    assert described(Audio(bytes(70_000)), "pcm16/24000") == Audio(bytes(70_000))


@pytest.mark.parametrize(("size", "read"), [(-1, 0), (100_000, 100_000), (1 << 40, MAX_AUDIO_BYTES)])
def test_what_a_description_makes_of_itself_is_bounded(size: int, read: int) -> None:
    assert len(audio_of(Silence(size), "g711_ulaw/8000")) == read


# What waits for the broker


def test_what_waits_for_the_broker_is_bounded_in_bytes() -> None:
    log = Log()
    megabyte = Audio(b"\1" * (1 << 20))
    for _ in range(4):
        assert log.packets.pending.full_since is None
        log.packets.add(megabyte, "pcm16/24000", 7.0)
    assert log.packets.pending.full_since == 7.0
    log.packets.depart(7.1)
    log.packets.pending.confirmed(1, 8.0, 1 << 20)
    assert log.packets.pending.full_since == 7.0
    log.packets.pending.confirmed(1, 8.0, 1 << 20)
    assert log.packets.pending.full_since is None
