"""Connects one Reply with the stages that make it: which job was started for what, and what goes out as an event."""

from __future__ import annotations

from litevoice_contracts import events, metrics
from litevoice_contracts.conversation import ResponseRequest
from litevoice_contracts.envelopes import ResumePoint
from litevoice_worker.conversation import Conversation
from litevoice_worker.outlet import Outlet
from litevoice_worker.reply import Audio, Finish, Reply, Speak, Text, Wait
from litevoice_worker.steps import Failed, Prompt, Respond, Responded, Result, Sentence, Synthesize, Synthesized


class Answer:
    """One response under way.

    Attributes:
        wait_until: when the next piece is due; None: not before a stage answers.
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
        self.wait_until: float | None = None
        self._conversation = conversation
        self._codec = conversation.config.output_codec
        self._items = conversation.up_to(request.after_item_id)
        self._reply = Reply(request, self._codec, ahead_milliseconds, resume)
        self._outlet = outlet
        self._asked_at = asked_at
        self._respond_job = 0
        self._speak_job = 0

    @property
    def said(self) -> str:
        return self._reply.said

    def fail(self, message: str) -> None:
        self._reply.end("failed", message)

    def take(self, result: Result) -> None:
        """A stage's result, ignored unless it is for this answer."""
        match result:
            case Sentence(job, text) if job == self._respond_job:
                if not self._reply.add_sentence(text):
                    self._outlet.cancel(job)
            case Responded(job, status, reason, input_tokens, output_tokens) if job == self._respond_job:
                self._reply.input_tokens, self._reply.output_tokens = input_tokens, output_tokens
                self._reply.end(status, reason)
            case Synthesized(job, audio) if job == self._speak_job:
                self._reply.audio_ready(audio)
            case Failed(job, message) if job in (self._respond_job, self._speak_job):
                self._outlet.cancel(self._respond_job)
                self._reply.end("failed", message)
            case _:
                pass

    def step(self, now: float) -> events.DownEvent | Finish | None:
        """The next event to publish, the end, or None when it is not time for either."""
        config = self._conversation.config
        ids = (self.request.response_id, self.request.item_id)
        while True:
            self.wait_until = None
            match self._reply.step(now):
                case Text(text):
                    return events.TextDelta(*ids, text)
                case Audio(audio):
                    if self._asked_at is not None:
                        self._outlet.count(metrics.WORKER_FIRST_AUDIO_SECONDS, now - self._asked_at)
                        self._asked_at = None
                    return events.AudioDelta(*ids, audio)
                case Speak(text):
                    self._speak_job = self._outlet.new_job()
                    self._outlet.command(Synthesize(self._speak_job, text, config.voice, config.speed, self._codec))
                case Finish() as finish:
                    return finish
                case Wait(until):
                    self.wait_until = until
                    if not self._respond_job:
                        self._ask(config.instructions, config.max_output_tokens)
                    return None

    def stop(self) -> None:
        """No result is wanted any more."""
        self._outlet.cancel(self._respond_job)
        self._outlet.cancel(self._speak_job)

    def finished(self, finish: Finish) -> events.ResponseFinished:
        return events.ResponseFinished(
            self.request.response_id,
            self.request.item_id,
            finish.status,
            self._reply.said,
            self.request.text_only,
            finish.reason,
            self.request.metadata,
            self._reply.input_tokens,
            self._reply.output_tokens,
        )

    def _ask(self, instructions: str, max_output_tokens: int) -> None:
        prompt = Prompt(self.request.instructions or instructions, self._items, self._reply.said, max_output_tokens)
        self._respond_job = self._outlet.new_job()
        self._outlet.command(Respond(self._respond_job, prompt))
