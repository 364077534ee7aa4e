"""The state of one session's dialogue: what was said, what is being heard and said now, and which packets the owner may
forget. Sans I/O.

Utterances, client events and responses change it through these methods and in no other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from litevoice_contracts import events, metrics, packets
from litevoice_contracts.conversation import Cursor, Item, Mark, ResponseRequest, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, ResumePoint
from litevoice_worker.commands import Listen, Outcome, Tell, Transcribe
from litevoice_worker.conversation import Conversation, made_id
from litevoice_worker.hearing import Listener, Portion, Utterance
from litevoice_worker.order import PacketOrder
from litevoice_worker.outlet import Outlet
from litevoice_worker.response import Response


@dataclass(frozen=True, slots=True)
class Transcription:
    """An utterance that is being transcribed, and where the session will stand when that is done."""

    job: int
    turn: int
    utterance: Utterance
    respond: bool
    boundary: Mark
    cursor: Cursor
    ended_at: float


class Dialogue:
    """All fields are for everybody to read and for this class alone to assign.

    Attributes:
        turn: number of the newest turn.
        cursor: see Snapshot; how far this worker has read.
        listener: hears the open utterance; its audio since the boundary.
        listening: job of the portion that the network is hearing; 0 for none.
        transcription, response: under way, or None.
    """

    __slots__ = (
        "_ahead_milliseconds",
        "_boundary",
        "_order",
        "conversation",
        "cursor",
        "id",
        "listener",
        "listening",
        "outlet",
        "response",
        "transcription",
        "turn",
    )

    def __init__(
        self, session_id: str, listener: Listener, ahead_milliseconds: int, order: PacketOrder, outlet: Outlet
    ) -> None:
        self.id = session_id
        self.listener = listener
        self.outlet = outlet
        self._order = order
        self._ahead_milliseconds = ahead_milliseconds
        self.begin(Snapshot(), None, 0)

    @property
    def busy(self) -> bool:
        """Something is under way that the owner waits for."""
        return bool(self.transcription or self.response)

    @property
    def boundary(self) -> Mark:
        """The last packet that is no longer needed."""
        return self._boundary or Mark(self._order.epoch, -1)

    # Beginning and end

    def begin(self, snapshot: Snapshot, resume: ResumePoint | None, known_turn: int) -> None:
        """Takes over a snapshot; `known_turn` is the newest turn that the owner knows of."""
        self.conversation = Conversation(snapshot.config, snapshot.items)
        self.turn = max(snapshot.turn, known_turn)
        # A turn that the owner knows of and the snapshot does not is an utterance whose beginning was announced.
        open_turn = snapshot.cursor.open_turn or (known_turn if known_turn > snapshot.turn else 0)
        self.cursor = replace(snapshot.cursor, open_turn=open_turn)
        self.listening = 0
        self.listener.restart(snapshot.config.turn_detection, self.cursor.audio_ms, self.cursor.noise_floor)
        self._boundary = snapshot.boundary
        self.transcription: Transcription | None = None
        self.response: Response | None = None
        pending = snapshot.pending
        if pending is not None:
            fits = resume is not None and resume.response_id == pending.response_id
            self._respond(pending, resume=resume if fits else None)

    def stop(self) -> None:
        """Ends all work. What was to be published comes before any question, and counts."""
        if self.transcription:
            self.outlet.cancel(self.transcription.job)
        if self.response:
            self.response.stop()
        self.listening, self.transcription, self.response = 0, None, None

    def take_back(self) -> None:
        """What was not sent yet does not count any more, save for questions to the owner."""
        self.outlet.keep_only(lambda envelope: isinstance(envelope.events[0], events.TurnReplay))

    # Publishing

    def publish(self, news: Sequence[events.DownEvent], *, snapshot: bool = False) -> None:
        """One position. With the snapshot whenever the events change it."""
        order, made = self._order, self._snapshot() if snapshot else None
        self.outlet.publish(order.epoch, self.turn, list(news), order.attempt, made)

    def progress(self) -> events.Progress:
        """To be told when the boundary has moved."""
        return events.Progress(self.boundary, self.cursor.audio_ms, self.cursor.noise_floor)

    def tell(self) -> None:
        """Lets the owner forget what is settled, without a reply."""
        self.outlet.command(Tell(self.progress(), self._order.attempt, self.outlet.last))

    def ask(self, question: DownEnvelope) -> None:
        """Publishes a question of the packet order, which belongs to the epoch and attempt that raised it."""
        self.turn = max(self.turn, question.turn)
        self.outlet.publish(question.epoch, self.turn, question.events, question.attempt)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            config=self.conversation.config,
            items=self.conversation.items,
            turn=self.turn,
            boundary=self._boundary,
            pending=self.response.request if self.response else None,
            cursor=replace(self.cursor, client_seq=self._order.settled_client_seq),
        )

    # Packets and audio

    def settle(self, mark: Mark) -> None:
        """Nothing up to `mark` is needed any more."""
        self._boundary = mark
        self._order.settle(mark)

    def take_effect(self, mark: Mark) -> bool:
        """The client event `mark` takes effect; False: it has already, before the snapshot's maker was replaced."""
        if self.cursor.events is not None and mark <= self.cursor.events:
            return False
        self.cursor = replace(self.cursor, events=mark)
        return True

    def restart_listener(self, mark: Mark, audio_ms: int) -> None:
        """Forgets the audio up to `mark`, which ends `audio_ms` after the session's first."""
        self.settle(mark)
        if self.listener.gated:
            self.outlet.count(metrics.WORKER_WINDOWS, self.listener.gated, "gated")
            self.listener.gated = 0
        floor = self.listener.noise_floor
        self.cursor = replace(self.cursor, audio_ms=audio_ms, noise_floor=floor)
        self.listener.restart(self.conversation.config.turn_detection, audio_ms, floor)

    def listen(self, portion: Portion) -> None:
        """Has the network hear a portion; nothing more is applied before it has."""
        self.listening = self.outlet.new_job()
        self.outlet.command(Listen(self.listening, portion.stream, portion.windows))

    def listened(self) -> None:
        self.listening = 0

    def drop_utterance(self, mark: Mark, unheard_ms: int = 0) -> None:
        """Forgets the open utterance, and all audio up to `mark`, of which so much never came."""
        self.cursor = replace(self.cursor, open_turn=0)
        self.restart_listener(mark, self.listener.audio_ms + unheard_ms)

    # Turns

    def begin_turn(self) -> int:
        self.turn += 1
        return self.turn

    def open_utterance(self) -> int:
        """Begins a turn whose utterance is open until it is transcribed."""
        self.cursor = replace(self.cursor, open_turn=self.begin_turn())
        return self.turn

    def transcribe(self, utterance: Utterance, mark: Mark, consumed: int | None, respond: bool, now: float) -> None:
        """Has an utterance transcribed that ended in packet `mark`, after `consumed` of its bytes (None: all)."""
        turn = self.cursor.open_turn or self.begin_turn()
        cursor = replace(self.cursor, audio_ms=utterance.audio_ms, open_turn=0, packet=None, packet_bytes=0)
        if consumed is not None:
            cursor = replace(cursor, packet=mark, packet_bytes=consumed)
            mark = Mark(mark.epoch, mark.seq - 1)
        job = self.outlet.new_job()
        self.transcription = Transcription(job, turn, utterance, respond, mark, cursor, now)
        self.outlet.command(Transcribe(job, utterance.samples, self.conversation.config.transcription_language))

    def close_utterance(self, transcription: Transcription, item: Item) -> None:
        """The utterance has become an item of the conversation."""
        self.conversation.append(item)
        self.transcription, self.cursor = None, transcription.cursor
        self.restart_listener(transcription.boundary, transcription.utterance.audio_ms)

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
        self._respond(request, asked_at=asked_at)
        return events.ResponseStarted(
            request.response_id, request.item_id, request.text_only, previous, request.metadata
        )

    def finish_response(
        self,
        response: Response,
        outcome: Outcome,
        *,
        before: Sequence[events.DownEvent] = (),
        after: Sequence[events.DownEvent] = (),
    ) -> None:
        """Ends the response; what was published of it becomes the item's text."""
        self.response = None
        response.stop()
        if response.said:
            audio, complete = not response.request.text_only, outcome.status == "completed"
            self.conversation.append(Item(response.request.item_id, "assistant", response.said, audio, complete))
        self.outlet.count(metrics.WORKER_TURNS, label=outcome.status)
        self.publish([*before, response.finished(outcome), *after], snapshot=True)

    def _respond(
        self, request: ResponseRequest, *, resume: ResumePoint | None = None, asked_at: float | None = None
    ) -> None:
        ahead, outlet = self._ahead_milliseconds, self.outlet
        self.response = Response(request, self.conversation, ahead, outlet, resume=resume, asked_at=asked_at)
