"""What a session's owner must know, folded from the log of its LiteTopic: live and after a takeover the same way."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts import events
from litevoice_contracts.conversation import SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, ResumePoint
from litevoice_contracts.events import DownEvent


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
        attempt: of the newest replay; raised by the gateway with each, never lowered: a worker that has begun another
            turn before the replay reached it begins that turn again.
        epoch: the highest seen, -1 for none.
        user_turn: the user speaks, or has spoken and is not understood yet.
        unreadable: how many positions could not be read.
    """

    __slots__ = (
        "attempt",
        "epoch",
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
        self.epoch = -1
        self.response: OpenResponse | None = None
        self.user_turn = False
        self.unreadable = 0

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
        return self.response.resume_point if self.response is not None else None

    def skip(self, position: int) -> list[LogEvent]:
        """A position whose message is unreadable: nothing to forward."""
        self.position = position
        self.unreadable += 1
        return []

    def apply(self, position: int, envelope: DownEnvelope) -> list[LogEvent] | None:
        """The events of the next position, or None when they belong to an older attempt and do not count.

        An event that would begin an already begun response again is left out: a worker that continues a response
        may announce it once more, the client must not see that twice.
        """
        self.position = position
        self.epoch = max(self.epoch, envelope.epoch)
        if envelope.attempt < self.attempt:
            return None
        self.turn, self.attempt = max(self.turn, envelope.turn), envelope.attempt
        if envelope.snapshot is not None:
            self.snapshot = envelope.snapshot
        counted = [
            LogEvent(event, self.snapshot.config, self._text_only(event))
            for event in envelope.events
            if self._track(event)
        ]
        if envelope.snapshot is not None and self.response is None:
            self.restore_position = position
        return counted

    def _text_only(self, event: DownEvent) -> bool:
        if isinstance(event, events.ResponseStarted | events.ResponseFinished):
            return event.text_only
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
            case events.EpochRejected():
                self.epoch = max(self.epoch, event.current)
            case _:
                pass
        return True
