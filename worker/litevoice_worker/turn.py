"""One session's turns: speech in, transcript, response, speech out. Sans I/O: envelopes, results of the stages and the
clock go in, commands come out, so a conversation of half a minute is tested in milliseconds and replayed to the byte.

Each input walks one way: order → utterances or client events → response → outlet. What makes a successor's work exact:
- packets are applied in order, and none while the network hears;
- what becomes of an utterance, or of a client event, is published at one position together with the snapshot;
- a response's next message is made when the one before is confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from litevoice_contracts import events, metrics, packets
from litevoice_contracts.control import WorkerStage
from litevoice_contracts.conversation import Mark, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageIds, UpEnvelope
from litevoice_worker import client_events, idleness, utterances
from litevoice_worker.commands import Command, Failed, Heard, Judged, Listened, Outcome, Published, Result, Transcribed
from litevoice_worker.dialogue import Dialogue
from litevoice_worker.hearing import Listener
from litevoice_worker.order import Arrival, Backlog, PacketOrder
from litevoice_worker.outlet import MAX_EVENTS, Outlet

PAUSE_SECONDS = 2.0
"""A pause in the audio this long ends its padding."""
UNDECIDED_PAUSE_SECONDS = 90.0
"""The same for audio that may have begun an utterance: an outage may hold up the rest of it, for as long as gateways
keep what they cannot send (60 s). One that is open by then ends there: its gateway, which puts silence in for a client
that stops sending, is gone."""

UNHEARD_SECONDS = 2.0
"""So long after it began, at least, a worker that has heard all there is takes announced speech for lost."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See PipelineSettings and WorkerSettings."""

    max_utterance_seconds: int = 30
    ahead_milliseconds: int = 2000
    interrupt_after_milliseconds: int = 300
    epoch_wait_seconds: float = 0.5


class Turns:
    """The state machine of one session; every input returns the commands that follow from it. `ids`: of the messages
    that it publishes, shared by all sessions of a process.

    Attributes:
        wake_at: when `tick` wants to be called; None for never.
    """

    __slots__ = (
        "_backlog",
        "_dialogue",
        "_ids",
        "_last_audio",
        "_order",
        "_outlet",
        "_question",
        "id",
        "wake_at",
    )

    def __init__(self, session_id: str, limits: Limits, ids: MessageIds) -> None:
        self.id = session_id
        self.wake_at: float | None = None
        self._ids = ids
        self._question = 0  # number of the first that was not answered yet
        self._outlet = Outlet(ids)
        self._order = PacketOrder(limits.epoch_wait_seconds)
        self._backlog = Backlog()
        self._last_audio = 0.0
        listener = Listener(limits.max_utterance_seconds)
        ahead, interrupt_after = limits.ahead_milliseconds, limits.interrupt_after_milliseconds
        self._dialogue = Dialogue(session_id, listener, ahead, interrupt_after, self._order, self._outlet)

    @property
    def idle(self) -> bool:
        """Nothing is under way: the session can be forgotten without anybody waiting."""
        return self._outlet.empty and not (self._dialogue.busy or self._dialogue.listening or self._backlog)

    @property
    def unheard(self) -> tuple[int, int]:
        """What waits: bytes of audio, for the recognizer too, and units of it (see audio.py) for the network."""
        return self._backlog.bytes + self._dialogue.held_bytes, self._backlog.units if self._dialogue.listening else 0

    @property
    def confirmed(self) -> bool:
        """The broker has confirmed everything that was published."""
        return self._outlet.empty

    @property
    def at_work(self) -> bool:
        """The owner waits for something: the end of an utterance, its transcript, or a response."""
        return self._dialogue.busy or self._dialogue.listener.open or bool(self._backlog) or not self._outlet.empty

    @property
    def turn(self) -> int:
        return self._dialogue.turn

    @property
    def queued(self) -> int:
        """Packets that wait to be applied."""
        return len(self._backlog)

    @property
    def stage(self) -> WorkerStage:
        """What the session is in, as far as the machine knows: not which stage is at work on it."""
        dialogue = self._dialogue
        if dialogue.listening:
            return "turn" if dialogue.judging else "vad"
        if not self._outlet.empty:
            return "publishing"
        if dialogue.responses:
            return "speaking"
        if dialogue.busy:
            return "asr"
        return "listening" if dialogue.listener.open else "idle"

    # Inputs

    def receive(self, envelope: UpEnvelope, now: float, *, uncertain: bool = False) -> list[Command]:
        """The session's next envelope; `uncertain`: a former owner of the partition may have applied it already.

        Not so the answer to this one's own question: it begins from that, whatever its clock says. From what answers
        another's it begins only if it has asked since: else nobody would know that it has tried, and died of it."""
        answer = envelope.asker == self._ids.sender and 0 < self._question <= envelope.question
        untold = bool(envelope.asker) and not (answer or self._order.asked)
        arrival = self._order.receive(envelope, now, uncertain=untold or (uncertain and not answer))
        if not envelope.packets and self._order.known and not arrival.begin:
            self._dialogue.tell()  # the owner wonders: perhaps something has not reached it
        return self._walk(arrival, now)

    def handle(self, results: Iterable[Result], now: float) -> list[Command]:
        """Results of the stages and of the broker, in their order. Those of jobs that are no longer wanted are ignored;
        what follows from several of them is published in one message."""
        self._dialogue.now = now
        for result in results:
            self._handle(result, now)
        return self._walk(Arrival(), now)

    def _handle(self, result: Result, now: float) -> None:
        match result:
            case Published():
                self._outlet.confirmed()
            case Listened(job, probabilities):
                if job == self._dialogue.listening:
                    self._backlog.put_back(utterances.listened(self._dialogue, probabilities, now))
            case Judged(job) | Failed(job) if self._dialogue.judging and job == self._dialogue.listening:
                utterances.judged(self._dialogue, result, now)
            case Failed(job) if job == self._dialogue.listening:
                self._drop()
            case Heard(job, text) if transcription := self._dialogue.transcription(job):
                transcription.heard += text
            case Transcribed(job) | Failed(job) if transcription := self._dialogue.transcription(job):
                utterances.recognized(self._dialogue, transcription, result)
            case _:
                for response in self._dialogue.responses:
                    response.take(result)

    def tick(self, now: float) -> list[Command]:
        """The clock alone; harmless at any time."""
        return self._walk(self._order.tick(now), now)

    def failed(self) -> None:
        """The machine before this one has failed."""
        self._order.forget(failed=True)

    def abandon(self, now: float) -> list[Command]:
        """Another worker takes over: stops everything and asks the owner to send what is unfinished again. Who has
        asked, and has no answer yet, says as well that it leaves, in the attempt that its question has begun: nothing
        may have been tried."""
        dialogue, order = self._dialogue, self._order
        attempt, unfinished = order.attempt + order.asked, self._unfinished
        self._forget()
        if unfinished:
            self._outlet.publish(order.epoch, dialogue.turn, [events.TurnReplay("handed_over", order.applied)], attempt)
        return self._walk(Arrival(), now)

    def displaced(self) -> DownEnvelope | None:
        """Another worker has taken the session: what is to be said in its log, if anything, also in place of what a
        handover has not sent yet. Nothing follows, but what is on its way may come after it."""
        if self.confirmed and not self._unfinished:
            return None
        order, turn = self._order, self._dialogue.turn
        return DownEnvelope(order.epoch, turn, [events.Displaced()], order.attempt, None, next(self._ids))

    # The way of every input

    def _walk(self, arrival: Arrival, now: float) -> list[Command]:
        self._dialogue.now = now
        self._take(arrival, now)
        self._apply(now)
        if self._pausable and self._pause_ends(now):
            utterances.pause(self._dialogue, self._order.applied, now)
        if self._all_heard and self._dialogue.unheard and now - self._dialogue.begun_at >= UNHEARD_SECONDS:
            utterances.end_unheard(self._dialogue)
        if self._all_heard and idleness.timed_out(self._dialogue, now, self._last_audio):
            idleness.time_out(self._dialogue, now)
        if self._outlet.empty:
            utterances.tell_heard(self._dialogue)  # of a recognizer that is faster than the broker, more at a time
        self._respond(now)
        self._report()
        self.wake_at = self._next_wake(now)
        return self._outlet.take()

    def _take(self, arrival: Arrival, now: float) -> None:
        """What the packet order says of an envelope."""
        if arrival.begin:
            self._question = 0
            self._stop()
            self._dialogue.take_back()
            begin, snapshot = arrival.begin, arrival.begin.snapshot or Snapshot()
            self._dialogue.begin(snapshot, begin.resume_points, begin.turn, begin.epoch)
            self._last_audio = now
        if arrival.duplicates:
            self._outlet.count(metrics.WORKER_DUPLICATES, arrival.duplicates)
        if arrival.packets:
            self._outlet.count(metrics.WORKER_PACKETS, len(arrival.packets))
        if arrival.question:
            self._outlet.count(metrics.WORKER_GAPS)
            self._stop()
            self._dialogue.ask(arrival.question)
            if self._outlet.last is not None:
                self._question = self._question or self._outlet.last.number
            return
        if arrival.rejected is not None:
            self._dialogue.publish([events.EpochRejected(arrival.rejected, self._order.epoch)])
        self._backlog.add(arrival.packets)
        if any(isinstance(numbered.packet, packets.AUDIO) for numbered in arrival.packets):
            self._last_audio = now

    def _apply(self, now: float) -> None:
        dialogue, backlog = self._dialogue, self._backlog
        while not (dialogue.deaf or dialogue.listening):
            if not backlog.gives_up and utterances.end_again(dialogue, self._unheard_mark, now):
                continue
            if not backlog:
                break
            if backlog.next_is_audio:
                audio = backlog.take_audio(dialogue.listener.appetite)
                backlog.put_back(utterances.hear(dialogue, audio, now))
            else:
                client_events.apply(dialogue, backlog.take(), now)
        if backlog.full:
            message = "audio came faster than it could be recognized, and too much waited: some of it was dropped"
            dialogue.publish([events.SessionError("input_audio_dropped", message)])
            self._drop()

    @property
    def _unheard_mark(self) -> Mark:
        """Everything before that packet was heard, once the network has."""
        return self._backlog.next_mark or Mark(self._order.epoch, self._order.next_seq)

    def _respond(self, now: float) -> None:
        """All that is due of the responses, in one message; the conversation's comes first."""
        news: list[events.DownEvent] = []
        for response in self._dialogue.responses:
            waits = self._dialogue.waits(response)
            while not waits and self._outlet.empty and len(news) < MAX_EVENTS:
                match response.next(now):
                    case None:
                        break
                    case Outcome() as outcome:
                        self._dialogue.finish_response(response, outcome, before=news)
                        news = []
                    case event:
                        news.append(event)
        if news:
            self._dialogue.publish(news)

    def _report(self) -> None:
        self._outlet.send_next()
        dropped = self._dialogue.conversation.take_dropped()
        if dropped:
            self._outlet.count(metrics.WORKER_DROPPED, dropped, "conversation_items")

    def _next_wake(self, now: float) -> float | None:
        wake = self._order.deadline
        if self._pausable:
            pause = PAUSE_SECONDS if now - self._last_audio < PAUSE_SECONDS else UNDECIDED_PAUSE_SECONDS
            wake = _earlier(wake, self._last_audio + pause)
        if self._all_heard:
            wake = _earlier(wake, idleness.wake_at(self._dialogue, self._last_audio))
        if self._outlet.empty:
            for response in self._dialogue.responses:
                wake = _earlier(wake, response.wait_until)
        return wake

    @property
    def _unfinished(self) -> bool:
        """The owner waits for an answer, or for what was begun."""
        dialogue, order = self._dialogue, self._order
        heard = dialogue.listener.open or dialogue.cursor.open_turn  # a turn is open even if its audio is lost
        return order.asked or (order.known and bool(dialogue.busy or dialogue.listening or self._backlog or heard))

    @property
    def _all_heard(self) -> bool:
        """Of what has come."""
        waits = self._dialogue.deaf or self._dialogue.listening or self._backlog
        return self._order.known and not waits

    @property
    def _pausable(self) -> bool:
        listener = self._dialogue.listener
        detected = self._dialogue.place.detection is not None
        return self._all_heard and (detected if listener.open else not listener.empty)

    def _pause_ends(self, now: float) -> bool:
        """What comes does not continue what was heard."""
        pause = now - self._last_audio
        listener = self._dialogue.listener
        undecided = listener.open or listener.undecided
        return pause >= UNDECIDED_PAUSE_SECONDS or (pause >= PAUSE_SECONDS and not undecided)

    def _stop(self) -> None:
        self._dialogue.stop()
        self._backlog.clear()

    def _drop(self) -> None:
        """It cannot go on like this."""
        self._outlet.count(metrics.WORKER_DROPPED, label="sessions")
        self._forget(failed=True)

    def _forget(self, *, failed: bool = False) -> None:
        """Ends all work; the session goes on from what its owner sends again."""
        self._stop()
        self._order.forget(failed=failed)


def _earlier(one: float | None, other: float | None) -> float | None:
    """None is never."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
