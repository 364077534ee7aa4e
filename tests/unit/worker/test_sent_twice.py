"""A bundle that had no answer is sent again and stands in the partition twice. When another worker takes the partition
between the two, the second looks like any new one to it; nobody may hear anything twice for that."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from litevoice_broker.producer import SENT_AGAIN
from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, Mark, Snapshot
from litevoice_contracts.envelopes import MessageIds, UpEnvelope
from litevoice_worker.commands import Publish, Published, Respond, Tell
from litevoice_worker.turn import Limits, Turns
from tests.unit.worker.scenarios import finished
from tests.unit.worker.world import World

ONE_QUESTION: list[tuple[float, int]] = [(1.0, 0), (1.2, 1), (9.0, 0)]


def undisturbed(world: World) -> list[object]:
    world.run(20)
    return world.transcript()


def spoken() -> World:
    world = World()
    world.stream(ONE_QUESTION)
    return world


def typed(*, at: float = 0.5) -> World:
    """All of the question in what goes up first."""
    world = World()
    world.at(at, lambda: type_question(world, "typed", "What is the capital of France?"))
    world.stream([(2.0, 0)], start=6.0)  # somebody must send something, or nobody finds a dead worker
    return world


def type_question(world: World, item_id: str, text: str) -> None:
    for packet in (packets.CreateItem(Item(item_id, "user", text)), packets.CreateResponse()):
        world.uplink.add(packet, "pcm16/24000", world.now)
    world.uplink.flush(world.now)
    world._carry_up()


@pytest.mark.parametrize("death", [2.74, 2.94, 3.04, 3.14, 3.24, 4.04])
def test_a_replay_that_is_sent_twice_is_begun_from_by_who_has_asked_for_it(death: float) -> None:
    """Its worker dies between the first word and the end of the answer; the second time, the next one reads it."""
    world = spoken()
    world.at(2.6, world.kill)  # so that there is a replay
    world.run(death)
    replays = [number for number, (_, envelope) in enumerate(world._partition) if envelope.asker]
    assert len(replays) == 1
    world.kill(sent_twice=len(world._partition) - replays[0])
    world.run(20)
    assert world.transcript() == undisturbed(spoken())
    assert len(world.of(events.InputTranscribed)) == 1
    assert [envelope.asker for _, envelope in world._partition if envelope.asker] == [2, 2, 3]


@pytest.mark.parametrize(("marked", "clocks_differ"), [(False, 0.0), (True, 0.0), (True, 3600.0)])
@pytest.mark.parametrize("death", [0.52, 0.55, 0.6, 1.5])
def test_a_first_packet_that_is_sent_twice_is_applied_once(death: float, marked: bool, clocks_differ: float) -> None:
    """Whatever the clocks say, if it says that it was sent again; by the clocks, if that came first."""
    world = typed()
    world.clocks_differ = clocks_differ
    world.run(death)
    assert (len(world._partition), len(world.log)) >= (1, 1)
    world.kill(sent_twice=1, marked=marked)
    world.run(20)
    assert world.transcript() == undisturbed(typed())


@pytest.mark.parametrize("replayed", [False, True])
def test_what_comes_again_after_its_turn_is_over_computes_nothing(replayed: bool) -> None:
    world = typed()
    if replayed:
        world.at(0.51, world.kill)
        world.at(0.52, lambda: world.kill(redelivered=1))
    world.run(5.0)
    assert world.of(events.ResponseFinished)
    asked = len(world.prompts)
    world.kill(sent_twice=len(world._partition))
    world.run(20)
    assert len(world.prompts) == asked
    assert world.transcript() == undisturbed(typed())


@pytest.mark.parametrize("sent_twice", [0, 1])
def test_a_worker_that_follows_in_silence_need_not_ask(sent_twice: int) -> None:
    """The next thing that is sent is newer than it, and says what was before. Unless something older comes first."""
    world = typed()
    world.at(5.0, lambda: world.kill(sent_twice=sent_twice))
    world.at(5.5, lambda: type_question(world, "again", "What did I ask first?"))
    world.run(20)
    assert world.replays == sent_twice
    assert [len(prompt.items) for prompt in world.prompts] == [1, 3]
    assert len(world.of(events.ResponseFinished)) == 2


@pytest.mark.parametrize("after", [0.0, 0.001, 0.0021, 0.01])
def test_a_worker_that_follows_at_the_end_of_a_turn_computes_it_no_second_time(after: float) -> None:
    """The end is on its way to the log, or to the gateway, or there."""
    whole = spoken()
    whole.run(20)
    ends = next(at for at, event in whole.client if isinstance(event, events.ResponseFinished)) - 0.002
    world = spoken()
    world.run(ends + after - 1000)
    world.kill(sent_twice=3)
    world.at(11.5, lambda: type_question(world, "typed", "What did I ask first?"))
    world.run(20)
    assert len(world.prompts) == 2, "one for each question"
    assert len(world.of(events.ResponseFinished)) == 2


@pytest.mark.parametrize("seconds", [-3600.0, -1.0, 1.0, 3600.0])
def test_clocks_that_differ_cost_a_question_at_most(seconds: float) -> None:
    world = spoken()
    world.clocks_differ = seconds
    world.at(2.6, lambda: world.kill(redelivered=1))
    world.at(8.04, world.kill)
    world.run(20)
    assert world.transcript() == undisturbed(spoken())
    assert world.replays <= 3, "one for each worker"
    assert len(world.prompts) == 1


def test_what_a_client_sends_again_to_another_gateway_computes_nothing_at_another_worker() -> None:
    """It was answered before the silence ahead of it was settled; then its gateway died, and its worker left."""
    silence: list[packets.Packet] = [packets.Silence(800)]
    question: list[packets.Packet] = [packets.CreateItem(Item("i", "user", "hello")), packets.CreateResponse()]
    first, second = (Turns("s", Limits(), MessageIds(number)) for number in (1, 2))
    sent: list[packets.Packet] = [*silence, *question]
    up = UpEnvelope("s", 1, 0, 0, sent, "g711_ulaw/8000", snapshot=Snapshot(), client_seqs=[1, 2, 3])
    said = [command for command in first.receive(up, 0.0) if isinstance(command, Publish)]
    snapshot = next(one.envelope.snapshot for one in reversed(said) if one.envelope.snapshot)
    assert (snapshot.cursor.event_client_seq, snapshot.cursor.client_seq) == (3, None)
    answered = replace(snapshot, pending=None, boundary=None)
    again = UpEnvelope("s", 2, 0, 1, question, "g711_ulaw/8000", 1, answered, client_seqs=[2, 3])
    assert not any(isinstance(command, Publish | Respond) for command in second.receive(again, 0.0))
    new = UpEnvelope("s", 2, 2, 1, [packets.CreateResponse()], "g711_ulaw/8000", 1, client_seqs=[4])
    assert any(isinstance(command, Publish) for command in second.receive(new, 0.1))


def test_who_reads_the_partition_again_does_not_begin_from_what_answered_an_earlier_question() -> None:
    """It had the session, asked, lost the partition to one that has gone on, and has it back."""
    ids = MessageIds(1)
    stream = UpEnvelope("s", 1, 4, 1, [packets.Silence(800)], "g711_ulaw/8000")

    def asks(machine: Turns) -> int:
        (asked,) = (one for one in machine.receive(stream, 0.0, uncertain=True) if isinstance(one, Publish))
        machine.handle([Published()], 0.0)
        assert asked.envelope.id is not None
        return asked.envelope.id.number

    def begins(machine: Turns, question: int) -> bool:
        sent: list[packets.Packet] = [packets.CreateItem(Item("i", "user", "hello")), packets.CreateResponse()]
        replay = UpEnvelope("s", 1, 0, 1, sent, "g711_ulaw/8000", question, Snapshot(), asker=1, question=question)
        said = [one for one in machine.receive(replay, 0.1, uncertain=True) if isinstance(one, Publish)]
        machine.handle([Published()], 0.1)
        return any(isinstance(event, events.ItemCreated) for one in said for event in one.envelope.events)

    before = asks(Turns("s", Limits(), ids))
    machine = Turns("s", Limits(), ids)
    now = asks(machine)
    assert not begins(machine, before)
    assert begins(machine, now)


def test_nobody_begins_from_what_answers_anothers_question_without_a_word() -> None:
    """Should it die of what is in it, nothing in the log would tell that it had tried (seed 11913)."""
    machine = Turns("s", Limits(), MessageIds(1))
    sent: list[packets.Packet] = [packets.CreateItem(Item("i", "user", "hello"))]

    def said(asker: int, attempt: int) -> list[type[events.DownEvent]]:
        replay = UpEnvelope("s", 1, 0, 1, sent, "g711_ulaw/8000", attempt, Snapshot(), asker=asker, question=1)
        published = [one for one in machine.receive(replay, 0.0) if isinstance(one, Publish)]
        machine.handle([Published()], 0.0)
        return [type(event) for one in published for event in one.envelope.events]

    assert said(asker=7, attempt=3) == [events.TurnReplay]
    assert said(asker=7, attempt=3) == [], "it has asked"
    assert events.ItemCreated in said(asker=1, attempt=4)


def test_the_first_utterance_is_needed_after_its_epoch_is_over() -> None:
    """It is not understood yet, so the next worker must hear it again: its gateway must keep it."""
    tone = packets.Audio(b"\x80\x00" * 800)
    first = Turns("s", Limits(), MessageIds(1))
    spoken: list[packets.Packet] = [tone, tone, packets.EpochEnd()]
    first.receive(
        UpEnvelope("s", 1, 0, 0, spoken, "g711_ulaw/8000", snapshot=Snapshot(), client_seqs=[1, 2, None]), 0.0
    )
    first.receive(UpEnvelope("s", 2, 0, 0, [packets.Commit()], "g711_ulaw/8000", client_seqs=[3]), 0.1)
    (told,) = first.receive(UpEnvelope("s", 2, 1, 0, [], "g711_ulaw/8000"), 0.2)
    assert isinstance(told, Tell)
    assert told.progress.upto == Mark(1, -1)


@pytest.mark.parametrize("marked", [True, False])
def test_what_has_the_next_worker_ask_is_sent_twice(*, marked: bool) -> None:
    """A worker leaves as planned in the middle of an answer. The next one has begun from its replay by then, and asks
    no more: it would begin its answer again, and its model would be paid twice."""
    world = World()
    world.at(0.5, lambda: type_question(world, "typed", "Tell me the story of the lighthouse."))
    world.run(1)
    world.do(world.machine.abandon(world.now))
    world.run(1.004)
    world.kill()
    world.run(1.5)
    ((message, nudge),) = [(message, envelope) for message, envelope in world._partition if envelope.provokes]
    world._store(nudge, message.born_at, {SENT_AGAIN: "1"} if marked else {})
    world.run(60)
    assert [response.status for response in finished(world)] == ["completed"]
    assert (world.replays, len(world.prompts)) == (2, 2)
