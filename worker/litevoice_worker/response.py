"""One spoken response: sentence by sentence, never far ahead of real time, from the middle if another worker began it.

Sans I/O: results of the stages in, events out, the clock passed in. `next` is called whenever nothing of the session
waits for the broker, so what it has given out is what the client has got, save for the message in flight.
"""

from __future__ import annotations

from collections import deque

from litevoice_contracts import events, metrics
from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, ResponseRequest
from litevoice_contracts.envelopes import ResumePoint
from litevoice_worker.commands import (
    Failed,
    Outcome,
    Prompt,
    Respond,
    Responded,
    Result,
    Sentence,
    Synthesize,
    Synthesized,
)
from litevoice_worker.conversation import Conversation
from litevoice_worker.outlet import Outlet

CHUNK_MILLISECONDS = 400
"""Audio per event, at most; no more than a response may be ahead of real time."""
MAX_RESPONSE_CHARACTERS = 32_768
"""A longer response ends as incomplete: it has to fit into the conversation."""


class Response:
    """The response to one request.

    Attributes:
        said: text that was published, from the response's beginning.
        wait_until: when the next piece of audio is due; None: nothing is, before a stage reports.
    """

    def __init__(
        self,
        request: ResponseRequest,
        conversation: Conversation,
        ahead_milliseconds: int,
        outlet: Outlet,
        *,
        resume: ResumePoint | None = None,
        asked_at: float | None = None,
    ) -> None:
        self.request = request
        self.said = resume.text_before + resume.sentence if resume else ""
        self.wait_until: float | None = None
        self._conversation = conversation
        self._codec = conversation.config.output_codec
        self._items = conversation.up_to(request.after_item_id)
        self._bytes_per_second = CODEC_BYTES_PER_SECOND[self._codec]
        self._ahead_seconds = ahead_milliseconds / 1000
        self._chunk_milliseconds = min(CHUNK_MILLISECONDS, ahead_milliseconds)
        self._outlet = outlet
        self._asked_at = asked_at
        self._respond_job = 0  # 0: not asked yet
        self._speak_job = 0  # 0: nothing is being synthesized
        self._sentences: deque[str] = deque()
        self._characters = len(self.said)
        self._tokens = (0, 0)  # input and output, as the responder counted them
        self._outcome: Outcome | None = None
        self._unsaid = ""
        self._to_speak = resume.sentence if resume and not request.text_only else ""
        self._skip_bytes = resume.sentence_audio_bytes if resume else 0
        self._audio = b""
        self._offset = 0
        self._clock_start: float | None = None
        self._sent_bytes = 0

    def fail(self, message: str) -> None:
        """Ends the response where it is."""
        self.stop()
        self._sentences.clear()
        self._to_speak, self._speak_job, self._audio, self._offset = "", 0, b"", 0
        self._outcome = Outcome("failed", message)

    def stop(self) -> None:
        """Results are no longer wanted."""
        self._outlet.cancel(self._respond_job)
        self._outlet.cancel(self._speak_job)

    def take(self, result: Result) -> None:
        """A stage's result, ignored unless it is for this response."""
        match result:
            case Sentence(job, text) if job == self._respond_job:
                self._add(text)
            case Responded(job, outcome) if job == self._respond_job:
                self._tokens = (outcome.input_tokens, outcome.output_tokens)
                if outcome.status == "failed":
                    self.fail(outcome.reason)
                self._outcome = self._outcome or outcome
            case Synthesized(job, audio) if job == self._speak_job:
                self._speak_job = 0
                self._audio, self._offset = audio, min(self._skip_bytes, len(audio))
                self._skip_bytes = 0
            case Failed(job, message) if job in (self._respond_job, self._speak_job):
                self.fail(message)
            case _:
                pass

    def next(self, now: float) -> events.TextDelta | events.AudioDelta | Outcome | None:
        """The next event to publish, how the response ended, or None when it is not time for either."""
        self.wait_until = None
        if self._offset < len(self._audio):
            return self._say() if self._unsaid else self._next_chunk(now)
        if not (self._speak_job or self._to_speak or self._unsaid):
            self._next_sentence()
        if self._to_speak and not self._speak_job:
            self._synthesize()
        if not self._speak_job:
            if self._unsaid:
                return self._say()
            if self._outcome:
                return self._outcome
        if not self._respond_job:
            self._respond()
        return None

    def finished(self, outcome: Outcome) -> events.ResponseFinished:
        """The event for a response that ends like this, whatever its stages would have made of it."""
        request = self.request
        return events.ResponseFinished(
            request.response_id,
            request.item_id,
            outcome.status,
            self.said,
            request.text_only,
            outcome.reason,
            request.metadata,
            *self._tokens,
        )

    def _add(self, sentence: str) -> None:
        if self._outcome is None:
            self._characters += len(sentence)
            if self._characters <= MAX_RESPONSE_CHARACTERS:
                self._sentences.append(sentence)
                return
            self._outcome = Outcome("incomplete", "max_output_tokens")
        self._outlet.cancel(self._respond_job)

    def _respond(self) -> None:
        config = self._conversation.config
        instructions = self.request.instructions or config.instructions
        self._respond_job = self._outlet.new_job()
        prompt = Prompt(instructions, self._items, self.said, config.max_output_tokens)
        self._outlet.command(Respond(self._respond_job, prompt))

    def _synthesize(self) -> None:
        config = self._conversation.config
        text, self._to_speak, self._speak_job = self._to_speak.strip(), "", self._outlet.new_job()
        self._outlet.command(Synthesize(self._speak_job, text, config.voice, config.speed, self._codec))

    def _next_sentence(self) -> None:
        """Its text is published with its first audio: one message, and the audio waits for no confirmation."""
        if self._sentences:
            self._unsaid = self._sentences.popleft()
            if not self.request.text_only and self._unsaid.strip():
                self._to_speak = self._unsaid

    def _say(self) -> events.TextDelta:
        text, self._unsaid = self._unsaid, ""
        self.said += text
        return events.TextDelta(self.request.response_id, self.request.item_id, text)

    def _next_chunk(self, now: float) -> events.AudioDelta | None:
        size = self._chunk_milliseconds * self._bytes_per_second // 1000
        chunk = self._audio[self._offset : self._offset + size]
        sent_seconds = self._sent_bytes / self._bytes_per_second
        if self._clock_start is None or now - self._clock_start > sent_seconds:
            self._clock_start = now - sent_seconds  # the client has heard everything: the clock starts (again)
        due = self._clock_start + sent_seconds + len(chunk) / self._bytes_per_second - self._ahead_seconds
        if now < due - 1e-6:
            self.wait_until = due
            return None
        self._offset += len(chunk)
        self._sent_bytes += len(chunk)
        if self._asked_at is not None:
            self._outlet.count(metrics.WORKER_FIRST_AUDIO_SECONDS, now - self._asked_at)
            self._asked_at = None
        return events.AudioDelta(self.request.response_id, self.request.item_id, chunk)
