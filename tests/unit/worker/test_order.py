"""Order of a session's packets: whatever the broker delivers twice, each is applied once and in the same order; and
what is done with each envelope."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from litevoice_contracts.conversation import Cursor, Mark, ResponseRequest, Snapshot
from litevoice_contracts.envelopes import ResumePoint, UpEnvelope
from litevoice_contracts.events import TurnReplay
from litevoice_contracts.packets import Audio, EpochEnd, Packet
from litevoice_worker.order import ASK_AGAIN_SECONDS, MAX_HELD_ENVELOPES, Arrival, PacketOrder

WAIT = 0.5


def envelope(epoch: int, seq: int, count: int, *, end: bool = False) -> UpEnvelope:
    packets: list[Packet] = [Audio(f"{epoch}/{seq + n}".encode()) for n in range(count)]
    return UpEnvelope("s", epoch, seq, 0, [*packets, EpochEnd()] if end else packets)


def started(epoch: int = 1, seq: int = 0) -> PacketOrder:
    """It has begun from a snapshot before that packet."""
    order = PacketOrder(WAIT)
    assert order.receive(UpEnvelope("s", epoch, seq, 0, [], snapshot=Snapshot(boundary=Mark(epoch, seq - 1))), 0).begin
    return order


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
    order = started()
    got = [packet.mark for e in delivered for packet in order.receive(e, 0).packets]
    got += [packet.mark for packet in order.tick(WAIT).packets]
    assert [(mark.epoch, mark.seq) for mark in got] == want


def test_duplicates_are_counted_and_a_partial_one_brings_its_rest() -> None:
    order = started()
    order.receive(envelope(1, 0, 5), 0)
    received = order.receive(envelope(1, 3, 4), 0)
    assert (received.duplicates, [p.mark.seq for p in received.packets]) == (2, [5, 6])


def test_a_gap_takes_nothing() -> None:
    order = started()
    received = order.receive(envelope(1, 2, 3), 0)
    assert (received.gap, received.packets, order.next_seq) == (True, [], 0)


def test_an_empty_envelope_beyond_the_next_packet_is_a_gap_too() -> None:
    order = started(1, 5)
    assert order.receive(envelope(1, 6, 0), 0).gap
    assert not order.receive(envelope(1, 5, 0), 0).gap


def test_a_new_owner_begins_after_the_end_of_the_old_one() -> None:
    order = started()
    assert order.receive(envelope(2, 0, 1), 10).packets == []
    assert order.deadline == 10 + WAIT
    received = order.receive(envelope(1, 0, 1, end=True), 10.1)
    assert [packet.mark for packet in received.packets] == [Mark(1, 0), Mark(1, 1), Mark(2, 0)]
    assert order.deadline is None


def test_a_new_owner_begins_after_a_while_when_the_old_one_died() -> None:
    order = started()
    order.receive(envelope(2, 0, 2), 10)
    assert order.tick(10.4).packets == []
    assert [packet.mark for packet in order.tick(10.5).packets] == [Mark(2, 0), Mark(2, 1)]


def test_after_the_end_nothing_waits() -> None:
    order = started()
    order.receive(envelope(1, 0, 0, end=True), 0)
    assert [packet.mark for packet in order.receive(envelope(2, 0, 1), 0).packets] == [Mark(2, 0)]


def test_the_old_owner_is_refused_unless_it_only_repeats() -> None:
    order = started()
    order.receive(envelope(1, 0, 3, end=True), 0)
    order.receive(envelope(2, 0, 1), 0)
    assert order.receive(envelope(1, 0, 3), 0).duplicates == 3
    assert order.receive(envelope(1, 4, 1), 0).rejected == 1
    assert order.receive(envelope(0, 0, 1), 0).rejected == 0


def test_what_is_sent_again_as_an_answer_is_refused_each_time() -> None:
    """Its sender has waited for nothing else: without a word it would for ever."""
    order = started(epoch=2)
    assert order.receive(envelope(1, 4, 1), 0).rejected == 1
    assert order.receive(envelope(1, 5, 1), 0.5).rejected is None
    answer = replace(envelope(1, 0, 3), snapshot=Snapshot(), asker=7, question=1)
    assert order.receive(answer, 0.6).rejected == 1


def test_who_is_refused_because_a_newer_epoch_has_waited_is_told() -> None:
    """Perhaps nothing more comes: what it has left is asked for then, or its owner opens a higher one."""
    order = started()
    assert order.receive(envelope(3, 0, 1), 10.0).rejected is None
    assert order.receive(envelope(2, 0, 1), 10.2).rejected is None
    waited = order.tick(10.5)
    assert ([packet.mark for packet in waited.packets], waited.rejected) == ([Mark(3, 0)], 2)


def test_what_waits_is_bounded() -> None:
    order = started()
    for seq in range(MAX_HELD_ENVELOPES - 1):
        assert order.receive(envelope(2, seq, 1), 0).packets == []
    received = order.receive(envelope(2, MAX_HELD_ENVELOPES - 1, 1), 0)
    assert len(received.packets) == MAX_HELD_ENVELOPES


def test_a_missing_first_packet_of_a_new_epoch_is_a_gap() -> None:
    order = started()
    order.receive(envelope(1, 0, 0, end=True), 0)
    assert order.receive(envelope(2, 3, 1), 0).gap


def test_a_waiting_epoch_whose_first_packet_is_missing_is_asked_for_when_its_time_has_come() -> None:
    """Without waiting for another envelope: the client may say nothing more."""
    order = started()
    assert decision(order.receive(envelope(2, 5, 1), 10)) == "drop"
    received = order.tick(10 + WAIT)
    assert (received.packets, decision(received)) == ([], "ask")
    assert received.question is not None
    assert received.question.epoch == 2
    assert order.deadline is None


def test_what_was_done_with_at_the_beginning_of_an_epoch_is_not_missing() -> None:
    """The owner says so in a replay that begins with an earlier one."""
    order = started()
    later = replace(envelope(2, 5, 2), continues=True)
    order.receive(later, 10)
    order.receive(envelope(2, 7, 1), 10)
    received = order.tick(10 + WAIT)
    assert (len(received.packets), decision(received), order.applied) == (3, "apply", Mark(2, 7))
    assert order.receive(later, 11).duplicates == 2
    assert order.receive(envelope(2, 9, 1), 11).gap


def test_a_waiting_epoch_whose_first_packet_is_late_begins_with_it() -> None:
    order = started()
    order.receive(envelope(2, 1, 1), 10)
    order.receive(envelope(2, 0, 1), 10.1)
    received = order.tick(10 + WAIT)
    assert decision(received) == "ask", "what was numbered before came later: this cannot be in one partition"
    assert order.receive(UpEnvelope("s", 2, 0, 0, [Audio(b"x")], attempt=1, snapshot=Snapshot()), 11).begin


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_question_that_the_owner_has_provoked_says_so(epoch: int) -> None:
    """It is no sign that the turn is poison. One that the worker would have asked anyway is."""
    provokes = replace(envelope(epoch, 1, 0), provokes=True)
    order = started()
    question = order.receive(provokes, 10).question or order.tick(10 + WAIT).question
    assert question is not None
    assert question.events == [TurnReplay("gap", order.applied, provoked=True)]
    question = order.receive(provokes, 10 + WAIT + ASK_AGAIN_SECONDS).question
    assert question is not None
    assert question.events == [TurnReplay("unknown_session")], "it has asked, and has begun from nothing since"


def test_what_provoked_a_question_that_has_had_its_answer_provokes_no_other() -> None:
    """A bundle that had no answer is sent again, and stands twice."""
    order = started(1, 3)
    provokes = replace(envelope(1, 4, 0), provokes=True, attempt=1)
    assert order.receive(provokes, 10).question is not None
    assert order.receive(provokes, 10.1).question is None
    begun = order.receive(replace(envelope(1, 3, 0), attempt=2, snapshot=Snapshot()), 10.2)
    assert begun.begin is not None
    assert decision(order.receive(provokes, 14)) == "drop"
    assert order.receive(replace(provokes, attempt=2), 15).question is not None


def test_a_new_owner_that_only_asks_begins_no_epoch() -> None:
    """What the former one has sent may be on its way, for longer than a new epoch waits."""
    order = started()
    assert decision(order.receive(envelope(2, 0, 0), 10)) == "drop"
    assert order.deadline is None
    order.tick(10 + 2 * WAIT)
    late = order.receive(envelope(1, 0, 3), 10 + 2 * WAIT)
    assert (len(late.packets), late.rejected) == (3, None)
    assert decision(order.receive(envelope(2, 1, 0), 20)) == "drop"
    assert decision(order.tick(20 + WAIT)) == "ask", "one that has said something which is missing"


def test_a_session_that_is_lost_holds_nothing() -> None:
    """What waited would be applied to nothing."""
    order = started()
    order.receive(envelope(2, 0, 1), 10)
    order.forget()
    assert order.deadline is None
    assert order.tick(20).packets == []
    received = order.receive(envelope(2, 1, 1), 20)
    assert received.question is not None
    assert received.question.events == [TurnReplay("unknown_session")]


def test_a_session_that_failed_says_so() -> None:
    order = started()
    order.forget(failed=True)
    received = order.receive(envelope(1, 0, 1), 20)
    assert received.question is not None
    assert received.question.events == [TurnReplay("failed")]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.floats(0, 0.4)), max_size=40))
def test_no_envelope_is_held_longer_than_it_may(steps: list[tuple[int, int, bool, float]]) -> None:
    """Epochs in any order, with packets missing: each is applied, asked for or refused in time."""
    order, now = started(), 0.0
    waits_since: float | None = None
    for epoch, seq, end, pause in steps:
        now += pause
        if order.deadline is not None and now >= order.deadline:
            order.tick(now)
        order.receive(envelope(epoch, seq, 1, end=end), now)
        waits_since = None if order.deadline is None else (now if waits_since is None else waits_since)
        assert (order.deadline is None) == (not order._held)
        assert order.deadline is None or order.deadline <= now + WAIT
    order.tick(now + WAIT)
    for _ in range(4):  # one epoch behind the other
        now += WAIT
        order.tick(now)
    assert order._held == []


def test_a_replay_keeps_the_newer_epoch_that_waits() -> None:
    order = started()
    order.receive(envelope(2, 0, 1), 10)
    assert order.receive(UpEnvelope("s", 1, 0, 0, [Audio(b"x")], attempt=1, snapshot=Snapshot()), 10.1).begin
    assert order.deadline == 10 + WAIT
    assert [packet.mark for packet in order.tick(10.5).packets] == [Mark(2, 0)]


# What is done with an envelope

PENDING = Snapshot(pending=ResponseRequest("r", "i"))
BESIDE = Snapshot(out_of_band=[ResponseRequest("r", "i", out_of_band=True)])
RESUME = ResumePoint("r", "i")


def up(seq: int = 0, attempt: int = 0, snapshot: Snapshot | None = None, **more: Any) -> UpEnvelope:
    packets = more.pop("packets", [Audio(b"x")])
    return UpEnvelope("s", 5, seq, 0, packets, attempt=attempt, snapshot=snapshot, **more)


def decision(arrival: Arrival) -> str:
    if arrival.begin:
        return "begin"
    return "ask" if arrival.question else "apply" if arrival.packets or arrival.duplicates else "drop"


UNKNOWN = [
    ("a new session", up(0, snapshot=Snapshot()), False, "begin"),
    ("the start without a snapshot", up(0), False, "ask"),
    ("the middle without a snapshot", up(7), False, "ask"),
    ("right after the snapshot", up(7, snapshot=Snapshot(boundary=Mark(5, 6))), False, "begin"),
    ("packets missing after the snapshot", up(7, snapshot=Snapshot(boundary=Mark(5, 4))), False, "ask"),
    ("a snapshot of another epoch in the middle", up(7, snapshot=Snapshot(boundary=Mark(4, 6))), False, "ask"),
    ("a response is under way", up(0, snapshot=PENDING), False, "ask"),
    ("a replay of a response", up(0, 1, PENDING, resume=RESUME), False, "begin"),
    ("a response out of band is under way", up(0, snapshot=BESIDE, resume=RESUME), False, "ask"),
    ("a replay of it", up(0, 1, BESIDE, resume_out_of_band=[RESUME]), False, "begin"),
    ("a former owner may have had it", up(0, snapshot=Snapshot()), True, "ask"),
    ("an owner says good-bye", up(9, packets=[EpochEnd()]), False, "drop"),
    ("a nudge", up(9, packets=[]), False, "ask"),
]


@pytest.mark.parametrize(("case", "envelope", "uncertain", "want"), UNKNOWN, ids=[row[0] for row in UNKNOWN])
def test_an_unknown_session(case: str, envelope: UpEnvelope, uncertain: bool, want: str) -> None:
    assert decision(PacketOrder(WAIT).receive(envelope, 0, uncertain=uncertain)) == want


ASKED = [  # after a TurnReplay at 100.0: envelope, time, uncertain, what is done
    ("more of the same", up(8), 100.1, False, "drop"),
    ("a snapshot that is no replay", up(8, snapshot=Snapshot()), 100.1, False, "drop"),
    ("still no replay", up(9), 100 + ASK_AGAIN_SECONDS, False, "ask"),
    ("the replay, perhaps applied before", up(3, 1, Snapshot()), 100.2, True, "ask"),
    ("the replay", up(3, 1, Snapshot()), 100.2, False, "begin"),
    ("a snapshot that does not tell how far the response is", up(3, 1, PENDING), 100.2, False, "drop"),
    ("more of a later attempt", up(8, 1), 100.2, False, "drop"),
    ("a nudge", up(9, packets=[]), 100.2, False, "drop"),
    ("a nudge in a later attempt: ours had ended when we asked", up(9, 1, packets=[]), 100.2, False, "ask"),
    ("the same, perhaps read before", up(9, 1, packets=[]), 100.2, True, "ask"),
]


@pytest.mark.parametrize(("case", "envelope", "now", "uncertain", "want"), ASKED, ids=[row[0] for row in ASKED])
def test_asking_again_and_being_answered(
    case: str, envelope: UpEnvelope, now: float, uncertain: bool, want: str
) -> None:
    order = PacketOrder(WAIT)
    assert decision(order.receive(up(7), 100.0)) == "ask"
    assert decision(order.receive(envelope, now, uncertain=uncertain)) == want


KNOWN = [  # with packets 0 to 3 of attempt 1 applied
    ("the next packet", [up(4, 1)], "apply"),
    ("with a snapshot", [up(4, 1, Snapshot())], "apply"),
    ("a replay", [up(2, 2, Snapshot())], "begin"),
    ("a replay without its first envelope", [up(2, 2)], "ask"),
    ("what was missing, too late", [up(9, 1), up(4, 1)], "drop"),
    ("the replay after a gap", [up(9, 1), up(4, 2, Snapshot())], "begin"),
    ("a replay that does not tell how far the response is", [up(2, 2, PENDING)], "ask"),
]


@pytest.mark.parametrize(("case", "envelopes", "want"), KNOWN, ids=[row[0] for row in KNOWN])
def test_a_known_session_begins_anew_only_when_told(case: str, envelopes: list[UpEnvelope], want: str) -> None:
    order = PacketOrder(WAIT)
    order.receive(up(0, 1, Snapshot(), packets=[Audio(b"x")] * 4), 0)
    assert [decision(order.receive(envelope, 0)) for envelope in envelopes][-1] == want


# The client's own numbers


def numbered(epoch: int, seq: int, *client_seqs: int | None, snapshot: Snapshot | None = None) -> UpEnvelope:
    packets: list[Packet] = [Audio(b"%d" % (number or 0)) for number in client_seqs]
    return UpEnvelope("s", epoch, seq, 0, packets, snapshot=snapshot, client_seqs=list(client_seqs))


def taken(arrival: Arrival) -> list[bytes]:
    return [numbered.packet.data for numbered in arrival.packets if isinstance(numbered.packet, Audio)]


def test_what_a_client_sends_again_to_another_gateway_is_applied_once() -> None:
    order = started()
    assert taken(order.receive(numbered(1, 0, 7, 8, 9), 0)) == [b"7", b"8", b"9"]
    order.receive(numbered(2, 0, 8, 9, 10, 11), 0)
    received = order.tick(WAIT)
    assert (taken(received), received.duplicates) == ([b"10", b"11"], 2)
    assert order.applied == Mark(2, 3)
    assert taken(order.receive(numbered(2, 4, None, 12), 0)) == [b"0", b"12"], "not every packet has a number"


def test_the_next_worker_knows_it_from_the_snapshot() -> None:
    first = started()
    first.receive(numbered(1, 0, 7, 8, 9), 0)
    first.settle(Mark(1, 1))
    assert first.settled_client_seq == 8
    second = PacketOrder(WAIT)
    snapshot = Snapshot(boundary=Mark(1, 1), cursor=Cursor(client_seq=first.settled_client_seq))
    replay = UpEnvelope("s", 1, 2, 0, [Audio(b"9")], attempt=1, snapshot=snapshot, client_seqs=[9])
    assert taken(second.receive(replay, 0)) == [b"9"], "open when the first one died: it has to be heard again"
    second.receive(numbered(2, 0, 8, 9, 10), 0)
    assert taken(second.tick(WAIT)) == [b"10"]
