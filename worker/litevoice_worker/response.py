"""One spoken response: sentence by sentence, never far ahead of real time, from the middle if another worker began it.

Sans I/O: results of the stages in, events out, the clock passed in. `next` is called whenever nothing of the session
waits for the broker, so what it has given out is what the client has got, save for the message in flight.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from litevoice_contracts import events, metrics
from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Item, ResponseRequest
from litevoice_contracts.envelopes import ResumePoint
from litevoice_worker.audio import SAMPLE_BYTES
from litevoice_worker.budget import within
from litevoice_worker.calls import CallError, Calls, choice_among
from litevoice_worker.commands import (
    Called,
    Failed,
    Outcome,
    Prompt,
    Respond,
    Responded,
    Result,
    Sentence,
    Spoken,
    StageContext,
    Synthesize,
    Synthesized,
)
from litevoice_worker.conversation import Conversation
from litevoice_worker.heard import heard
from litevoice_worker.outlet import Outlet
from litevoice_worker.speakable import speakable
from litevoice_worker.speech import Speech

CHUNK_MILLISECONDS = 400
"""Audio per event, at most; no more than a response may be ahead of real time."""
SHORT_CHUNK_MILLISECONDS = 100
"""Audio per event, at least, while more of its sentence comes: so little goes only to a client that soon has nothing to
play."""
CHARACTER_MILLISECONDS = 65
"""About as long as a character takes to say: a guess at a sentence whose audio has not all come."""
MAX_RESPONSE_CHARACTERS = 32_768
"""A longer response ends as incomplete: it has to fit into the conversation."""
FORGOT = "truncation is disabled, and the conversation has exceeded what is kept of it: its oldest items were forgotten"

ResponseEvent = events.TextDelta | events.AudioDelta | events.CallStarted | events.CallDelta


class Response:
    """The response to one request. `context` gets a key and what was said (see Dialogue.context).

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
        context: Callable[[str, str], StageContext],
        *,
        resume: ResumePoint | None = None,
        asked_at: float | None = None,
    ) -> None:
        self.request = request
        self.said = resume.text_before + resume.sentence if resume else ""
        self.wait_until: float | None = None
        self._conversation = conversation
        self._codec = request.codec or conversation.config.output_codec
        self._bytes_per_second = CODEC_BYTES_PER_SECOND[self._codec]
        self._ahead_seconds = ahead_milliseconds / 1000
        self._chunk_milliseconds = min(CHUNK_MILLISECONDS, ahead_milliseconds)
        self._outlet = outlet
        self._context = context
        self._asked_at = asked_at
        self._respond_job = 0  # 0: not asked yet
        self._spoken: Speech | None = None  # the sentence that is spoken
        self._prepared: Speech | None = None  # the one after it, if it was begun
        self._sentences: deque[str] = deque()
        self._calls = Calls(request.item_id, resume.calls if resume else ())
        self._characters = len(self.said)
        self._tokens = (0, 0)  # input and output, as the responder counted them
        self._cached_tokens = 0
        self._outcome: Outcome | None = None
        self._unsaid = ""
        self._to_speak = resume.sentence if resume and not request.text_only and speakable(resume.sentence) else ""
        self._skip_bytes = resume.sentence_audio_bytes if resume else 0
        self._clock_start: float | None = None
        self._sent_bytes = 0
        bytes_before = resume.audio_bytes_before if resume else 0
        self._speech = list[tuple[int, int]]()
        if resume and resume.text_before:
            self._speech.append((len(resume.text_before), self._milliseconds(bytes_before)))
        if resume and resume.sentence:
            guess = self._guess(len(resume.sentence), self._skip_bytes)
            self._speech.append((len(resume.sentence), guess if self._to_speak else 0))
        self._milliseconds_before = self._milliseconds(bytes_before + self._skip_bytes)

    def _fail(self, message: str) -> None:
        """Ends the response where it is."""
        self.stop()
        self._sentences.clear()
        if self._spoken is not None and not self._unsaid:
            self._measure(self._spoken.taken, ended=True)  # the rest is not heard
        self._to_speak, self._spoken, self._prepared = "", None, None
        self._outcome = Outcome("failed", message)

    def stop(self) -> None:
        """Results are no longer wanted."""
        self._outlet.cancel(self._respond_job)
        for speech in (self._spoken, self._prepared):
            if speech is not None:
                self._outlet.cancel(speech.job)

    def take(self, result: Result) -> None:
        """A stage's result, ignored unless it is for this response."""
        match result:
            case Sentence(job, text) if job == self._respond_job:
                self._add(text)
            case Called(job, call) if job == self._respond_job:
                try:
                    self._calls.add(call)
                except CallError as error:
                    self._fail(str(error))
            case Responded(job, outcome) if job == self._respond_job:
                self._tokens = (outcome.input_tokens, outcome.output_tokens)
                self._cached_tokens = outcome.cached_tokens
                if outcome.status == "failed":
                    self._fail(outcome.reason or "the responder failed, and did not say why")
                elif outcome.status == "completed":
                    self._end_calls()
                self._outcome = self._outcome or outcome
            case Failed(job, message) if job == self._respond_job:
                self._fail(message)
            case Spoken(job) | Synthesized(job) | Failed(job) if speech := self._speech_of(job):
                self._heed(speech, result)
            case _:
                pass

    def next(self, now: float) -> ResponseEvent | Outcome | None:
        """The next event to publish, how the response ended, or None when it is not time for either."""
        self.wait_until = None
        if call := self._next_call():
            return call
        if self._spoken is not None and self._spoken.over:
            self._spoken = None
        if not (self._spoken or self._to_speak or self._unsaid):
            self._next_sentence()
        if self._to_speak and self._spoken is None:
            self._synthesize()
        if self._spoken is not None and self._spoken.left:
            self._prepare()
            return self._say() if self._unsaid else self._next_chunk(self._spoken, now)
        if self._spoken is None:
            if self._unsaid:
                return self._say()
            if self._outcome:
                return self._outcome
        if not self._respond_job:
            self._respond()
            return self._outcome  # of a question that cannot be asked
        return None

    def heard_milliseconds(self, now: float) -> int:
        """How much of its audio can have been heard by now, if the client plays it without a pause."""
        if self._clock_start is None:
            return self._milliseconds_before
        sent_seconds = self._sent_bytes / self._bytes_per_second
        return self._milliseconds_before + round(1000 * min(sent_seconds, now - self._clock_start))

    def unheard_milliseconds(self, now: float) -> int:
        """How much of the audio that was sent is still to be played."""
        return self._milliseconds_before + self._milliseconds(self._sent_bytes) - self.heard_milliseconds(now)

    def item(self, outcome: Outcome, heard_milliseconds: int | None) -> Item:
        """What is remembered of a response that ends like this; None: it was heard to the end."""
        request, audio = self.request, not self.request.text_only
        text, speech = self.said, self._speech
        if audio and heard_milliseconds is not None:
            text, speech = heard(text, speech, heard_milliseconds)
        return Item(request.item_id, "assistant", text, audio, outcome.status == "completed", speech)

    def calls(self, outcome: Outcome) -> list[tuple[int, Item]]:
        """Of functions, once the response is complete: items that stand after its own, each with its index."""
        return self._calls.made() if outcome.status == "completed" else []

    def finished(self, outcome: Outcome, previous_item_id: str | None) -> events.ResponseFinished:
        """The event for a response that ends like this, whatever its stages would have made of it."""
        request, calls = self.request, self.calls(outcome)
        return events.ResponseFinished(
            request.response_id,
            request.item_id,
            outcome.status,
            self.said,
            request.text_only,
            outcome.reason,
            request.metadata,
            *self._tokens,
            previous_item_id,
            [call for _, call in calls] or None,
            [index for index, _ in calls] or None,
            request.out_of_band,
            request.voice,
            request.codec,
            request.max_output_tokens,
            self._cached_tokens,
        )

    def _milliseconds(self, audio_bytes: int) -> int:
        return audio_bytes * 1000 // self._bytes_per_second

    def _end_calls(self) -> None:
        try:
            self._calls.end()
        except CallError as error:
            self._fail(str(error))

    def _add(self, sentence: str) -> None:
        """An empty one says nothing, but for ever many of them are too many."""
        if self._outcome is None:
            self._characters += len(sentence) or 1
            if self._characters <= MAX_RESPONSE_CHARACTERS:
                self._sentences.extend([sentence] if sentence else ())
                return
            self._outcome = Outcome("incomplete", "max_output_tokens")
        self._outlet.cancel(self._respond_job)

    def _respond(self) -> None:
        config, request = self._conversation.config, self.request
        if config.truncation.disabled and self._conversation.forgot and request.input is None:
            self._fail(FORGOT)
            return
        instructions = request.instructions or config.instructions
        self._respond_job = self._outlet.new_job()
        items = self._conversation.context(request)  # as it is now: some may have waited for a transcript
        items = within((item for item in items if not item.is_noise or item is items[-1]), config.truncation)
        tools = config.tools if request.tools is None else request.tools
        prompt = Prompt(
            instructions,
            items,
            self.said,
            config.max_output_tokens if request.max_output_tokens is None else request.max_output_tokens,
            tools,
            choice_among(tools, request.tool_choice or config.tool_choice),
        )
        self._outlet.command(Respond(self._respond_job, prompt, self._context(request.response_id, self.said)))

    def _synthesize(self) -> None:
        text, self._to_speak = self._to_speak, ""
        speech, self._prepared = self._prepared or self._begin_speech(text), None
        self._spoken = speech
        speech.skip(self._skip_bytes)
        self._skip_bytes = 0
        if speech.failure:
            self._fail(speech.failure)
        elif speech.over:  # it has no audio
            self._spoken = None

    def _prepare(self) -> None:
        """While a sentence is spoken the next one is made: there is no silence between them that need not be."""
        if self._prepared or not self._sentences or self.request.text_only:
            return
        if speakable(self._sentences[0]):
            self._prepared = self._begin_speech(self._sentences[0])

    def _begin_speech(self, sentence: str) -> Speech:
        job, config = self._outlet.new_job(), self._conversation.config
        text = speakable(sentence)
        context = self._context(sentence_key(self.request.response_id, text), self.said)
        voice = self.request.voice or config.voice
        self._outlet.command(Synthesize(job, text, voice, config.speed, self._codec, context))
        return Speech(job, SAMPLE_BYTES[self._codec])

    def _speech_of(self, job: int) -> Speech | None:
        return next((one for one in (self._spoken, self._prepared) if one is not None and one.job == job), None)

    def _heed(self, speech: Speech, result: Spoken | Synthesized | Failed) -> None:
        """What the synthesizer says of a sentence; one that cannot be made fails when its turn has come."""
        if isinstance(result, Failed):
            speech.failure = result.message
            if speech is self._spoken:
                self._fail(result.message)
            return
        speech.add(result.audio, ends=isinstance(result, Synthesized))
        if speech is self._spoken and not self._unsaid:
            self._measure(max(speech.total, speech.taken), ended=speech.ended)

    def _measure(self, audio_bytes: int, *, ended: bool) -> None:
        """How long the last sentence that was said takes, of which so much has come; a guess unless that is all."""
        characters, _ = self._speech[-1]
        whole = self._milliseconds(audio_bytes) if ended else self._guess(characters, audio_bytes)
        self._speech[-1] = (characters, whole)

    def _guess(self, characters: int, audio_bytes: int) -> int:
        """Milliseconds that a sentence takes of which so much has come."""
        guess = round(characters * CHARACTER_MILLISECONDS / self._conversation.config.speed)
        return max(self._milliseconds(audio_bytes), guess)

    def _next_call(self) -> events.CallStarted | events.CallDelta | None:
        """An answer that does not end well calls nothing."""
        ends_well = self._outcome is None or self._outcome.status == "completed"
        return self._calls.next(self.request.response_id) if ends_well else None

    def _next_sentence(self) -> None:
        """Its text is published with its first audio: one message, and the audio waits for no confirmation."""
        if self._sentences:
            self._unsaid = self._sentences.popleft()
            if not self.request.text_only and speakable(self._unsaid):
                self._to_speak = self._unsaid

    def _say(self) -> events.TextDelta:
        text, self._unsaid = self._unsaid, ""
        self.said += text
        if not self.request.text_only:
            size, ended = (self._spoken.total, self._spoken.ended) if self._spoken is not None else (0, True)
            self._speech.append((len(text), 0))
            self._measure(size, ended=ended)
        return events.TextDelta(self.request.response_id, self.request.item_id, text)

    def _next_chunk(self, speech: Speech, now: float) -> events.AudioDelta | None:
        size = self._chunk_milliseconds * self._bytes_per_second // 1000
        chunk = speech.look(size)
        sent_seconds = self._sent_bytes / self._bytes_per_second
        if self._clock_start is None or now - self._clock_start > sent_seconds:
            self._clock_start = now - sent_seconds  # the client has heard everything: the clock starts (again)
        due = self._clock_start + sent_seconds + len(chunk) / self._bytes_per_second - self._ahead_seconds
        if len(chunk) < size and not speech.ended:
            # More may come before the client needs it.
            chunk = chunk[: len(chunk) - len(chunk) % SAMPLE_BYTES[self._codec]]
            if len(chunk) < min(size, SHORT_CHUNK_MILLISECONDS * self._bytes_per_second // 1000):
                return None
            due = max(due, self._clock_start + sent_seconds - self._chunk_milliseconds / 1000)
        if now < due - 1e-6:
            self.wait_until = due
            return None
        speech.take(len(chunk))
        self._sent_bytes += len(chunk)
        if self._asked_at is not None:
            self._outlet.count(metrics.WORKER_FIRST_AUDIO_SECONDS, now - self._asked_at)
            self._asked_at = None
        return events.AudioDelta(self.request.response_id, self.request.item_id, chunk)


def sentence_key(response_id: str, text: str) -> str:
    """The same text is the same work, wherever it stands in the response."""
    return f"{response_id}_{hashlib.blake2b(text.encode(), digest_size=5).hexdigest()}"
