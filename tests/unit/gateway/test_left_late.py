"""What a gateway leaves to the next one may come late: a worker has begun from a replay that lacked it by then, or the
client has sent it again. Found by the simulator with callers who leave early."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from litevoice_contracts import events
from litevoice_contracts.conversation import Cursor, Mark, Snapshot, Untranscribed
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_contracts.news import SessionNews
from litevoice_contracts.packets import Audio, CreateResponse, EpochEnd, Packet, Silence
from litevoice_contracts.positions import START, EventId
from litevoice_gateway.epochs import TIE_BITS
from litevoice_gateway.handover import needed
from litevoice_gateway.lacking import is_lacked
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.runs import Run
from litevoice_gateway.session import LEFT_SECONDS
from litevoice_worker.order import PacketOrder
from tests.unit.gateway.driver import LATER, PENDING, WALL, Driver
from tests.unit.gateway.test_handover import SOUND, applied, asked, ended, next_owner, speaking


def asks(order: PacketOrder, envelopes: list[UpEnvelope]) -> bool:
    return any(order.receive(envelope, 10.0).question is not None for envelope in envelopes)


def begun_without_it(log: list[bytes]) -> tuple[Driver, PacketOrder]:
    """The second owner has answered a question before the log had what the first has left; a worker has begun."""
    second = next_owner(log[:-1])
    second.audio(1)
    second.pass_time(0.2)
    order = PacketOrder(0.5)
    for envelope in asked(second):
        order.receive(envelope, 0.0)
    second.clear()
    return second, order


def deliver(driver: Driver, body: bytes) -> None:
    driver.session.delivered(driver.position, body, driver.now)
    driver.position += 1
    driver.take()


def test_news_of_a_worker_that_has_begun_without_it_do_not_settle_it() -> None:
    """They say how far it is in the second owner's epoch; of the first one's it has nothing."""
    log = ended(speaking(3))
    second, order = begun_without_it(log)
    second.session.worker_is_alive(second.now, SessionNews("s_1", events.Progress(Mark(LATER, 0)), attempt=1))
    deliver(second, log[-1])
    assert asks(order, second.published)
    assert applied(asked(second, attempt=1)) == [SOUND] * 3, "the second owner's own is done with"


def test_who_comes_later_learns_from_the_refusal_that_the_worker_lacks_it() -> None:
    """The second owner has gone before it came; to the worker the third answers a question that has had its answer."""
    log = ended(speaking(3))
    question = DownEnvelope(WALL, 1, [events.TurnReplay("unknown_session")]).encode()
    _, order = begun_without_it(log)
    third = Driver(resume=START)
    third.wall += 1000
    for body in (log[0], question, log[-1]):
        third.session.delivered(third.position, body, third.now)
        third.position += 1
    third.take()
    third.pass_time(1)
    (replay,) = third.published
    assert (replay.epoch, replay.attempt, order.receive(replay, 5.0).rejected) == (WALL, 1, WALL)
    third.clear()
    third.down(events.EpochRejected(WALL, LATER), attempt=1)
    (empty,) = third.published
    assert (empty.packets, empty.seq, empty.provokes) == ([], 1, True), "whoever gets it misses something"
    order.receive(empty, 5.0)
    waited = order.tick(6.0)
    assert waited.question is not None
    assert applied(asked(third, attempt=1)) == [SOUND] * 3
    third.clear()
    third.down(events.EpochRejected(WALL - 1, LATER), attempt=2)
    assert third.published == [], "of another one's epoch"


@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize("comes", [True, False])
def test_a_question_waits_for_an_utterance_that_may_still_come(*, over: bool, comes: bool) -> None:
    """A worker that begins without its audio can only tell the client that it is lost, if it has ended, and else
    understands what is said from now on as all of it."""
    first = speaking(3)
    if over:
        ends = Cursor(untranscribed=[Untranscribed(1, Mark(WALL, 2))])
        first.down(events.InputCommitted("i1"), snapshot=Snapshot(cursor=ends))
    *log, left_to_the_next = ended(first)
    second = Driver(resume=START)
    for body in log:
        deliver(second, body)
    second.audio(2)
    second.pass_time(0.1)
    assert asked(second) == []
    if comes:
        second.pass_time(LEFT_SECONDS - 0.2)
        deliver(second, left_to_the_next)
    else:
        second.pass_time(LEFT_SECONDS)
    assert applied(second.published) == [SOUND] * (5 if comes else 2)


def test_it_waits_for_the_rest_of_what_two_owners_have_left() -> None:
    """The second one has brought the utterance on, and leaves its part late."""
    first = speaking(3)
    log = ended(first)
    middle = DownEnvelope(LATER, 1, [], snapshot=Snapshot(cursor=Cursor(open_turn=1)))
    third = Driver(resume=START)
    for body in (*log, middle.encode()):
        deliver(third, body)
    third.audio(1)
    third.pass_time(0.1)
    assert asked(third) == []
    late = events.Handover(LATER, 0, [SOUND, SOUND, EpochEnd()], "pcm16/24000")
    deliver(third, DownEnvelope(LATER, 1, [late]).encode())
    assert applied(third.published) == [SOUND] * 6


PIECES = {
    "a long one": (Cursor(untranscribed=[Untranscribed(1, Mark(WALL, 5))]), [], events.Handover(WALL, 3, [SOUND] * 3)),
    "the next one, by another owner": (
        Cursor(untranscribed=[Untranscribed(1, Mark(WALL, 2))], open_turn=2),
        [EpochEnd()],
        events.Handover(LATER, 0, [SOUND] * 3),
    ),
}


@pytest.mark.parametrize(("cursor", "end", "rest"), PIECES.values(), ids=PIECES)
def test_it_waits_for_the_rest_of_what_comes_in_pieces(
    cursor: Cursor, end: list[Packet], rest: events.Handover
) -> None:
    """Without the end of an utterance a worker tells it as lost."""
    second = Driver(resume=START)
    first = events.Handover(WALL, 0, [SOUND, SOUND, SOUND, *end])
    for said in (DownEnvelope(rest.epoch, 1, [], snapshot=Snapshot(cursor=cursor)), DownEnvelope(WALL, 1, [first])):
        deliver(second, said.encode())
    second.pass_time(0.2)
    assert asked(second) == []
    second.pass_time(LEFT_SECONDS - 0.4)
    deliver(second, DownEnvelope(rest.epoch, 1, [rest]).encode())
    assert applied(second.published) == [SOUND] * 6


def test_it_does_not_wait_for_one_that_has_begun_here() -> None:
    second = Driver(resume=START)
    second.audio(2)
    second.pass_time(0.2)
    second.down(events.SpeechStarted("i1", 0))
    assert applied(asked(second)) == [SOUND] * 2


def came_back(*, settled: int, confirmed: int, handed: tuple[events.Handover, ...] = ()) -> Driver:
    """To an owner whose log is settled up to `settled`, with `handed`; its client has been told that the broker has
    `confirmed` appends."""
    protocol = OpenAIRealtime(lambda: "item_new", resume=START, confirmed_appends=confirmed)
    second = Driver(resume=START, protocol=protocol)
    deliver(second, DownEnvelope(WALL, 1, [], snapshot=Snapshot(cursor=Cursor(client_seq=settled))).encode())
    for entry in handed:
        deliver(second, DownEnvelope(WALL, 1, [entry]).encode())
    return second


def handed_over(seq: int, *numbers: int) -> events.Handover:
    return events.Handover(WALL, seq, [*(SOUND for _ in numbers), EpochEnd()], client_seqs=[*numbers, None])


@pytest.mark.parametrize("comes", [True, False])
def test_a_question_waits_for_what_the_clients_numbers_show_to_be_missing(*, comes: bool) -> None:
    """No worker has said that somebody speaks, and the broker has more than the client sends again (seed 14457)."""
    second = came_back(settled=4, confirmed=6)
    second.audio(1)
    second.pass_time(0.2)
    assert asked(second) == []
    if comes:
        deliver(second, DownEnvelope(WALL, 1, [handed_over(9, 5, 6)]).encode())
    else:
        second.pass_time(LEFT_SECONDS)
    assert applied(second.published) == [SOUND] * (3 if comes else 1)


def test_it_waits_for_the_clients_first_number_while_nobody_waits_for_anything() -> None:
    """It may take longer to come than the question."""
    second = came_back(settled=4, confirmed=6)
    second.pass_time(0.2)
    assert asked(second) == []
    second.audio(1)
    second.pass_time(0.2)
    assert [len(one.packets) for one in second.published] == [1]
    assert second.published[0].snapshot is None, "no answer yet: two are missing"


@pytest.mark.parametrize(("confirmed", "left"), [(4, ()), (6, (handed_over(0, 5, 6),)), (9, (handed_over(3, 8, 9),))])
def test_it_does_not_wait_when_nothing_is_missing(confirmed: int, left: tuple[events.Handover, ...]) -> None:
    """A worker was done with what the owner before has dropped, though the log has no snapshot of it."""
    second = came_back(settled=4, confirmed=confirmed, handed=left)
    second.audio(1)
    second.pass_time(0.2)
    assert asked(second) != []


def test_nor_when_the_client_asks_for_something_that_has_no_number() -> None:
    second = came_back(settled=4, confirmed=6)
    second.pass_time(0.2)
    assert asked(second) == []
    second.say(type="response.create")
    replay, *own = second.published
    assert replay.snapshot is not None
    assert applied([replay, *own]) == [CreateResponse()]


def test_nor_when_it_gets_to_know_so_while_it_waits() -> None:
    second = came_back(settled=4, confirmed=4)
    second.pass_time(0.2)
    assert asked(second) == []
    second.audio(1)
    second.pass_time(0.1)
    replay, *own = second.published
    assert replay.snapshot is not None
    assert applied([replay, *own]) == [SOUND]


@pytest.mark.parametrize("left", [True, False])
def test_who_stands_still_before_its_epoch_begins_comes_before_who_owns_the_session_meanwhile(left: bool) -> None:
    """Whether it goes on, or does no more than leave what it has: a worker takes a newer epoch for the owner's."""
    frozen, meanwhile = Driver(resume=START), Driver(resume=START)
    meanwhile.wall += 1000
    meanwhile.pass_time(1.0)
    frozen.wall += 5000
    if left:
        frozen.now += 5.0
        frozen.audio()
        frozen.session.disconnected(frozen.now)
        frozen.take()
    else:
        frozen.pass_time(5.0, step=5.0)
        frozen.audio()
    meanwhile.audio()
    meanwhile.pass_time(0.2)
    frozen.pass_time(0.2)
    assert max(one.epoch for one in frozen.published) < min(one.epoch for one in meanwhile.published)


@pytest.mark.parametrize("left", [True, False])
def test_nor_does_who_stands_still_while_it_reads_the_log_come_after_that_one(left: bool) -> None:
    """What had come of the log is read at the thaw, before the broker has said whose the session is."""
    (body, *_) = speaking().bodies
    frozen, meanwhile = Driver(resume=EventId(0, -1)), Driver(resume=EventId(0, -1))
    meanwhile.wall += 1000
    frozen.wall, frozen.now = frozen.wall + 5000, frozen.now + 5.0
    for owner in (meanwhile, frozen):
        deliver(owner, body)
        owner.audio()
    if left:
        frozen.session.disconnected(frozen.now)
        frozen.take()
    meanwhile.pass_time(0.2)
    frozen.pass_time(0.2)
    assert max(one.epoch for one in frozen.published) < min(one.epoch for one in meanwhile.published)


@pytest.mark.parametrize("ended_there", [True, False])
def test_what_the_client_has_sent_again_is_not_asked_for(ended_there: bool) -> None:
    """Once a worker has ended the utterance: it would hear it twice, and not find the end of the first."""
    second = Driver(resume=START)
    second.pass_time(LEFT_SECONDS)
    second.say(type="session.update", session={"litevoice": {"confirmed_appends": 0}})
    second.audio(2)
    second.pass_time(0.2)
    own = asked(second)[-1]
    assert own.client_seqs == [None, 1, 2]
    waits = [Untranscribed(1, Mark(own.epoch, 2))] if ended_there else []
    second.down(events.InputCommitted("i1"), snapshot=Snapshot(cursor=Cursor(untranscribed=waits)), attempt=1)
    second.clear()
    late = events.Handover(own.epoch - 5, 0, [SOUND, EpochEnd()], own.codec, [1, None])
    deliver(second, DownEnvelope(own.epoch - 5, 1, [late]).encode())
    assert len(second.published) == (0 if ended_there else 1)
    epochs = [envelope.epoch for envelope in asked(second, attempt=1)]
    assert epochs == ([own.epoch] if ended_there else [own.epoch - 5, own.epoch])


@pytest.mark.parametrize(("confirmed", "asked_for"), [(6, False), (4, True)])
def test_a_worker_that_alone_has_what_is_missing_is_not_made_to_ask(confirmed: int, *, asked_for: bool) -> None:
    """An owner in between, whose clock was ahead, was killed before a worker had said anything in its epoch. What the
    worker is made to ask about it forgets (seed 80849)."""
    third, order = came_back(settled=4, confirmed=confirmed), PacketOrder(0.5)
    ahead = LATER + (100 << TIE_BITS)
    between, settled = range(5, confirmed + 1), Snapshot(cursor=Cursor(client_seq=4))
    packets: list[Packet] = [SOUND for _ in between]
    order.receive(UpEnvelope("s_1", ahead, 0, 1, packets, snapshot=settled, client_seqs=[*between]), 0.0)
    third.audio(2)
    third.pass_time(0.2)
    (own,) = third.published
    assert order.receive(own, 1.0).rejected == own.epoch
    third.clear()
    third.down(events.EpochRejected(own.epoch, ahead))
    third.audio(1)
    third.pass_time(0.2)
    arrivals = [*(order.receive(envelope, 1.0) for envelope in third.published), order.tick(2.0)]
    assert any(arrival.question for arrival in arrivals) == asked_for
    assert [packet.packet for arrival in arrivals for packet in arrival.packets] == ([] if asked_for else [SOUND] * 3)


def test_unless_another_worker_has_begun_with_what_it_refuses() -> None:
    """What has no number would take effect twice there: two take themselves for the partition's owner."""
    third = came_back(settled=4, confirmed=6)
    third.audio(1)
    third.say(type="response.create")
    third.pass_time(LEFT_SECONDS)
    (own,) = third.published
    assert own.client_seqs == [7, None]
    third.down(events.ResponseStarted("r1", "i2"), snapshot=Snapshot(pending=PENDING, cursor=Cursor(client_seq=4)))
    third.clear()
    third.down(events.EpochRejected(own.epoch, LATER + (100 << TIE_BITS)))
    assert [(one.provokes, one.packets) for one in third.published] == [(True, [])]


def run_of_numbers(*numbers: int | None) -> Run:
    run = Run("g711_ulaw/8000", 0.0)
    for number in numbers:
        run.add(Audio(b"\1"), 1, number)
    return run


def left(epoch: int, *numbers: int | None, then: tuple[Packet, ...] = ()) -> events.Handover:
    packets: list[Packet] = [*(Audio(b"\1") for _ in numbers), *then]
    return events.Handover(epoch, 0, packets, "g711_ulaw/8000", [*numbers, *(None for _ in then)], None)


END = (Silence(800), EpochEnd())


@pytest.mark.parametrize(
    ("entry", "settled", "again", "lacked"),
    [
        (left(1, 7, 8), None, None, True),
        (left(1, 7, 8), 7, None, True),
        (left(1, 7, 8, then=END), 8, None, False),
        (left(1, None), 8, None, True),
        (left(1, then=END), None, None, False),
        (left(1, 7, 8), 6, 8, True),
        (left(1, 7, 8), 6, 7, False),
        (left(1, None, 7), 6, 7, True),
    ],
)
def test_lacked_is_what_says_something_that_no_worker_is_done_with_nor_the_client_sends_again(
    entry: events.Handover, settled: int | None, again: int | None, *, lacked: bool
) -> None:
    assert is_lacked(entry, settled, again) == lacked


@pytest.mark.parametrize(("again", "asks"), [(True, 0), (False, 1)])
def test_who_has_refused_what_the_client_sends_again_is_not_made_to_ask(*, again: bool, asks: int) -> None:
    """It may have what an owner in between has sent it, which was killed: nobody else has that."""
    third = came_back(settled=4, confirmed=4 if again else 5, handed=(handed_over(0, 5),))
    third.audio(1)
    third.pass_time(0.2)
    third.clear()
    third.down(events.EpochRejected(WALL, LATER))
    assert sum(one.provokes for one in third.published) == asks


@pytest.mark.parametrize(("packet", "asks"), [(SOUND, 1), (Silence(800), 0)])
def test_a_worker_that_has_begun_without_silence_is_not_made_to_begin_anew(packet: Packet, asks: int) -> None:
    """It may have what an owner in between has sent it, which was killed: nobody else has that."""
    late = events.Handover(WALL, 0, [packet, EpochEnd()], "g711_ulaw/8000")
    third = next_owner([DownEnvelope(WALL, 1, [late]).encode()])
    third.clear()
    third.down(events.EpochRejected(WALL, LATER))
    assert len(third.published) == asks


@pytest.mark.parametrize(
    ("why", "entries", "own", "first_end", "kept"),
    [
        ("no utterance waits", [left(1, 7, 8)], [run_of_numbers(7, 8, 9)], None, [1]),
        (
            "it has ended in what came again",
            [left(1, 7, 8, then=END)],
            [run_of_numbers(7), run_of_numbers(8)],
            2,
            [],
        ),
        ("it has ended in what was left", [left(1, 7, 8)], [run_of_numbers(7, 8)], 1, [1]),
        ("not all was sent again", [left(1, 6, 7)], [run_of_numbers(7, 8)], 2, [1]),
        ("nobody has numbered it", [left(1, None)], [run_of_numbers(None)], 2, [1]),
        ("it says nothing", [left(1, then=END)], [run_of_numbers(7)], 2, [1]),
        ("sent again to an owner that has left it, too", [left(1, 7), left(2, 7, 8)], [], 2, [2]),
        ("twice", [left(1, 7), left(2, 7, 8)], [run_of_numbers(7, 8)], 3, []),
    ],
)
def test_what_the_client_has_sent_again_replaces_what_was_left(
    why: str, entries: list[events.Handover], own: list[Run], first_end: int | None, kept: list[int]
) -> None:
    end = None if first_end is None else Mark(first_end, 4)
    assert [entry.epoch for entry in needed(entries, own, end)] == kept, why


def test_what_was_sent_again_in_part_is_left_up_to_there() -> None:
    """With the rest the end of the utterance would come under another mark than it was told with."""
    (entry,) = needed([left(1, 6, 7, 8, then=END)], [run_of_numbers(7, 8, 9)], Mark(2, 1))
    assert (entry.packets, entry.client_seqs) == ([Audio(b"\1"), EpochEnd()], [6, None])
    (whole,) = needed([left(1, 5, 6)], [run_of_numbers(7, 8)], Mark(2, 1))
    assert whole == left(1, 5, 6)


@pytest.mark.parametrize(("again", "kept"), [(3, [1, 2, None]), (1, [])])
def test_nor_does_the_silence_come_before_that_was_left_after_it(again: int, kept: list[int | None]) -> None:
    """It is in a message of its own, when what was left is long: a worker would take what was sent again for known."""
    quiet = replace(left(1, 4), seq=3, packets=[Silence(800)])
    found = needed([left(1, 1, 2, 3), quiet], [run_of_numbers(*range(again, 6))], Mark(2, 1))
    assert [number for entry in found for number in entry.client_seqs or ()] == kept
