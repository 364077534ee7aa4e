"""Order of a session's packets: whatever the broker delivers twice, each is applied once and in the same order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.conversation import Mark
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_contracts.packets import Audio, EpochEnd, Packet
from litevoice_worker.uplink import MAX_HELD_ENVELOPES, Uplink

WAIT = 0.5


def envelope(epoch: int, seq: int, count: int, *, end: bool = False) -> UpEnvelope:
    packets: list[Packet] = [Audio(f"{epoch}/{seq + n}".encode()) for n in range(count)]
    return UpEnvelope("s", epoch, seq, 0, [*packets, EpochEnd()] if end else packets)


def started(epoch: int = 1, seq: int = 0) -> Uplink:
    uplink = Uplink(WAIT)
    uplink.start(epoch, seq)
    return uplink


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[UpEnvelope], list[UpEnvelope]]:
    """A partition's envelopes of one session, and what comes of them when batches are delivered again."""
    log: list[UpEnvelope] = []
    for epoch in range(1, draw(st.integers(1, 3)) + 1):
        seq = 0
        for _ in range(draw(st.integers(1, 5))):
            count = draw(st.integers(0, 4))
            log.append(envelope(epoch, seq, count))
            seq += count
        log.append(envelope(epoch, seq, 0, end=True))
    delivered: list[UpEnvelope] = []
    position = 0
    while position < len(log):
        batch = draw(st.integers(1, len(log) - position))
        delivered += log[position : position + batch]
        position += batch
        if draw(st.booleans()):  # not acknowledged in time: the broker goes back
            position -= draw(st.integers(0, min(batch, position)))
            if len(delivered) > 60:
                position = max(position, len(log) - 1)
    return log, delivered


@given(deliveries())
def test_any_redelivery_gives_the_same_order(case: tuple[list[UpEnvelope], list[UpEnvelope]]) -> None:
    log, delivered = case
    want = [(e.epoch, e.seq + n) for e in log for n in range(len(e.packets))]
    uplink = started()
    got = [packet.mark for e in delivered for packet in uplink.receive(e, 0).packets]
    got += [packet.mark for packet in uplink.tick(WAIT).packets]
    assert [(mark.epoch, mark.seq) for mark in got] == want


def test_duplicates_are_counted_and_a_partial_one_brings_its_rest() -> None:
    uplink = started()
    uplink.receive(envelope(1, 0, 5), 0)
    received = uplink.receive(envelope(1, 3, 4), 0)
    assert (received.duplicates, [p.mark.seq for p in received.packets]) == (2, [5, 6])


def test_a_gap_takes_nothing() -> None:
    uplink = started()
    received = uplink.receive(envelope(1, 2, 3), 0)
    assert (received.gap, received.packets, uplink.next_seq) == (True, [], 0)


def test_an_empty_envelope_beyond_the_next_packet_is_a_gap_too() -> None:
    uplink = started(1, 5)
    assert uplink.receive(envelope(1, 6, 0), 0).gap
    assert not uplink.receive(envelope(1, 5, 0), 0).gap


def test_a_new_owner_begins_after_the_end_of_the_old_one() -> None:
    uplink = started()
    assert uplink.receive(envelope(2, 0, 1), 10).packets == []
    assert uplink.deadline == 10 + WAIT
    received = uplink.receive(envelope(1, 0, 1, end=True), 10.1)
    assert [packet.mark for packet in received.packets] == [Mark(1, 0), Mark(1, 1), Mark(2, 0)]
    assert uplink.deadline is None


def test_a_new_owner_begins_after_a_while_when_the_old_one_died() -> None:
    uplink = started()
    uplink.receive(envelope(2, 0, 2), 10)
    assert uplink.tick(10.4).packets == []
    assert [packet.mark for packet in uplink.tick(10.5).packets] == [Mark(2, 0), Mark(2, 1)]


def test_after_the_end_nothing_waits() -> None:
    uplink = started()
    uplink.receive(envelope(1, 0, 0, end=True), 0)
    assert [packet.mark for packet in uplink.receive(envelope(2, 0, 1), 0).packets] == [Mark(2, 0)]


def test_the_old_owner_is_refused_unless_it_only_repeats() -> None:
    uplink = started()
    uplink.receive(envelope(1, 0, 3, end=True), 0)
    uplink.receive(envelope(2, 0, 1), 0)
    assert uplink.receive(envelope(1, 0, 3), 0).duplicates == 3
    assert uplink.receive(envelope(1, 4, 1), 0).rejected
    assert uplink.receive(envelope(0, 0, 1), 0).rejected


def test_what_waits_is_bounded() -> None:
    uplink = started()
    for seq in range(MAX_HELD_ENVELOPES - 1):
        assert uplink.receive(envelope(2, seq, 1), 0).packets == []
    received = uplink.receive(envelope(2, MAX_HELD_ENVELOPES - 1, 1), 0)
    assert len(received.packets) == MAX_HELD_ENVELOPES


def test_a_missing_first_packet_of_a_new_epoch_is_a_gap() -> None:
    uplink = started()
    uplink.receive(envelope(1, 0, 0, end=True), 0)
    assert uplink.receive(envelope(2, 3, 1), 0).gap
