"""What a worker keeps of a session while its owner has not answered it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from litevoice_contracts.conversation import Cursor, Mark, Snapshot
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_contracts.packets import Audio, EpochEnd, GiveUp
from litevoice_worker.order import PacketOrder
from litevoice_worker.unanswered import MAX_AUDIO_BYTES, MAX_ENVELOPES
from tests.unit.worker.test_order import WAIT, decision, numbered, taken


def answer(epoch: int = 2, *client_seqs: int, **more: Any) -> UpEnvelope:
    """Of this epoch's owner, to the first question."""
    return replace(numbered(epoch, 0, *client_seqs), attempt=1, snapshot=Snapshot(), **more)


def asked_about(*envelopes: UpEnvelope) -> PacketOrder:
    order = PacketOrder(WAIT)
    assert decision(order.receive(envelopes[0], 0)) == "ask"
    for envelope in envelopes[1:]:
        assert decision(order.receive(envelope, 0)) == "drop"
    return order


def begun_from(answers: UpEnvelope, *envelopes: UpEnvelope) -> list[bytes]:
    """By a worker that had asked about `envelopes`."""
    order = asked_about(*envelopes)
    begun = order.receive(answers, 0.1)
    assert begun.begin is not None
    assert begun.begin.snapshot is answers.snapshot
    return taken(begun) + taken(order.tick(0.1 + WAIT))


def test_the_next_owner_lacks_what_the_one_before_was_asked_about_and_the_worker_has_it() -> None:
    """That one was killed before it answered; the client was told that the broker has it."""
    first, second = numbered(1, 0, 1, 2), numbered(1, 2, 3)
    assert begun_from(answer(), first, second) == [b"1", b"2", b"3"]
    assert begun_from(answer(2, 3, 4), first, second) == [b"1", b"2", b"3", b"4"], (
        "the client did not know of the third"
    )
    order = asked_about(first)
    order.receive(answer(), 0.1)
    late = replace(second, packets=[*second.packets, EpochEnd()], client_seqs=[3, None])
    assert taken(order.receive(late, 0.2)) == [b"3"], "it only stood still, or the broker was slow"
    assert taken(order.receive(numbered(2, 0, 3, 4), 0.3)) == [b"4"]


def test_it_goes_on_where_the_snapshot_ends() -> None:
    done = Snapshot(boundary=Mark(1, 0), cursor=Cursor(client_seq=1))
    assert begun_from(replace(answer(), snapshot=done), numbered(1, 0, 1, 2)) == [b"2"]
    assert begun_from(replace(answer(), snapshot=done), numbered(1, 1, 2, 3)) == [b"2", b"3"]


REPLAY = replace(answer(1, 1), asker=7, attempt=0)
"""Of what the owner before has left, to an earlier question."""
KEPT_FOR_NOTHING = [
    ("the same owner answers", answer(1, 1, 2), [numbered(1, 0, 1)], [b"1", b"2"]),
    ("the client has not numbered it", answer(), [numbered(1, 0, None)], []),
    ("nor part of it", answer(), [numbered(1, 0, 1, None)], []),
    ("its beginning is missing", answer(), [numbered(1, 3, 4)], []),
    ("some is missing before it", answer(), [numbered(1, 1, 3)], []),
    ("it is given up", answer(packets=[GiveUp(3, 0)], client_seqs=None), [numbered(1, 0, 1)], []),
    ("a replay, and what follows it", answer(), [numbered(1, 0), REPLAY, numbered(1, 1, 2)], []),
    ("what comes after a gap", answer(), [numbered(1, 0, 1), numbered(1, 2, 3)], [b"1"]),
    ("what another owner has sent meanwhile", answer(3), [numbered(1, 0, 1), numbered(2, 0, 2)], [b"1"]),
]


@pytest.mark.parametrize(
    ("case", "answers", "envelopes", "want"), KEPT_FOR_NOTHING, ids=[row[0] for row in KEPT_FOR_NOTHING]
)
def test_nothing_else_is_kept(case: str, answers: UpEnvelope, envelopes: list[UpEnvelope], want: list[bytes]) -> None:
    assert begun_from(answers, *envelopes) == want


def test_so_does_an_owners_first_packet_whatever_is_missing_before_it() -> None:
    """The answer would have brought it, had anybody left it: it was silence that went with an earlier gateway and its
    worker (seed 5339: the first of two digits was dropped for it)."""
    done = Snapshot(boundary=Mark(0, 5), cursor=Cursor(client_seq=1))
    assert begun_from(replace(answer(2, 10), snapshot=done), numbered(1, 0, 8, 9)) == [b"8", b"9", b"10"]


@pytest.mark.parametrize(
    ("done", "seq"),
    [
        (Snapshot(boundary=Mark(1, 1), cursor=Cursor(client_seq=2)), 0),
        (Snapshot(boundary=Mark(2, 5), cursor=Cursor(client_seq=9)), 0),
        (Snapshot(boundary=Mark(0, 5), cursor=Cursor(client_seq=-1)), 1),
    ],
    ids=["all done with", "by a later owner", "some is missing between"],
)
def test_nor_what_the_snapshot_has_or_does_not_reach(done: Snapshot, seq: int) -> None:
    assert begun_from(replace(answer(), snapshot=done), numbered(1, seq, 1, 2)) == []


def test_what_is_kept_is_bounded() -> None:
    envelopes = [numbered(1, seq, seq + 1) for seq in range(MAX_ENVELOPES + 5)]
    assert len(begun_from(answer(), *envelopes)) == MAX_ENVELOPES


@pytest.mark.parametrize(
    ("answers", "envelopes", "want"),
    [
        (answer(), [(0, 1, 2), (2, 3, 4), (0, 1, 2), (4, 5)], [b"1", b"2", b"3", b"4", b"5"]),
        (
            replace(answer(), snapshot=Snapshot(boundary=Mark(1, 1), cursor=Cursor(client_seq=2))),
            [(0, 1, 2), (2, 3, 4), (0, 1, 2)],
            [b"3", b"4"],
        ),
    ],
)
def test_a_bundle_that_was_sent_again_meanwhile_changes_nothing(
    answers: UpEnvelope, envelopes: list[tuple[int, ...]], want: list[bytes]
) -> None:
    assert begun_from(answers, *(numbered(1, seq, *numbers) for seq, *numbers in envelopes)) == want


def test_the_audio_that_is_kept_is_bounded() -> None:
    long = [replace(numbered(1, seq, seq + 1), packets=[Audio(bytes(MAX_AUDIO_BYTES // 3))]) for seq in range(5)]
    assert len(begun_from(answer(), *long)) == 3


@pytest.mark.parametrize("again", [3, 1])
def test_what_the_client_has_sent_again_is_heard_under_its_new_marks(again: int) -> None:
    """Those an utterance that has ended was told with: it would go on beyond its end. And nobody waits for more."""
    order = asked_about(numbered(1, 0, 1, 2, 3), numbered(1, 3, 4, 5, 6))
    begun = order.receive(answer(2, *range(again, 8)), 0.1)
    given = [one for one in begun.packets if isinstance(one.packet, Audio)]
    assert taken(begun) == [b"%d" % number for number in range(1, 8)]
    assert [one.mark for one in given[again - 1 :]] == [Mark(2, seq) for seq in range(8 - again)]


def left(epoch: int, *client_seqs: int) -> UpEnvelope:
    """What the owner of this epoch has left, as a later one sends it in its answer."""
    own = numbered(epoch, 0, *client_seqs)
    return replace(own, attempt=1, packets=[*own.packets, EpochEnd()], client_seqs=[*client_seqs, None])


def test_what_earlier_owners_have_left_comes_before_what_the_same_owner_was_asked_about() -> None:
    """Else the answer's first epoch, which has ended, was followed by what is kept, and the next one was refused: its
    audio was lost (seed 15868), or what was to be given up began anew (seed 161)."""
    first, *rest = [left(1, 1), left(2, 2), left(3, 3, 4), replace(numbered(4, 0, 5, 6), attempt=1)]
    order = asked_about(numbered(4, 0, 5), numbered(4, 1, 6))
    arrivals = [order.receive(replace(first, snapshot=Snapshot()), 0.1)]
    arrivals += [order.receive(envelope, 0.1) for envelope in rest]
    assert [number for arrival in arrivals for number in taken(arrival)] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert [arrival.rejected for arrival in arrivals] == [None] * 4
