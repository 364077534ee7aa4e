"""The state of one session's dialogue: what was said, what is being heard and said now, and which packets the owner may
forget. Sans I/O.

Utterances, client events and responses change it through these methods and in no other way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from litevoice_contracts import events, metrics
from litevoice_contracts.conversation import (
    Mark,
    Recognized,
    Snapshot,
    TurnDetection,
    Untranscribed,
)
from litevoice_contracts.envelopes import DownEnvelope, ResumePoint
from litevoice_worker.commands import Failed, Judge, Listen, Outcome, StageContext, Tell, Transcribe, Transcribed
from litevoice_worker.conversation import Conversation, made_id
from litevoice_worker.hearing import Ended, Listener, Portion, Utterance
from litevoice_worker.order import PacketOrder
from litevoice_worker.outlet import Outlet
from litevoice_worker.response import Response
from litevoice_worker.responses import Responses
from litevoice_worker.transcriptions import MAX_UNTRANSCRIBED, Place, Transcription, alike, joined


class Dialogue:
    """All fields are for everybody to read and for this class alone to assign.

    Attributes:
        turn: number of the newest turn.
        cursor: see Snapshot; what of it does not follow from the place of the boundary.
        rules: for hearing, as the client wants them; the listener's own until it begins afresh.
        place: where the listener began.
        listener: hears the open utterance; its audio since `place`.
        listening: job of the portion that the network is hearing, or of the pause that is judged; 0 for none.
        judging: that pause, where the utterance ends if the user has finished.
        again: utterances whose end a former worker has published, to be heard again.
        transcriptions: under way, oldest first; the boundary stays before them.
        responses: those that are under way.
        begun_at: when it began, by this worker's clock; a replay is heard faster than it was said.
        unheard: a former worker has announced the open utterance, and this one has heard but silence.
        idle_since: when the silence began that the cursor's `idle_from_ms` names, by this worker's clock.
        now: what the clock says; whoever changes the dialogue sets it first.
    """

    __slots__ = (
        "_ahead_milliseconds",
        "_before_all",
        "_known_detection",
        "_order",
        "again",
        "begun_at",
        "conversation",
        "cursor",
        "id",
        "idle_since",
        "interrupt_after_milliseconds",
        "judging",
        "listener",
        "listening",
        "now",
        "outlet",
        "place",
        "responses",
        "rules",
        "transcriptions",
        "turn",
        "unheard",
    )

    def __init__(
        self,
        session_id: str,
        listener: Listener,
        ahead_milliseconds: int,
        interrupt_after_milliseconds: int,
        order: PacketOrder,
        outlet: Outlet,
    ) -> None:
        self.id = session_id
        self.now = 0.0
        self.listener = listener
        self.outlet = outlet
        self._order = order
        self._ahead_milliseconds = ahead_milliseconds
        self.interrupt_after_milliseconds = interrupt_after_milliseconds
        self.judging: Ended | None = None
        self.begin(Snapshot(), {}, 0, 0)

    @property
    def busy(self) -> bool:
        """Something is under way that the owner waits for."""
        return bool(self.transcriptions or self.again or self.responses)

    @property
    def deaf(self) -> bool:
        """The recognizer has as much of this session as it may."""
        return len(self.transcriptions) >= MAX_UNTRANSCRIBED

    @property
    def held_bytes(self) -> int:
        """Of the utterances that the recognizer has."""
        return sum(transcription.size for transcription in self.transcriptions)

    @property
    def boundary(self) -> Mark:
        """The last packet that is no longer needed."""
        return self._begin.mark or self._before_all

    @property
    def _begin(self) -> Place:
        return self.transcriptions[0].begin if self.transcriptions else self.place

    # Beginning and end

    def begin(self, snapshot: Snapshot, resume: Mapping[str, ResumePoint], known_turn: int, epoch: int) -> None:
        """Takes over a snapshot, in this epoch, and the responses of which the client has got so far, by their ids;
        `known_turn` is the newest turn that the owner knows of."""
        self._before_all = Mark(epoch, -1)  # what follows may be needed although its epoch is over by now
        self.conversation = Conversation(snapshot.config, snapshot.items, forgot=snapshot.forgot)
        self.turn = max(snapshot.turn, known_turn)
        # A turn that the owner knows of and the snapshot does not is an utterance whose beginning was announced.
        open_turn = snapshot.cursor.open_turn or (known_turn if known_turn > snapshot.turn else 0)
        self.cursor = cursor = replace(snapshot.cursor, open_turn=open_turn)
        self.again = list(self.cursor.untranscribed)
        self.transcriptions: list[Transcription] = []
        detection = snapshot.config.turn_detection if cursor.detection is UNSET else cursor.detection
        self._known_detection = self.rules = detection
        self.place = Place(
            snapshot.boundary,
            cursor.audio_ms,
            cursor.noise_floor,
            cursor.packet,
            cursor.packet_bytes,
            detection,
            parts=cursor.recognized.parts if cursor.recognized else 0,
        )
        self.idle_since = self.begun_at = self.now
        self.listening, self.judging, self.unheard = 0, None, False
        self.listener.restart(detection, cursor.audio_ms, cursor.noise_floor, continues=bool(self.place.parts))
        self.responses = Responses(self.id, self.conversation, self._ahead_milliseconds, self.outlet, self.context)
        self.responses.take_over(snapshot, resume)

    def stop(self) -> None:
        """Ends all work. What was to be published comes before any question, and counts."""
        for transcription in self.transcriptions:
            self.outlet.cancel(transcription.job)
        self.responses.stop()
        self.listening, self.judging = 0, None
        self.again, self.transcriptions = [], []

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
        return events.Progress(self.boundary, self._begin.audio_ms, self._begin.noise_floor)

    def tell(self) -> None:
        """Lets the owner forget what is settled, without a reply unless the rules for hearing are others there."""
        if self._begin.detection != self._known_detection:
            self.publish([self.progress()], snapshot=True)
            return
        self.outlet.command(Tell(self.progress(), self._order.attempt, self.outlet.last))

    def ask(self, question: DownEnvelope) -> None:
        """Publishes a question of the packet order, which belongs to the epoch and attempt that raised it."""
        self.turn = max(self.turn, question.turn)
        self.outlet.publish(question.epoch, self.turn, question.events, question.attempt)

    def _snapshot(self) -> Snapshot:
        begin, config = self._begin, self.conversation.config
        self._known_detection = begin.detection
        return Snapshot(
            config=config,
            items=self.conversation.items,
            forgot=self.conversation.forgot,
            turn=self.turn,
            boundary=begin.mark,
            pending=self.responses.in_band.request if self.responses.in_band else None,
            cursor=replace(
                self.cursor,
                packet=begin.packet,
                packet_bytes=begin.packet_bytes,
                audio_ms=begin.audio_ms,
                noise_floor=begin.noise_floor,
                client_seq=self._order.settled_client_seq,
                untranscribed=self._untranscribed,
                detection=UNSET if begin.detection == config.turn_detection else begin.detection,
            ),
            out_of_band=[response.request for response in self.responses.out_of_band],
        )

    # Packets and audio

    def settle(self, mark: Mark) -> None:
        """The listener, which has heard nothing, needs nothing up to `mark` any more."""
        self.place = dataclasses.replace(self.place, mark=mark)
        self._order.settle(self.boundary)

    def take_effect(self, mark: Mark) -> bool:
        """The client event `mark` takes effect; False: it has already, before the snapshot's maker was replaced."""
        cursor, client_seq = self.cursor, self._order.client_seq(mark)
        if cursor.events is not None and mark <= cursor.events:
            return False
        last = cursor.event_client_seq
        if client_seq is not None and last is not None and client_seq <= last:
            return False
        self.cursor = replace(cursor, events=mark, event_client_seq=last if client_seq is None else client_seq)
        return True

    def restart_listener(self, mark: Mark, audio_ms: int, consumed: int | None = None, parts: int = 0) -> None:
        """Forgets the audio up to `mark`, of whose bytes `consumed` are done with (None: all); it ends `audio_ms` after
        the session's first. So many `parts` of an utterance that goes on come before; 0: none is open."""
        if not parts:
            self._forget_parts()
        if self.listener.gated:
            self.outlet.count(metrics.WORKER_WINDOWS, self.listener.gated, "gated")
            self.listener.gated = 0
        floor, detection = self.listener.noise_floor, self.place.detection if parts else self.rules
        packet, done = (None, mark) if consumed is None else (mark, Mark(mark.epoch, mark.seq - 1))
        self.place = Place(done, audio_ms, floor, packet, consumed or 0, detection, parts)
        self._order.settle(self.boundary)
        self.listener.restart(detection, audio_ms, floor, continues=bool(parts))

    def _forget_parts(self) -> None:
        """Of an open utterance, which is dropped."""
        while self.transcriptions and self.transcriptions[-1].more:
            self.outlet.cancel(self.transcriptions.pop().job)
        if not self.transcriptions:
            self.cursor = replace(self.cursor, recognized=None)

    def change_rules(self, rules: TurnDetection | None, mark: Mark) -> None:
        """From packet `mark` on, other rules for hearing: at once, or, when somebody (perhaps) speaks, once he has
        finished. What the client has not committed is forgotten when it leaves that to the worker."""
        before, self.rules = self.rules, rules
        if alike(before, rules):
            return
        if self.place.detection is None or not (self.listener.open or self.listener.undecided):
            self.restart_listener(mark, self.listener.audio_ms)

    def listen(self, portion: Portion) -> None:
        """Has the network hear a portion; nothing more is applied before it has."""
        self.listening = self.outlet.new_job()
        self.outlet.command(Listen(self.listening, portion.stream, portion.windows))

    def listened(self) -> None:
        self.listening = 0

    def judge(self, pause: Ended) -> None:
        """Has it judged whether the user has finished; nothing more is applied before."""
        self.listening, self.judging = self.outlet.new_job(), pause
        key = made_id("end", self.id, pause.utterance.audio_ms)
        language = self.conversation.config.transcription_language
        context = self.context(key, language=language)
        self.outlet.command(Judge(self.listening, pause.utterance.samples, context))

    def judged(self) -> Ended:
        """Where the pause is."""
        pause = self.judging
        assert pause is not None
        self.listening, self.judging = 0, None
        return pause

    def drop_utterance(self, mark: Mark, unheard_ms: int = 0) -> None:
        """Forgets the open utterance, and all audio up to `mark`, of which so much never came."""
        self.cursor, self.unheard = replace(self.cursor, open_turn=0), False
        self.restart_listener(mark, self.listener.audio_ms + unheard_ms)

    # Turns

    def context(self, key: str, said: str = "", *, language: str | None = None) -> StageContext:
        """Of a stage's work that `key` names, after what was `said` of the answer."""
        config = self.conversation.config
        return StageContext(
            session_id=self.id,
            principal=config.principal,
            model=config.model,
            language=config.transcription_language if language is None else language,
            turn=self.turn,
            attempt=self._order.attempt,
            idempotency_key=key,
            said=said,
            traceparent=config.traceparent,
        )

    def begin_turn(self) -> int:
        self.turn += 1
        return self.turn

    def open_utterance(self) -> int:
        """Begins a turn whose utterance is open until it ends."""
        self.cursor = replace(self.cursor, open_turn=self.begin_turn())
        return self.turn

    def end_utterance(self) -> int:
        """The turn of the open utterance, or a new one."""
        turn = self.cursor.open_turn or self.begin_turn()
        self.cursor, self.unheard = replace(self.cursor, open_turn=0), False
        return turn

    def transcribe(
        self, utterance: Utterance, ended: Untranscribed, consumed: int | None, now: float, *, more: bool = False
    ) -> Transcription:
        """Has an utterance transcribed, or a part of it, that ended in packet `ended.end` after `consumed` bytes
        (None: all)."""
        job, samples, started_ms = self.outlet.new_job(), utterance.samples, self.listener.started_ms
        transcription = Transcription(
            job,
            ended,
            begin=self.place,
            started_ms=utterance.audio_ms if started_ms is None else started_ms,
            ended_ms=utterance.audio_ms,
            seconds=utterance.seconds,
            size=samples.nbytes,
            ended_at=now,
            more=more,
        )
        self.transcriptions.append(transcription)
        if len(samples) and not self.listener.hushed:
            key = made_id("asr", self.id, utterance.audio_ms)
            self.outlet.command(Transcribe(job, samples, self.context(key, language=ended.language)))
        else:
            transcription.result = Transcribed(job, "")
        self.restart_listener(ended.end, utterance.audio_ms, consumed, self.place.parts + 1 if more else 0)
        return transcription

    def transcription(self, job: int) -> Transcription | None:
        return next((one for one in self.transcriptions if one.job == job and one.result is None), None)

    def waits(self, response: Response) -> bool:
        """It is made from something that is not understood yet."""
        if not (self.transcriptions or self.again):
            return False
        items = {item.id for item in self.conversation.context(response.request)}
        turns = (entry.turn for entry in self._untranscribed)
        return any(made_id("item", self.id, turn) in items for turn in turns)

    @property
    def _untranscribed(self) -> list[Untranscribed]:
        told = (transcription.ended for transcription in self.transcriptions if transcription.ended.turn)
        return [*told, *self.again]

    def new_words(self, transcription: Transcription, transcript: str) -> str:
        """What the client has not got yet of an utterance's transcript. "": nothing, or what it has got is not how the
        transcript begins, as when another worker has the utterance recognized again; then it waits for the whole."""
        told = transcription.ended.told
        if not transcript.startswith(told):
            return ""
        transcription.ended = replace(transcription.ended, told=transcript)
        return transcript[len(told) :]

    @property
    def transcribed(self) -> Transcription | None:
        """The oldest transcription, if the recognizer is done with it."""
        oldest = self.transcriptions[0] if self.transcriptions else None
        return oldest if oldest is not None and oldest.result is not None else None

    def close_transcription(self) -> Recognized:
        """Of the oldest one nothing is needed any more; returns what was recognized of its utterance so far."""
        done = self.transcriptions.pop(0)
        self._order.settle(self.boundary)
        before = self.cursor.recognized or Recognized(0, "", 0)
        text = done.result.text if isinstance(done.result, Transcribed) else ""
        recognized = Recognized(
            before.parts + 1,
            joined(before, text),
            before.milliseconds + round(done.seconds * 1000),
            done.result.message if isinstance(done.result, Failed) else before.failure,
        )
        self.cursor = replace(self.cursor, recognized=recognized if done.more else None)
        return recognized

    def give_up_transcriptions(self, attempt: int) -> list[Untranscribed]:
        """Nothing comes of them, nor of those that were to be heard again, as the client is told."""
        ended = self._untranscribed
        self.cursor = replace(self.cursor, given_up=max(self.cursor.given_up, attempt))
        for transcription in self.transcriptions:
            self.outlet.cancel(transcription.job)
        self.transcriptions, self.again = [], []
        return ended

    def forgo(self, item_id: str) -> None:
        """Nobody owes an answer to this item, of the user's, any more; nor will, once it is understood."""

        def is_it(ended: Untranscribed) -> bool:
            return bool(ended.turn) and made_id("item", self.id, ended.turn) == item_id

        for transcription in self.transcriptions:
            if is_it(transcription.ended):
                transcription.ended = replace(transcription.ended, respond=False)
        self.again = [replace(entry, respond=False) if is_it(entry) else entry for entry in self.again]
        if self.cursor.owed_turn and made_id("item", self.id, self.cursor.owed_turn) == item_id:
            self.owe(0)

    def withdraw(self) -> int:
        """Nobody owes an answer any more; returns the newest turn that was owed one, or will have been, 0 for none."""
        owed = self.cursor.owed_turn
        for transcription in self.transcriptions:
            if not transcription.ended.turn:
                continue
            owed = transcription.ended.turn if transcription.ended.respond else owed
            transcription.ended = replace(transcription.ended, respond=False)
        for entry in self.again:
            owed = entry.turn if entry.respond else owed
        self.again = [replace(entry, respond=False) for entry in self.again]
        self.cursor = replace(self.cursor, owed_turn=0)
        return owed

    def fell_silent(self, audio_ms: int) -> None:
        """Who spoke, the user or an answer that is heard up to there, speaks no more."""
        self.cursor = replace(self.cursor, idle_from_ms=max(self.cursor.idle_from_ms or 0, audio_ms))
        self.idle_since = self.now + max(0, audio_ms - self.listener.audio_ms) / 1000

    def owe(self, turn: int) -> None:
        self.cursor = replace(self.cursor, owed_turn=turn)

    # The end of a response

    def finish_response(
        self,
        response: Response,
        outcome: Outcome,
        *,
        before: Sequence[events.DownEvent] = (),
        after: Sequence[events.DownEvent] = (),
    ) -> None:
        """Ends the response; what was published of it becomes the item's text, if it was interrupted only as much as
        can have been heard."""
        self.publish([*before, self.end_response(response, outcome), *after], snapshot=True)

    def end_response(
        self, response: Response, outcome: Outcome, heard_milliseconds: int | None = None
    ) -> events.ResponseFinished:
        """Likewise; the event is to be published with the snapshot. The client may have said how much was heard."""
        detection = self.conversation.config.turn_detection
        if not response.request.out_of_band and detection is not None and detection.idle_timeout_ms:
            unheard = 0 if outcome.status == "cancelled" else response.unheard_milliseconds(self.now)
            self.fell_silent(self.listener.audio_ms + unheard)
        return self.responses.end(response, outcome, heard_milliseconds, self.now)
