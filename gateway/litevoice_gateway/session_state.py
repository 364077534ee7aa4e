"""What a session's owner must know, folded from the log of its LiteTopic: live and after a takeover the same way.

Nothing but the log decides what counts in it. A worker's question (TurnReplay) stands in the log, and ends the attempt
that it asks about: what follows of that attempt is dropped by whoever reads the log, whenever he reads it, and whether
or not the question was ever answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from litevoice_contracts import events
from litevoice_contracts.conversation import SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId, ResumePoint
from litevoice_contracts.events import DownEvent

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

    def add_text(self, text: str) -> None:
        if self.text_only:
            self.text_before += text  # no audio follows: the sentence is complete
            return
        self.text_before += self.sentence
        self.sentence = text
        self.sentence_audio_bytes = 0

    @property
    def resume_point(self) -> ResumePoint:
        return ResumePoint(self.response_id, self.item_id, self.text_before, self.sentence, self.sentence_audio_bytes)


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
        user_turn: the user speaks, or has spoken and is not understood yet.
        unreadable: how many positions could not be read.
    """

    __slots__ = (
        "_asker",
        "_excused",
        "_numbers",
        "asked",
        "attempt",
        "epoch",
        "fruitless",
        "position",
        "response",
        "restore_position",
        "snapshot",
        "turn",
        "unreadable",
        "user_turn",
    )

    def __init__(self, start: int, config: SessionConfig) -> None:
        self.position = start - 1
        self.restore_position = -1
        self.snapshot = Snapshot(config=config)
        self.turn = 0
        self.attempt = 0
        self.asked = False
        self.fruitless = 0
        self.epoch = -1
        self.response: OpenResponse | None = None
        self.user_turn = False
        self.unreadable = 0
        self._asker = 0  # sender of the question
        self._excused = False  # nobody may have tried the attempt
        self._numbers: dict[int, int] = {}  # of each sender's newest message, since the restore position

    @property
    def awaiting_response(self) -> bool:
        """A response is being given, or was asked for and has not begun."""
        return self.response is not None or self.snapshot.pending is not None

    @property
    def in_turn(self) -> bool:
        """Between the first packet of an utterance and the end of its response."""
        return self.user_turn or self.awaiting_response

    @property
    def resume_point(self) -> ResumePoint | None:
        """Of the response that is pending, even if it has not begun."""
        pending = self.snapshot.pending
        if self.response is not None or pending is None:
            return self.response.resume_point if self.response is not None else None
        return ResumePoint(pending.response_id, pending.item_id)

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
        if envelope.attempt < self.attempt and not isinstance(first, events.EpochRejected):
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
            self.asked, self.fruitless, self._asker, self._excused = False, 0, 0, False
        if envelope.snapshot is not None:
            self.snapshot = envelope.snapshot
            self.user_turn = bool(envelope.snapshot.cursor.open_turn)
        counted = [
            LogEvent(event, self.snapshot.config, self._text_only(event, envelope))
            for event in envelope.events
            if self._track(event)
        ]
        if envelope.snapshot is not None and self.response is None:
            self.restore_position = position
            # Whoever begins to fold here knows no other sender.
            self._numbers = {envelope.id.sender: envelope.id.number} if envelope.id is not None else {}
        return counted

    def _end_attempt(self, event: events.TurnReplay, message: MessageId | None) -> list[LogEvent]:
        """A question, which stands alone in its message."""
        self.attempt += 1
        self.asked = True
        planned, sender = event.reason == "handed_over", message.sender if message is not None else 0
        again = sender and sender == self._asker and event.reason != "failed"  # a worker that has died does not ask
        self.fruitless += not (planned or again or self._excused)
        self._asker, self._excused = sender, planned
        return [LogEvent(event, self.snapshot.config, text_only=False)]

    def _text_only(self, event: DownEvent, envelope: DownEnvelope) -> bool:
        if isinstance(event, events.ResponseStarted | events.ResponseFinished):
            return event.text_only
        if self.response is None and isinstance(event, events.TextDelta | events.AudioDelta):
            # The fold began at the end of its response: only the end is known.
            ends = (end for end in envelope.events if isinstance(end, events.ResponseFinished))
            return any(end.text_only for end in ends if end.response_id == event.response_id)
        return self.response is not None and self.response.text_only

    def _track(self, event: DownEvent) -> bool:
        match event:
            case events.AudioDelta():
                if self.response is not None:
                    self.response.sentence_audio_bytes += len(event.audio)
            case events.TextDelta():
                if self.response is not None:
                    self.response.add_text(event.text)
            case events.ResponseStarted():
                if self.response is not None and self.response.response_id == event.response_id:
                    return False
                self.response = OpenResponse(event.response_id, event.item_id, event.text_only)
            case events.ResponseFinished():
                self.response = None
            case events.SpeechStarted() | events.InputCommitted():
                self.user_turn = True
            case events.InputTranscribed() | events.TranscriptionFailed() | events.InputCleared():
                self.user_turn = False
            case _:
                pass
        return True
