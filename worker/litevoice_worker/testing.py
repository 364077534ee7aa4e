"""Calls a team's own stages as litevoice calls them, in virtual time, and kills workers in mid-answer: see
docs/own-agent.md.

    def test_a_killed_worker() -> None:
        async def story() -> None:
            async with Call(lambda: MyResponder(MyOptions())) as call:
                call.say("hello")
                await call.sentences(1)
                await call.kill_worker()
                assert (await call.answer()).text == "Hello. How are you?"

        run(story)

A worker is a session's state machine and its shell, as they are; broker and gateway are played: they lose nothing, and
give the next worker what a gateway would.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.control import WorkerStage
from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, Item, SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageIds, ResumePoint, ToldCall, UpEnvelope
from litevoice_worker.audio import Samples
from litevoice_worker.commands import Prompt, StageContext, Tell
from litevoice_worker.metrics import Metrics
from litevoice_worker.opening import Stream
from litevoice_worker.plugins import Pipelines, Stages
from litevoice_worker.runner import SessionRunner
from litevoice_worker.sentences import unsaid
from litevoice_worker.stages import NoOptions, Plugin, Responder, StageError, Synthesizer, Transcriber, TurnDetector
from litevoice_worker.turn import Limits, Turns
from litevoice_worker.unheard import Unheard
from litevoice_worker.virtual_time import Life, run

__all__ = ["Answer", "Call", "Prompt", "StageContext", "run"]

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 86_400.0
"""Virtual time after which a call that brings nothing fails its test: at once, in real time."""
CHARACTER_MILLISECONDS = 60
_BROKER_SECONDS = 0.003
_HEARING_SECONDS = 0.005
_FRAME_SECONDS = 0.1
_LOUD = 200


class SilentVoice(Plugin[NoOptions]):
    """Silence, 60 ms for each character: the synthesizer of a call that needs no other."""

    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec, context: StageContext) -> bytes:  # noqa: ARG002
        return bytes(2 * (len(text) * CHARACTER_MILLISECONDS * CODEC_BYTES_PER_SECOND[codec] // 2000))


class DeafEars(Plugin[NoOptions]):
    """Understands nothing: the transcriber of a call in which nobody speaks."""

    async def transcribe(self, samples: Samples, context: StageContext) -> str:  # noqa: ARG002
        return ""


class EchoResponder(Plugin[NoOptions]):
    """Repeats what it was asked: the responder of a call that needs no other."""

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str]:  # noqa: ARG002
        for sentence in unsaid(prompt.items[-1].text, prompt.said):
            yield sentence


@dataclass(slots=True)
class Answer:
    """What the caller got of one response.

    Attributes:
        status: "" while it is under way; then completed, cancelled, failed or incomplete.
        sentences: as they came; `text` is all of it.
        calls: of the client's functions, as items of the conversation.
        audio_seconds: how much was sent.
        question: what the user had said, as it was understood.
    """

    response_id: str
    status: str = ""
    reason: str = ""
    sentences: list[str] = field(default_factory=list)
    calls: list[Item] = field(default_factory=list)
    audio_seconds: float = 0.0
    question: str = ""

    @property
    def text(self) -> str:
        return "".join(self.sentences)


class _Runner(SessionRunner):
    """Logs what a stage raises as it is, with its text and where it comes from: in a test nobody has said it."""

    async def _guard(self, job: int, stage: WorkerStage, work: Coroutine[Any, Any, None]) -> None:
        await super()._guard(job, stage, _shown(stage, work))


async def _shown(stage: WorkerStage, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except StageError:
        raise
    except Exception:
        logger.exception("the stage %r raised", stage)
        raise


class _Worker:
    def __init__(self, life: Life, stages: Stages, runner: SessionRunner) -> None:
        self.life = life
        self.stages = stages
        self.runner = runner


class _Ears:
    """Speech is what is loud."""

    def listen(self, stream: Stream, windows: Samples, done: Callable[[list[float] | None], None]) -> None:  # noqa: ARG002
        heard = (np.abs(windows.astype(np.int32)).mean(axis=1) > _LOUD).astype(float).tolist()
        asyncio.get_running_loop().call_later(_HEARING_SECONDS, done, heard)


class Call:
    """One caller, from the session's beginning to its end; only inside `run`. Each argument makes a stage for a new
    worker, which starts and, unless it is killed, closes it. `config`: what the session begins with.

    Attributes:
        answers: what the caller got, oldest first.
        errors: events of type `error` that it got.
        transcripts: what was understood of what it said.
    """

    def __init__(
        self,
        responder: Callable[[], Responder] = lambda: EchoResponder(NoOptions()),
        *,
        transcriber: Callable[[], Transcriber] = lambda: DeafEars(NoOptions()),
        synthesizer: Callable[[], Synthesizer] = lambda: SilentVoice(NoOptions()),
        turn_detector: Callable[[], TurnDetector | None] = lambda: None,
        config: SessionConfig = SessionConfig(principal="caller"),  # noqa: B008 - frozen
        session_id: str = "s_test",
    ) -> None:
        self.answers: list[Answer] = []
        self.errors: list[events.SessionError] = []
        self.transcripts: list[str] = []
        self._make = (transcriber, responder, synthesizer, turn_detector)
        self._id = session_id
        self._snapshot = Snapshot(config=config)
        self._sent: list[packets.Packet] = []
        self._attempt = self._turn = 0
        self._resume: ResumePoint | None = None
        self._text_only = False
        self._workers: list[_Worker] = []
        self._changed = asyncio.Event()
        self._items = 0

    async def __aenter__(self) -> Self:
        await self._begin_worker()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(self._worker)
        for worker in self._workers:
            await worker.life.bury()

    # The caller

    def say(self, text: str, tools: Sequence[dict[str, object]] | None = None) -> None:
        """Writes to the agent, and asks for an answer; `tools`: functions of the client's that it may call."""
        self._items += 1
        item = Item(f"said_{self._items}", "user", text)
        self._send(packets.CreateItem(item), packets.CreateResponse(tools=list(tools) if tools is not None else None))

    async def speak(self, audio: bytes, silence_seconds: float = 1.0) -> None:
        """Says it in real (virtual) time: PCM16 at 24 kHz; then is silent."""
        size = int(_FRAME_SECONDS * CODEC_BYTES_PER_SECOND["pcm16/24000"])
        audio += bytes(int(silence_seconds / _FRAME_SECONDS) * size)
        for start in range(0, len(audio), size):
            self._send(packets.Audio(audio[start : start + size]))
            await asyncio.sleep(_FRAME_SECONDS)

    async def sentences(self, count: int) -> list[str]:
        """The newest answer's, once there are so many, or it has ended."""
        before = len([answer for answer in self.answers if answer.status])
        await self._until(
            lambda: (
                bool(self.answers)
                and (len(self.answers[-1].sentences) >= count or len([a for a in self.answers if a.status]) > before)
            )
        )
        return self.answers[-1].sentences

    async def answer(self, number: int | None = None) -> Answer:
        """An answer that has ended: the newest one, or, counted from 0, that one."""
        await self._until(lambda: len(self.answers) > (number or 0) and bool(self.answers[number or -1].status))
        return self.answers[-1 if number is None else number]

    async def kill_worker(self) -> None:
        """kill -9: nothing of it runs on, not even its `finally`; another worker goes on with what is unfinished. What
        the dead one had open, such as connections, stays open until the call ends."""
        worker = self._worker
        worker.life.kill()
        worker.runner.close()
        await self._replace_worker()

    async def leave_worker(self) -> None:
        """The worker is shut down in good order, and hands the session over."""
        worker = self._worker
        with worker.life.begin():
            await worker.runner.abandon()
        await self._close(worker)
        await self._replace_worker()

    @property
    def conversation(self) -> list[Item]:
        """As it is remembered."""
        return self._snapshot.items

    # The worker, and what a gateway does for it

    @property
    def _worker(self) -> _Worker:
        return self._workers[-1]

    async def _begin_worker(self) -> None:
        life = Life()
        with life.begin():
            transcriber, responder, synthesizer, turn_detector = self._make
            stages = Stages(transcriber(), responder(), synthesizer(), turn_detector())
            await asyncio.create_task(_start(stages))
            number = len(self._workers) + 1
            machine = Turns(self._id, Limits(), MessageIds(number))
            pipelines = Pipelines({"litevoice": stages})
            shared = (pipelines, _Ears(), Unheard(), self._publish, Metrics())
            runner = _Runner(machine, *shared, _broken, self._settled, _certain)
        self._workers.append(_Worker(life, stages, runner))

    async def _replace_worker(self) -> None:
        self._attempt += 1
        first = self._snapshot.boundary.seq + 1 if self._snapshot.boundary is not None else 0
        await self._begin_worker()
        envelope = self._envelope(first, self._sent[first:], self._snapshot)
        pending = self._snapshot.pending
        resume = self._resume
        if pending is not None and (resume is None or resume.response_id != pending.response_id):
            resume = ResumePoint(pending.response_id, pending.item_id)
        with self._worker.life.begin():
            self._worker.runner.deliver(replace(envelope, resume=resume), "", uncertain=False)

    async def _close(self, worker: _Worker) -> None:
        worker.runner.close()
        if not worker.life.over:
            await Pipelines({"": worker.stages}).close()
        worker.life.kill()

    def _send(self, *some: packets.Packet) -> None:
        snapshot = None if self._sent else self._snapshot
        envelope = self._envelope(len(self._sent), list(some), snapshot)
        self._sent += some
        with self._worker.life.begin():
            self._worker.runner.deliver(envelope, "", uncertain=False)

    def _envelope(self, seq: int, some: list[packets.Packet], snapshot: Snapshot | None) -> UpEnvelope:
        made = UpEnvelope(self._id, 1, seq, self._turn, some, attempt=self._attempt, snapshot=snapshot)
        return UpEnvelope.decode(made.encode())

    def _settled(self, gateway: str, session_id: str, told: Tell) -> None:
        """Everything is kept: a test is short."""

    def _publish(self, session_id: str, body: bytes, done: Callable[[BaseException | None], None]) -> None:  # noqa: ARG002
        envelope = DownEnvelope.decode(body)
        asyncio.get_running_loop().call_later(_BROKER_SECONDS, done, None)
        if envelope.attempt < self._attempt:
            return
        self._turn = max(self._turn, envelope.turn)
        self._snapshot = envelope.snapshot or self._snapshot
        for event in envelope.events:
            self._take(event)
        self._changed.set()

    def _take(self, event: events.DownEvent) -> None:
        match event:
            case events.ResponseStarted():
                if not any(answer.response_id == event.response_id for answer in self.answers):
                    self.answers.append(Answer(event.response_id, question=self._question()))
                    self._resume = ResumePoint(event.response_id, event.item_id)
                    self._text_only = event.text_only
            case events.TextDelta(_, _, text) if (point := self._resume) is not None:
                self.answers[-1].sentences.append(text)
                if self._text_only:
                    self._resume = replace(point, text_before=point.text_before + text)
                else:
                    self._resume = replace(
                        point,
                        text_before=point.text_before + point.sentence,
                        sentence=text,
                        sentence_audio_bytes=0,
                        audio_bytes_before=point.audio_bytes_before + point.sentence_audio_bytes,
                    )
            case events.AudioDelta(_, _, audio) if (point := self._resume) is not None:
                codec = self._snapshot.config.output_codec
                self.answers[-1].audio_seconds += len(audio) / CODEC_BYTES_PER_SECOND[codec]
                self._resume = replace(point, sentence_audio_bytes=point.sentence_audio_bytes + len(audio))
            case events.CallStarted(_, item_id, index, call_id, name) if (point := self._resume) is not None:
                self._resume = replace(point, calls=[*point.calls, ToldCall(item_id, index, call_id, name)])
            case events.CallDelta(_, item_id, _, _, text) if (point := self._resume) is not None:
                calls = [
                    replace(call, arguments=call.arguments + text) if call.item_id == item_id else call
                    for call in point.calls
                ]
                self._resume = replace(point, calls=calls)
            case events.ResponseFinished():
                answer = self.answers[-1]
                answer.status, answer.reason, answer.calls = event.status, event.reason, list(event.calls or ())
                self._resume = None
            case events.InputTranscribed(_, text):
                self.transcripts.append(text)
            case events.SessionError():
                self.errors.append(event)
            case _:
                pass

    def _question(self) -> str:
        said = [item.text for item in self._snapshot.items if item.role == "user" and item.kind == "message"]
        return said[-1] if said else ""

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def _start(stages: Stages) -> None:
    made: list[object] = [stages.transcriber, stages.responder, stages.synthesizer, stages.turn_detector]
    for stage in made:
        if isinstance(stage, Plugin):
            await stage.start()


async def _certain() -> bool:
    """There is no other worker."""
    return True


def _broken(session_id: str) -> None:
    raise AssertionError(f"the session {session_id} cannot go on")  # the broker that is played here takes everything
