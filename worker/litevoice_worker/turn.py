"""One session's turns: speech in, transcript, answer, speech out. Sans I/O: envelopes, results of the stages and the
clock go in, commands come out, so a conversation of half a minute is tested in milliseconds and replayed to the byte.

Rules that make a successor's work exact:
- packets are applied in order, and none while an utterance is being transcribed;
- what becomes of an utterance, or of a client event, is published at one position together with the snapshot;
- a response's next message is made when the one before is confirmed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from litevoice_contracts import events, metrics, packets
from litevoice_contracts.conversation import Item, Mark, ResponseRequest, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, ResumePoint, UpEnvelope
from litevoice_worker import client_events, speech
from litevoice_worker.admission import Admission
from litevoice_worker.answering import Answer
from litevoice_worker.conversation import Conversation, made_id
from litevoice_worker.listening import Listener, Started, Utterance, Vad
from litevoice_worker.outlet import Outlet
from litevoice_worker.reply import Finish
from litevoice_worker.steps import Command, Failed, Published, Result, Transcribed
from litevoice_worker.uplink import Numbered, Received, Uplink

PROGRESS_SECONDS = 2.0
"""How long the owner may hear nothing while something is under way; a pause in the audio as long ends its padding."""
MAX_BACKLOG_BYTES = 8 << 20
MAX_BACKLOG_PACKETS = 8192
"""Packets that wait for a transcript; at the bound the session is given up and asked for again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See PipelineSettings and WorkerSettings."""

    max_utterance_seconds: int = 60
    ahead_milliseconds: int = 2000
    epoch_wait_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class _Work:
    numbered: Numbered
    offset: int = 0  # bytes of the audio that are done with


class Session:
    """The state machine of one session; every input returns the commands that follow from it.

    Attributes:
        wake_at: when `tick` wants to be called; None for never.
        conversation, listener, answer, opened, cursor, turn: the state, which `client_events` and `speech` change: they
            are the parts of this machine that serve the client's own events and its utterances.
    """

    def __init__(self, session_id: str, limits: Limits, vad: Vad) -> None:
        self.id = session_id
        self.wake_at: float | None = None
        self.outlet = Outlet()
        self.listener = Listener(vad, limits.max_utterance_seconds)
        self._limits = limits
        self._admission = Admission()
        self._uplink = Uplink(limits.epoch_wait_seconds)
        self._last_rejected = (-1, 0.0)
        self._load(Snapshot(), None, 0)

    @property
    def idle(self) -> bool:
        """Nothing is under way: the session can be forgotten without anybody waiting."""
        return self.outlet.empty and not (self.answer or self.opened or self._backlog)

    @property
    def unfinished(self) -> bool:
        """An utterance or a response would be cut off if the session were forgotten now."""
        return self._admission.known and bool(self.answer or self.opened or self._backlog or self.listener.open)

    # Inputs

    def receive(self, envelope: UpEnvelope, now: float, *, uncertain: bool = False) -> list[Command]:
        """The session's next envelope; `uncertain`: a former owner of the partition may have applied it already."""
        next_packet = Mark(self._uplink.epoch, self._uplink.next_seq)
        if self._admission.known and envelope.epoch < self._uplink.epoch:
            self._take(self._uplink.receive(envelope, now), envelope, now)
            return self._advance(now)
        match self._admission.decide(envelope, next_packet, now, uncertain=uncertain):
            case "begin":
                self._stop()
                self._load(envelope.snapshot or Snapshot(), envelope.resume, envelope.turn)
                self.outlet.quiet_since = now
                self._admission.begun(envelope)
                self._uplink.start(envelope.epoch, envelope.seq)
                self._take(self._uplink.receive(envelope, now), envelope, now)
            case "apply":
                self._take(self._uplink.receive(envelope, now), envelope, now)
            case "ask":
                self._ask(envelope, now)
            case "drop":
                pass
        return self._advance(now)

    def handle(self, result: Result, now: float) -> list[Command]:
        """A result of a stage or of the broker. Those of jobs that are not wanted any more are ignored."""
        match result:
            case Published():
                self.outlet.confirmed()
            case Transcribed(job, text) if self.opened and self.opened.job == job:
                speech.understood(self, self.opened, text)
                self._drain(now)
            case Failed(job, message) if self.opened and self.opened.job == job:
                speech.not_understood(self, self.opened, message)
                self._drain(now)
            case _:
                if self.answer:
                    self.answer.take(result)
        return self._advance(now)

    def tick(self, now: float) -> list[Command]:
        """The clock alone; harmless at any time."""
        self._take(self._uplink.tick(now), None, now)
        return self._advance(now)

    def abandon(self, now: float) -> list[Command]:
        """Another worker takes over: stops everything and asks the owner to send what is unfinished again."""
        unfinished = self.unfinished
        self._stop()
        self._admission.known = False
        if unfinished:
            self.publish([events.TurnReplay("unknown_session", self._uplink.applied)])
        return self._advance(now)

    # Beginning, order, the clock

    def _load(self, snapshot: Snapshot, resume: ResumePoint | None, known_turn: int) -> None:
        self.conversation = Conversation(snapshot.config, snapshot.items)
        self.turn = max(snapshot.turn, known_turn)
        # A turn that the owner knows of and the snapshot does not is an utterance whose beginning was announced.
        open_turn = snapshot.cursor.open_turn or (known_turn if known_turn > snapshot.turn else 0)
        self.cursor = replace(snapshot.cursor, open_turn=open_turn)
        self.listener.restart(snapshot.config.turn_detection, snapshot.cursor.audio_ms)
        self._mark = snapshot.boundary
        self._last_audio = 0.0
        self._backlog: deque[_Work] = deque()
        self._backlog_bytes = 0
        self.opened: speech.Opened | None = None
        self.answer: Answer | None = None
        pending = snapshot.pending
        if pending is not None:
            fits = resume is not None and resume.response_id == pending.response_id
            self._answer(pending, resume if fits else None)

    def _stop(self) -> None:
        """Ends all work and takes back what was not sent yet, save for questions to the owner."""
        if self.opened:
            self.outlet.cancel(self.opened.job)
        if self.answer:
            self.answer.stop()
        self.outlet.keep_only(lambda envelope: isinstance(envelope.events[0], events.TurnReplay))
        self.opened, self.answer = None, None
        self._backlog.clear()
        self._backlog_bytes = 0

    def _ask(self, envelope: UpEnvelope, now: float) -> None:
        known = self._admission.known
        self.outlet.count(metrics.WORKER_GAPS)
        self._admission.ask(envelope, now)
        self.turn = max(self.turn, envelope.turn)
        question = events.TurnReplay("gap", self._uplink.applied) if known else events.TurnReplay("unknown_session")
        self.outlet.publish(DownEnvelope(envelope.epoch, self.turn, [question], attempt=envelope.attempt))

    def _take(self, received: Received, envelope: UpEnvelope | None, now: float) -> None:
        if received.duplicates:
            self.outlet.count(metrics.WORKER_DUPLICATES, received.duplicates)
        if received.packets:
            self.outlet.count(metrics.WORKER_PACKETS, len(received.packets))
            self._admission.asked = None
        if envelope is not None and received.gap:
            self._ask(envelope, now)
        if envelope is not None and received.rejected:
            self._reject(envelope.epoch, now)
        for numbered in received.packets:
            self._backlog.append(_Work(numbered))
            self._backlog_bytes += _size(numbered)
            if isinstance(numbered.packet, packets.Audio):
                self._last_audio = now
        self._drain(now)
        if self._backlog_bytes > MAX_BACKLOG_BYTES or len(self._backlog) > MAX_BACKLOG_PACKETS:
            self.outlet.count(metrics.WORKER_DROPPED, label="sessions")
            self._stop()
            self._admission.known = False

    def _reject(self, epoch: int, now: float) -> None:
        last, rejected_at = self._last_rejected
        if epoch != last or now - rejected_at >= 1:
            self._last_rejected = (epoch, now)
            self.publish([events.EpochRejected(self._uplink.epoch)])

    def _advance(self, now: float) -> list[Command]:
        """Whatever can go on now does."""
        self._notice_pause(now)
        while self.outlet.empty and self.answer:
            step = self.answer.step(now)
            if isinstance(step, Finish):
                self.finish(step)
            elif step is not None:
                self.publish([step])
            else:
                break
            self.outlet.send_next(now)
        if (self.answer or self.opened) and self.outlet.empty and now - self.outlet.quiet_since >= PROGRESS_SECONDS:
            self.publish([events.Progress(self.boundary)])
        self.outlet.send_next(now)
        if self.conversation.dropped:
            self.outlet.count(metrics.WORKER_DROPPED, self.conversation.dropped, "conversation_items")
            self.conversation.dropped = 0
        self.wake_at = self._next_wake()
        return self.outlet.take()

    def _next_wake(self) -> float | None:
        times = [self._uplink.deadline]
        if self._pausable:
            times.append(self._last_audio + PROGRESS_SECONDS)
        if self.outlet.empty and (self.answer or self.opened):
            times.append(self.outlet.quiet_since + PROGRESS_SECONDS)
            times.append(self.answer.wait_until if self.answer else None)
        return min((time for time in times if time is not None), default=None)

    @property
    def _pausable(self) -> bool:
        return self.opened is None and not self._backlog and not self.listener.open and not self.listener.empty

    def _notice_pause(self, now: float) -> None:
        """Audio that stopped in silence is needed for nothing: what comes later does not continue it."""
        if self._pausable and now - self._last_audio >= PROGRESS_SECONDS:
            self.restart_listener(self._uplink.applied, self.listener.audio_ms)
            if not self._uplink.ended:  # nobody is left to take it: it would wait at the broker like a backlog
                self.publish([events.Progress(self.boundary)])

    # Publishing

    def publish(self, news: Sequence[events.DownEvent], *, snapshot: bool = False) -> None:
        """One position. With the snapshot whenever the events change it."""
        self.outlet.publish(
            DownEnvelope(
                epoch=self._uplink.epoch,
                turn=self.turn,
                events=list(news),
                attempt=self._admission.attempt,
                snapshot=self._snapshot() if snapshot else None,
            )
        )

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            config=self.conversation.config,
            items=self.conversation.items,
            turn=self.turn,
            boundary=self._mark,
            pending=self.answer.request if self.answer else None,
            cursor=self.cursor,
        )

    @property
    def boundary(self) -> Mark:
        """The last packet that is not needed any more."""
        return self._mark or Mark(self._uplink.epoch, -1)

    # Packets

    def _drain(self, now: float) -> None:
        while self._backlog and self.opened is None:
            work = self._backlog.popleft()
            self._backlog_bytes -= _size(work.numbered)
            mark, packet = work.numbered.mark, work.numbered.packet
            if isinstance(packet, packets.Audio):
                self._hear(work, packet.data, now)
            elif self.cursor.events is None or mark > self.cursor.events:
                self.cursor = replace(self.cursor, events=mark)
                client_events.apply(self, packet, mark, now)

    def _hear(self, work: _Work, data: bytes, now: float) -> None:
        mark, offset = work.numbered.mark, work.offset
        if mark == self.cursor.packet:
            offset = max(offset, self.cursor.packet_bytes)
        heard = self.listener.hear(work.numbered, data, offset)
        rest = heard.consumed_bytes < len(data)
        if rest:
            self._push_back([_Work(work.numbered, heard.consumed_bytes)])
        match heard.found:
            case Started(audio_ms):
                speech.started(self, audio_ms)
            case Utterance() as utterance:
                detection = self.conversation.config.turn_detection
                respond = detection is not None and detection.create_response
                speech.ended(self, utterance, mark, heard.consumed_bytes if rest else None, respond, now)
            case None:
                self._forget_silence()

    def _push_back(self, works: list[_Work]) -> None:
        self._backlog.extendleft(reversed(works))
        self._backlog_bytes += sum(_size(work.numbered) for work in works)

    def _forget_silence(self) -> None:
        """Moves the boundary to where a new utterance cannot reach any more, and hears what is behind it afresh, so
        that this worker is in the state of one that begins at the boundary."""
        quiet = self.listener.quiet()
        if quiet is not None:
            mark, audio_ms, again = quiet
            self.restart_listener(mark, audio_ms)
            self._push_back([_Work(numbered) for numbered in again])
            self.publish([events.Progress(mark)])

    def restart_listener(self, mark: Mark, audio_ms: int) -> None:
        """Forgets the audio up to `mark`, which ends `audio_ms` after the session's first."""
        self.settle(mark)
        self.cursor = replace(self.cursor, audio_ms=audio_ms)
        self.listener.restart(self.conversation.config.turn_detection, audio_ms)

    def settle(self, mark: Mark) -> None:
        """Nothing up to `mark` is needed any more."""
        self._mark = mark

    # Responses

    def begin_response(
        self, wish: packets.CreateResponse, turn: int, asked_at: float | None = None
    ) -> events.ResponseStarted:
        """Begins the response of `turn`; the event is to be published with the snapshot."""
        previous = self.conversation.last_id
        request = ResponseRequest(
            response_id=made_id("resp", self.id, turn),
            item_id=made_id("answer", self.id, turn),
            instructions=wish.instructions or "",
            text_only=self.conversation.config.text_only if wish.text_only is None else wish.text_only,
            metadata=wish.metadata,
            after_item_id=previous or "",
        )
        self._answer(request, None, asked_at)
        return events.ResponseStarted(
            request.response_id, request.item_id, request.text_only, previous, request.metadata
        )

    def finish(
        self,
        finish: Finish,
        *,
        before: Sequence[events.DownEvent] = (),
        after: Sequence[events.DownEvent] = (),
    ) -> None:
        """Ends the response; what was published of it becomes the item's text."""
        answer, self.answer = self.answer, None
        assert answer is not None
        answer.stop()
        if answer.said:
            audio = not answer.request.text_only
            complete = finish.status == "completed"
            self.conversation.append(Item(answer.request.item_id, "assistant", answer.said, audio, complete))
        self.outlet.count(metrics.WORKER_TURNS, label=finish.status)
        self.publish([*before, answer.finished(finish), *after], snapshot=True)

    def _answer(self, request: ResponseRequest, resume: ResumePoint | None, asked_at: float | None = None) -> None:
        ahead = self._limits.ahead_milliseconds
        self.answer = Answer(request, self.conversation, ahead, self.outlet, resume=resume, asked_at=asked_at)


def _size(numbered: Numbered) -> int:
    packet = numbered.packet
    return len(packet.data) if isinstance(packet, packets.Audio) else 0
