"""One spoken answer: sentence by sentence, never far ahead of real time, from the middle when another worker began it.

Pure: results of the stages in, steps out, the clock passed in. `step` is called whenever nothing of the session waits
for the broker, so what it has given out is what the client has got, save for the message in flight.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, ResponseRequest
from litevoice_contracts.envelopes import ResumePoint

CHUNK_MILLISECONDS = 200
"""Audio per message."""
MAX_ANSWER_CHARACTERS = 32_768
"""A longer answer ends as incomplete: it has to fit into the conversation."""

Status = Literal["completed", "cancelled", "failed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Text:
    """Publish a sentence."""

    text: str


@dataclass(frozen=True, slots=True)
class Speak:
    """Have a sentence synthesized; its audio comes back through `audio_ready`."""

    text: str


@dataclass(frozen=True, slots=True)
class Audio:
    """Publish a piece of audio."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; None: before the next result of a stage."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything is said."""

    status: Status
    reason: str


Step = Text | Speak | Audio | Wait | Finish


class Reply:
    """The answer to one ResponseRequest.

    Attributes:
        said: text that was published, from the answer's beginning.
        input_tokens, output_tokens: as the responder counted them.
    """

    def __init__(
        self, request: ResponseRequest, codec: Codec, ahead_milliseconds: int, resume: ResumePoint | None = None
    ) -> None:
        self.request = request
        self.said = resume.text_before + resume.sentence if resume else ""
        self.input_tokens = 0
        self.output_tokens = 0
        self._bytes_per_millisecond = CODEC_BYTES_PER_SECOND[codec] / 1000
        self._ahead_milliseconds = ahead_milliseconds
        self._sentences: deque[str] = deque()
        self._characters = len(self.said)
        self._end: Finish | None = None
        self._to_speak = resume.sentence if resume and not request.text_only else ""
        self._skip_bytes = resume.sentence_audio_bytes if resume else 0
        self._speaking = False
        self._audio = b""
        self._offset = 0
        self._clock_start: float | None = None
        self._sent_bytes = 0

    def add_sentence(self, text: str) -> bool:
        """Takes the responder's next sentence; False: the answer is long enough, the responder shall stop."""
        if self._end is not None:
            return False
        self._characters += len(text)
        if self._characters > MAX_ANSWER_CHARACTERS:
            self._end = Finish("incomplete", "max_output_tokens")
            return False
        self._sentences.append(text)
        return True

    def end(self, status: Status, reason: str = "") -> None:
        """The responder has given everything. A failure of any stage ends the answer where it is."""
        if status == "failed":
            self._sentences.clear()
            self._to_speak, self._speaking, self._audio, self._offset = "", False, b"", 0
        if self._end is None or status == "failed":
            self._end = Finish(status, reason)

    def audio_ready(self, audio: bytes) -> None:
        """Audio of the sentence that was last asked for, in the output codec."""
        self._speaking = False
        self._audio, self._offset = audio, min(self._skip_bytes, len(audio))
        self._skip_bytes = 0

    def step(self, now: float) -> Step:
        """What to do next."""
        if self._offset < len(self._audio):
            return self._next_chunk(now)
        if self._speaking:
            return Wait(None)
        if self._to_speak:
            text, self._to_speak, self._speaking = self._to_speak, "", True
            return Speak(text.strip())
        if self._sentences:
            text = self._sentences.popleft()
            self.said += text
            if not self.request.text_only and text.strip():
                self._to_speak = text
            return Text(text)
        return self._end or Wait(None)

    def _next_chunk(self, now: float) -> Step:
        size = int(CHUNK_MILLISECONDS * self._bytes_per_millisecond)
        chunk = self._audio[self._offset : self._offset + size]
        sent_seconds = self._sent_bytes / self._bytes_per_millisecond / 1000
        if self._clock_start is None or now - self._clock_start > sent_seconds:
            self._clock_start = now - sent_seconds  # the listener has heard everything: the clock starts (again)
        chunk_seconds = len(chunk) / self._bytes_per_millisecond / 1000
        due = self._clock_start + sent_seconds + chunk_seconds - self._ahead_milliseconds / 1000
        if now < due - 1e-6:
            return Wait(due)
        self._offset += len(chunk)
        self._sent_bytes += len(chunk)
        return Audio(chunk)
