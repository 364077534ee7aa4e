"""What a session's owner must know, folded from the log of its LiteTopic: live and after a takeover the same way.

Nothing but the log decides what counts in it. A worker's question (TurnReplay) stands in the log, and ends the attempt
that it asks about: what follows of that attempt is dropped by whoever reads the log, whenever he reads it, and whether
or not the question was ever answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from litevoice_contracts import events
from litevoice_contracts.conversation import SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId, ResumePoint, ToldCall
from litevoice_contracts.events import DownEvent
from litevoice_gateway.handover import Handed

_NO_QUESTION = MessageId(0, 0)
MAX_EXCUSED = 10
"""So many questions that owners have provoked, or that workers ask because of holes, or by turns, say nothing against a
turn from which nothing comes meanwhile: more than any ever needs. Did they do so for ever, the turn would never end."""

Ignored = Literal["repeated", "stale_attempt"]
"""Why a message does not count."""


@dataclass(slots=True)
class OpenResponse:
    """A response that has begun and is not finished, and how far it has come; see ResumePoint."""

    response_id: str
    item_id: str
    text_only: bool
    text_before: str = ""
    sentence: str = ""
    sentence_audio_bytes: int = 0
    audio_bytes_before: int = 0
    calls: list[ToldCall] = field(default_factory=list)

    def add_arguments(self, event: events.CallDelta) -> None:
        self.calls = [
            replace(call, arguments=call.arguments + event.text) if call.item_id == event.item_id else call
            for call in self.calls
        ]

    def add_text(self, text: str) -> None:
        if self.text_only:
            self.text_before += text  # no audio follows: the sentence is complete
            return
        self.text_before += self.sentence
        self.audio_bytes_before += self.sentence_audio_bytes
        self.sentence = text
        self.sentence_audio_bytes = 0

    @property
    def resume_point(self) -> ResumePoint:
        return ResumePoint(
            self.response_id,
            self.item_id,
            self.text_before,
            self.sentence,
            self.sentence_audio_bytes,
            self.audio_bytes_before,
            list(self.calls),
        )


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event of the log, with what its translation needs to know of the state just after it."""

    event: DownEvent
    config: SessionConfig
    text_only: bool


class SessionState:
    """At a position of the log.

    Attributes:
        position: last position folded, one less than the next one expected.
        restore_position: where another owner must begin to fold to know all of this: the latest snapshot that is not
            in the middle of a response (a fold from there would miss the response's beginning); -1 for the start.
        attempt: the one that counts, never lowered: a worker that begins another turn before the replay has reached it
            begins that turn again.
        asked: a worker has asked, and nothing has come of it yet.
        fruitless: attempts that workers ended, by dying as a rule, since anything last came of one.
        epoch: the highest seen, -1 for none.
        left: the question was a worker's that leaves as planned: nobody may have tried the attempt that it began.
        handed: packets that earlier owners have left to this one.
        out_of_band: likewise open beside `response`, by their ids.
        speaking: an utterance of the user is open. spoken_in: the epoch in which a worker has last said so, or not.
        unreadable: how many positions could not be read.
    """

    __slots__ = (
        "_blamed",
        "_excused",
        "_holed",
        "_numbers",
        "_question",
        "_spared",
        "_speaker",
        "asked",
        "attempt",
        "epoch",
        "fruitless",
        "handed",
        "left",
        "out_of_band",
        "position",
        "response",
        "restore_position",
        "snapshot",
        "speaking",
        "spoken_in",
        "turn",
        "unreadable",
    )

    def __init__(self, start: int, config: SessionConfig) -> None:
        self.position = start - 1
        self.restore_position = -1
        self.snapshot = Snapshot(config=config)
        self.turn = 0
        self.attempt = 0
        self.asked = False
        self.fruitless = 0
        self.left = False
        self.epoch = -1
        self.handed = Handed()
        self.response: OpenResponse | None = None
        self.out_of_band: dict[str, OpenResponse] = {}
        self.speaking = False
        self.spoken_in = -1
        self.unreadable = 0
        self._question = _NO_QUESTION
        self._holed = False  # the question was about a hole
        self._excused = 0  # questions, since anything last came
        self._blamed: tuple[int, ...] = ()  # workers that fruitless attempts were, and that nobody has heard of since
        self._spared = 0  # who has asked or spoken last, and was displaced since
        self._speaker = 0  # whose the newest message is from which something came
        self._numbers: dict[int, int] = {}  # of each sender's newest message, since the restore position

    @property
    def awaiting_response(self) -> bool:
        """A response is being given, or was asked for and has not begun."""
        snapshot = self.snapshot
        return bool(self.response or self.out_of_band or snapshot.pending or snapshot.out_of_band)

    @property
    def user_turn(self) -> bool:
        """The user speaks, or has spoken and is not understood yet."""
        return self.speaking or self.committed

    @property
    def committed(self) -> bool:
        """The user has spoken and is not understood yet."""
        return bool(self.snapshot.cursor.untranscribed)

    @property
    def in_turn(self) -> bool:
        """Between the first packet of an utterance and the end of its response."""
        return self.user_turn or self.awaiting_response

    @property
    def question(self) -> MessageId:
        """The one that was not answered yet; sender and number 0 for none."""
        return self._question if self.asked else _NO_QUESTION

    @property
    def resume_point(self) -> ResumePoint | None:
        """Of the response that is pending, even if it has not begun."""
        pending = self.snapshot.pending
        if self.response is not None or pending is None:
            return self.response.resume_point if self.response is not None else None
        return ResumePoint(pending.response_id, pending.item_id)

    @property
    def resume_out_of_band(self) -> list[ResumePoint] | None:
        """Of the responses that are pending beside it; None when none is."""
        pendings = self.snapshot.out_of_band
        points = {pending.response_id: ResumePoint(pending.response_id, pending.item_id) for pending in pendings}
        points |= {name: response.resume_point for name, response in self.out_of_band.items()}
        return list(points.values()) or None

    def skip(self, position: int, *, unreadable: bool = True) -> list[LogEvent]:
        """A position that brings nothing to forward: an empty message, or one that cannot be read."""
        self.position = position
        self.unreadable += unreadable
        return []

    def has(self, message: MessageId) -> bool:
        """The message was folded since the restore position, and counted."""
        return message.number <= self._numbers.get(message.sender, 0)

    def apply(self, position: int, envelope: DownEnvelope) -> list[LogEvent] | Ignored:
        """The events of the next position, or why they do not count.

        An event that would begin an already begun response again is left out: a worker that continues a response
        may announce it once more, the client must not see that twice.
        """
        self.position = position
        if envelope.id is not None and self.has(envelope.id):
            return "repeated"
        self.epoch = max(self.epoch, envelope.epoch)
        first = envelope.events[0] if envelope.events else None
        if isinstance(first, events.Handover):
            self.handed.take(first, position)
            return []
        if isinstance(first, events.Displaced):  # it may overtake what its sender has said before
            self._spare(envelope.id)
            return []
        if envelope.attempt < self.attempt and not isinstance(first, events.EpochRejected):
            if isinstance(first, events.TurnReplay) and first.reason == "handed_over":
                self._spare(envelope.id)
            return "stale_attempt"
        if envelope.id is not None:
            self._numbers[envelope.id.sender] = envelope.id.number
        if isinstance(first, events.EpochRejected):  # by a worker that may know nothing of the attempt: it counts
            self.epoch = max(self.epoch, first.current)
            return [LogEvent(first, self.snapshot.config, text_only=False)]
        self.turn, self.attempt = max(self.turn, envelope.turn), envelope.attempt
        if isinstance(first, events.TurnReplay):
            return self._end_attempt(first, envelope.id)
        if self.asked or self.fruitless:
            self.asked, self.fruitless, self.left, self._holed = False, 0, False, False
            self._question, self._excused, self._blamed = _NO_QUESTION, 0, ()
        self._speaker, self._spared = 0 if envelope.id is None else envelope.id.sender, 0
        if envelope.snapshot is not None:
            self.snapshot = envelope.snapshot
            self.speaking, self.spoken_in = bool(envelope.snapshot.cursor.open_turn), envelope.epoch
            if envelope.snapshot.boundary is not None:
                self.handed.settle(envelope.snapshot.boundary)
        counted = [
            LogEvent(event, self.snapshot.config, self._text_only(event, envelope))
            for event in envelope.events
            if self._track(event)
        ]
        if any(isinstance(event, events.SpeechStarted) for event in envelope.events):
            self.spoken_in = envelope.epoch
        if envelope.snapshot is not None and self.response is None and not self.out_of_band:
            self.restore_position = position
            # Whoever begins to fold here knows no other sender.
            self._numbers = {envelope.id.sender: envelope.id.number} if envelope.id is not None else {}
        return counted

    def _end_attempt(self, event: events.TurnReplay, message: MessageId | None) -> list[LogEvent]:
        """A question, which stands alone in its message."""
        # A worker asks about what it finds at its start. Where the log has nothing of a turn, nobody has begun it.
        untried = event.reason == "unknown_session" and not (self.asked or self.fruitless or self.in_turn)
        self.attempt += 1
        self.asked = True
        planned, question = event.reason == "handed_over", message or _NO_QUESTION
        # A worker that has died does not ask again. One that finds a second hole has begun from what it was sent: it
        # lives, but must not go on like this for ever.
        begun = event.reason == "failed" or (event.reason == "gap" and self._holed)
        again = question.sender and question.sender == self._question.sender and not begun
        self._absolve(question.sender)
        before = self._question.sender or self._speaker
        lives = before != 0 and (self._spared == before or (event.reason == "gap" and question.sender == before))
        self._excused += event.provoked or lives
        excused = (event.provoked or lives) and self._excused <= MAX_EXCUSED
        if not (planned or excused or again or untried or self.left):
            self.fruitless += 1
            if before not in (0, question.sender):
                self._blamed += (before,)
        self._question, self._spared, self.left, self._holed = question, 0, planned, event.reason == "gap"
        return [LogEvent(event, self.snapshot.config, text_only=False)]

    def _spare(self, message: MessageId | None) -> None:
        """Its sender has lost the session, and lives: it has not died of the turn. The next one may have asked."""
        if message is None:
            return
        self._absolve(message.sender)
        if message.sender == (self._question.sender or self._speaker):
            self._spared = message.sender

    def _absolve(self, sender: int) -> None:
        """It lives, and was taken for dead: of two owners each misses what the other one reads."""
        if sender in self._blamed and self._excused < MAX_EXCUSED:
            self._blamed = tuple(other for other in self._blamed if other != sender)
            self._excused += 1
            self.fruitless -= 1

    def forgive(self) -> None:
        """Attempts at nothing are no attempts at the turn that comes next."""
        self.fruitless, self._blamed = 0, ()

    def _text_only(self, event: DownEvent, envelope: DownEnvelope) -> bool:
        if isinstance(event, events.ResponseStarted | events.ResponseFinished):
            return event.text_only
        if not isinstance(event, events.TextDelta | events.AudioDelta):
            return False
        response = self._open(event.response_id)
        if response is not None:
            return response.text_only
        # The fold began at the end of its response: only the end is known.
        ends = (end for end in envelope.events if isinstance(end, events.ResponseFinished))
        return any(end.text_only for end in ends if end.response_id == event.response_id)

    def _open(self, response_id: str) -> OpenResponse | None:
        if self.response is not None and self.response.response_id == response_id:
            return self.response
        return self.out_of_band.get(response_id)

    def _track(self, event: DownEvent) -> bool:
        match event:
            case events.AudioDelta() if response := self._open(event.response_id):
                response.sentence_audio_bytes += len(event.audio)
            case events.TextDelta() if response := self._open(event.response_id):
                response.add_text(event.text)
            case events.CallStarted() if response := self._open(event.response_id):
                response.calls.append(ToldCall(event.item_id, event.index, event.call_id, event.name))
            case events.CallDelta() if response := self._open(event.response_id):
                response.add_arguments(event)
            case events.ResponseStarted():
                return self._begin(event)
            case events.ResponseFinished() if event.out_of_band:
                self.out_of_band.pop(event.response_id, None)
            case events.ResponseFinished():
                self.response = None
            case events.SpeechStarted():
                self.speaking = True
            case events.InputCommitted() | events.InputCleared():
                self.speaking = False
            case events.Progress():
                self.handed.done(event)
            case _:
                pass
        return True

    def _begin(self, event: events.ResponseStarted) -> bool:
        """Whether it is news."""
        if self._open(event.response_id) is not None:
            return False
        response = OpenResponse(event.response_id, event.item_id, event.text_only)
        if event.out_of_band:
            self.out_of_band[event.response_id] = response
        else:
            self.response = response
        return True
