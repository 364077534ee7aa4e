"""One session's turns: speech in, transcript, response, speech out. Sans I/O: envelopes, results of the stages and the
clock go in, commands come out, so a conversation of half a minute is tested in milliseconds and replayed to the byte.

Each input walks one way: order → utterances or client events → response → outlet. What makes a successor's work exact:
- packets are applied in order, and none while the network hears or an utterance is being transcribed;
- what becomes of an utterance, or of a client event, is published at one position together with the snapshot;
- a response's next message is made when the one before is confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from litevoice_contracts import events, metrics, packets
from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.envelopes import MessageId, UpEnvelope
from litevoice_worker import client_events, utterances
from litevoice_worker.commands import Command, Failed, Listened, Outcome, Published, Result, Transcribed
from litevoice_worker.dialogue import Dialogue
from litevoice_worker.hearing import Listener
from litevoice_worker.order import Arrival, Backlog, PacketOrder
from litevoice_worker.outlet import MAX_EVENTS, Outlet

PAUSE_SECONDS = 2.0
"""A pause in the audio this long ends its padding."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See PipelineSettings and WorkerSettings."""

    max_utterance_seconds: int = 60
    ahead_milliseconds: int = 2000
    epoch_wait_seconds: float = 0.5


class Turns:
    """The state machine of one session; every input returns the commands that follow from it. `ids`: of the messages
    that it publishes, shared by all sessions of a process (see `message_ids`).

    Attributes:
        wake_at: when `tick` wants to be called; None for never.
    """

    __slots__ = (
        "_backlog",
        "_dialogue",
        "_last_audio",
        "_order",
        "_outlet",
        "id",
        "wake_at",
    )

    def __init__(self, session_id: str, limits: Limits, ids: Iterator[MessageId]) -> None:
        self.id = session_id
        self.wake_at: float | None = None
        self._outlet = Outlet(ids)
        self._order = PacketOrder(limits.epoch_wait_seconds)
        self._backlog = Backlog()
        self._last_audio = 0.0
        listener = Listener(limits.max_utterance_seconds)
        self._dialogue = Dialogue(session_id, listener, limits.ahead_milliseconds, self._order, self._outlet)

    @property
    def idle(self) -> bool:
        """Nothing is under way: the session can be forgotten without anybody waiting."""
        return self._outlet.empty and not (self._dialogue.busy or self._dialogue.listening or self._backlog)

    @property
    def unheard(self) -> tuple[int, int]:
        """What waits: bytes of audio, and, when it waits for the network, units of audio (see audio.py)."""
        return self._backlog.bytes, self._backlog.units if self._dialogue.listening else 0

    @property
    def confirmed(self) -> bool:
        """The broker has confirmed everything that was published."""
        return self._outlet.empty

    @property
    def at_work(self) -> bool:
        """The owner waits for something: the end of an utterance, its transcript, or a response."""
        return self._dialogue.busy or self._dialogue.listener.open or bool(self._backlog) or not self._outlet.empty

    # Inputs

    def receive(self, envelope: UpEnvelope, now: float, *, uncertain: bool = False) -> list[Command]:
        """The session's next envelope; `uncertain`: a former owner of the partition may have applied it already."""
        arrival = self._order.receive(envelope, now, uncertain=uncertain)
        if not envelope.packets and self._order.known and not arrival.begin:
            self._dialogue.tell()  # the owner wonders: perhaps something has not reached it
        return self._walk(arrival, now)

    def handle(self, results: Iterable[Result], now: float) -> list[Command]:
        """Results of the stages and of the broker, in their order. Those of jobs that are no longer wanted are ignored;
        what follows from several of them is published in one message."""
        for result in results:
            self._handle(result, now)
        return self._walk(Arrival(), now)

    def _handle(self, result: Result, now: float) -> None:
        transcription, response = self._dialogue.transcription, self._dialogue.response
        match result:
            case Published():
                self._outlet.confirmed()
            case Listened(job, probabilities):
                if job == self._dialogue.listening:
                    self._backlog.put_back(utterances.listened(self._dialogue, probabilities, now))
            case Failed(job) if job == self._dialogue.listening:
                self._drop()
            case Transcribed(job, text) if transcription and job == transcription.job:
                utterances.transcribed(self._dialogue, transcription, text)
            case Failed(job, message) if transcription and job == transcription.job:
                utterances.not_transcribed(self._dialogue, transcription, message)
            case _ if response:
                response.take(result)

    def tick(self, now: float) -> list[Command]:
        """The clock alone; harmless at any time."""
        return self._walk(self._order.tick(now), now)

    def failed(self) -> None:
        """The machine before this one has failed."""
        self._order.forget(failed=True)

    def abandon(self, now: float) -> list[Command]:
        """Another worker takes over: stops everything and asks the owner to send what is unfinished again."""
        dialogue = self._dialogue
        open_work = dialogue.busy or dialogue.listening or self._backlog or dialogue.listener.open
        unfinished = self._order.known and open_work
        self._forget()
        if unfinished:
            self._dialogue.publish([events.TurnReplay("handed_over", self._order.applied)])
        return self._walk(Arrival(), now)

    # The way of every input

    def _walk(self, arrival: Arrival, now: float) -> list[Command]:
        self._take(arrival, now)
        self._apply(now)
        if now - self._last_audio >= PAUSE_SECONDS and self._pausable:
            utterances.pause(self._dialogue, self._order.applied)
        self._respond(now)
        self._report()
        self.wake_at = self._next_wake()
        return self._outlet.take()

    def _take(self, arrival: Arrival, now: float) -> None:
        """What the packet order says of an envelope."""
        if arrival.begin:
            self._stop()
            self._dialogue.take_back()
            snapshot = arrival.begin.snapshot or Snapshot()
            self._dialogue.begin(snapshot, arrival.begin.resume, arrival.begin.turn)
            self._last_audio = 0.0
        if arrival.duplicates:
            self._outlet.count(metrics.WORKER_DUPLICATES, arrival.duplicates)
        if arrival.packets:
            self._outlet.count(metrics.WORKER_PACKETS, len(arrival.packets))
        if arrival.question:
            self._outlet.count(metrics.WORKER_GAPS)
            self._stop()
            self._dialogue.ask(arrival.question)
            return
        if arrival.rejected is not None:
            self._dialogue.publish([events.EpochRejected(arrival.rejected, self._order.epoch)])
        self._backlog.add(arrival.packets)
        if any(isinstance(numbered.packet, packets.AUDIO) for numbered in arrival.packets):
            self._last_audio = now

    def _apply(self, now: float) -> None:
        dialogue, backlog = self._dialogue, self._backlog
        while backlog and not (dialogue.transcription or dialogue.listening):
            if backlog.next_is_audio:
                audio = backlog.take_audio(dialogue.listener.appetite)
                backlog.put_back(utterances.hear(dialogue, audio, now))
            else:
                client_events.apply(dialogue, backlog.take(), now)
        if backlog.full:
            self._drop()

    def _respond(self, now: float) -> None:
        """All that is due of the response, in one message."""
        news: list[events.DownEvent] = []
        while self._outlet.empty and (response := self._dialogue.response) and len(news) < MAX_EVENTS:
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

    def _next_wake(self) -> float | None:
        wake = self._order.deadline
        if self._pausable:
            wake = _earlier(wake, self._last_audio + PAUSE_SECONDS)
        if self._outlet.empty and self._dialogue.response:
            wake = _earlier(wake, self._dialogue.response.wait_until)
        return wake

    @property
    def _pausable(self) -> bool:
        listener = self._dialogue.listener
        waits = self._dialogue.transcription or self._dialogue.listening or self._backlog
        return self._order.known and not (waits or listener.open or listener.empty)

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
