"""Carries out what a session's state machine commands: runs the stages, publishes, sets the timer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from litevoice_broker.errors import BrokerError, Overloaded
from litevoice_contracts import metrics as names
from litevoice_contracts.control import StageFailure, WorkerSession, WorkerStage
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_worker import commands
from litevoice_worker.audio import Samples
from litevoice_worker.metrics import Metrics
from litevoice_worker.opening import Stream
from litevoice_worker.places import place
from litevoice_worker.plugins import Pipelines
from litevoice_worker.stages import (
    MAX_MESSAGE_CHARACTERS,
    Responder,
    StageDied,
    StageError,
    Synthesizer,
    Transcriber,
    Transcript,
    TurnDetector,
    pieces_of,
    told,
    with_piece,
)
from litevoice_worker.stages.model_calls import calls_of
from litevoice_worker.turn import Turns
from litevoice_worker.unheard import Unheard

logger = logging.getLogger(__name__)

OVERLOADED_PAUSE_SECONDS = 0.2
ABANDON_SECONDS = 5.0
"""How long a session that is handed over may take to have its last message confirmed."""

MAX_TRANSCRIPT_CHARACTERS = 65_536
"""Of one utterance: nobody says so much in it, and the conversation has to hold it."""

MAX_SPEECH_BYTES = 16 << 20
"""Of one sentence; more would be minutes."""

JUDGE_SECONDS = 1.0
"""A turn detector that takes longer is not waited for."""


@dataclass(slots=True)
class _Job:
    """A stage at work; `since`: when it began or last gave something, in loop time."""

    task: asyncio.Task[None]
    stage: WorkerStage
    plugin: object
    since: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a stage failed; `at`: in loop time."""

    stage: WorkerStage
    endpoint: str
    says: str
    at: float


class Hearing(Protocol):
    def listen(self, stream: Stream, windows: Samples, done: Callable[[list[float] | None], None]) -> None:
        """See Ears."""


class Publisher(Protocol):
    def __call__(self, session_id: str, body: bytes, done: Callable[[BaseException | None], None]) -> None:
        """Sends to the session's LiteTopic; `done` gets the error, None once confirmed. Raises BrokerError."""


class SessionRunner:
    """One session. `on_broken` is called when it cannot go on; its owner then replays to a fresh one. `on_settled` gets
    gateway, session id and what the gateway may forget. No stage begins before `certain` returns, and none when
    that is False, because this worker leaves in doubt: what it gives is paid for, and the session may be another one's.

    Attributes:
        gateway: where the session's owner reads news; of the newest envelope.
        machine: the session.
        last_active: when an envelope last arrived, in loop time.
    """

    __slots__ = (
        "_certain",
        "_closed",
        "_ears",
        "_failure",
        "_jobs",
        "_loop",
        "_metrics",
        "_moved",
        "_moved_at",
        "_on_broken",
        "_on_settled",
        "_pipelines",
        "_publish",
        "_results",
        "_timer",
        "_timer_at",
        "_unheard",
        "_waiting",
        "gateway",
        "last_active",
        "machine",
    )

    def __init__(
        self,
        machine: Turns,
        pipelines: Pipelines,
        ears: Hearing,
        unheard: Unheard,
        publish: Publisher,
        metrics: Metrics,
        on_broken: Callable[[str], None],
        on_settled: Callable[[str, str, commands.Tell], None],
        certain: Callable[[], Awaitable[bool]],
    ) -> None:
        self.machine = machine
        self._pipelines = pipelines
        self._ears = ears
        self._unheard = unheard
        self._waiting = (0, 0)
        self._publish = publish
        self._metrics = metrics
        self._on_broken = on_broken
        self._on_settled = on_settled
        self._certain = certain
        self.gateway = ""
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[int, _Job] = {}
        self._failure: _Failure | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False
        self._results: tuple[commands.Result, ...] = ()
        self._moved: asyncio.Event | None = None  # for whom a message was confirmed; an event takes 600 bytes
        self.last_active = self._moved_at = self._loop.time()

    def deliver(self, envelope: UpEnvelope, gateway: str, *, uncertain: bool) -> None:
        """The session's next envelope, from that gateway."""
        self.gateway = gateway
        self.last_active = now = self._loop.time()
        self._carry_out(self.machine.receive(envelope, now, uncertain=uncertain))

    async def abandon(self) -> None:
        """Hands the session over: stops it, and returns when its last message is confirmed (or ABANDON_SECONDS)."""
        self._moved = asyncio.Event()
        self._carry_out(self.machine.abandon(self._loop.time()))
        try:
            async with asyncio.timeout(ABANDON_SECONDS):
                while not self.machine.confirmed and not self._closed:
                    await self._moved.wait()
                    self._moved.clear()
        except TimeoutError:
            logger.warning("a session's last message was not confirmed in time", extra={"session": self.machine.id})
        self.close()

    def close(self) -> None:
        """Stops everything at once. Idempotent."""
        self._closed = True
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
        for job in self._jobs.values():
            job.task.cancel()
        self._jobs.clear()
        self._count_waiting((0, 0))

    def report(self, partition: int) -> WorkerSession:
        """Where the session stands. A stage at work comes first, of several the one that is silent for longest."""
        now, machine = self._loop.time(), self.machine
        longest = min(self._jobs.values(), key=lambda job: job.since, default=None)
        calls = calls_of(longest.plugin) if longest else None
        asking, failure = calls.of(machine.id) if calls else None, self._failure
        return WorkerSession(
            session_id=machine.id,
            partition=partition,
            turn=machine.turn,
            stage=longest.stage if longest else machine.stage,
            stage_seconds=round(now - (longest.since if longest else self._moved_at), 3),
            heard_seconds=round(now - self.last_active, 3),
            queued_packets=machine.queued,
            queued_bytes=machine.unheard[0],
            endpoint=str(asking.target) if asking and asking.target else "",
            tries=asking.tries if asking else 0,
            failed_endpoint=str(asking.failed) if asking and asking.failed else "",
            failed_says=asking.failure if asking else "",
            failure=StageFailure(failure.stage, failure.endpoint, failure.says, round(now - failure.at, 3))
            if failure
            else None,
        )

    def _result(self, result: commands.Result) -> None:
        if self._results:
            self._results += (result,)  # in order
        elif not self._closed:
            self._carry_out(self.machine.handle((result,), self._loop.time()))

    def _result_soon(self, result: commands.Result) -> None:
        """Together with what its stage reports in the same turn of the loop."""
        if not self._results:
            self._loop.call_soon(self._take_results)
        self._results += (result,)

    def _take_results(self) -> None:
        results, self._results = self._results, ()
        if not self._closed:
            self._carry_out(self.machine.handle(results, self._loop.time()))

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.machine.tick(self._loop.time()))

    def _carry_out(self, todo: list[commands.Command]) -> None:
        if todo:
            self._moved_at = self._loop.time()
        for command in todo:
            if self._closed:
                return
            match command:
                case commands.Count():  # first, because each envelope has one
                    self._metrics.count(command)
                case commands.Publish(envelope):
                    self._send(envelope)
                case commands.Tell():
                    self._on_settled(self.gateway, self.machine.id, command)
                case commands.Listen():
                    self._listen(command)
                case commands.Judge(job):
                    detector = self._pipelines.of(command.context.model).turn_detector
                    self._start(job, "turn", detector, self._judge(command, detector))
                case commands.Transcribe(job):
                    transcriber = self._pipelines.of(command.context.model).transcriber
                    self._start(job, "asr", transcriber, self._transcribe(command, transcriber))
                case commands.Respond(job):
                    responder = self._pipelines.of(command.context.model).responder
                    self._start(job, "respond", responder, self._respond(command, responder))
                case commands.Synthesize(job):
                    stages = self._pipelines.of(command.context.model)
                    work, synthesizer = replace(command, voice=stages.voice(command.voice)), stages.synthesizer
                    self._start(job, "tts", synthesizer, self._synthesize(work, synthesizer))
                case commands.CancelJob(job):
                    cancelled = self._jobs.pop(job, None)
                    if cancelled is not None:
                        cancelled.task.cancel()
        if self._closed:
            return
        self._count_waiting(self.machine.unheard)
        wake_at = self.machine.wake_at
        # A timer that is too early does no harm, and is much cheaper than a new one for every envelope.
        if wake_at is not None and (self._timer is None or wake_at < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            # Not asked of the timer: for a moment that has passed, uvloop's cannot say.
            self._timer, self._timer_at = self._loop.call_at(wake_at, self._tick), wake_at

    def _count_waiting(self, now: tuple[int, int]) -> None:
        before, self._waiting = self._waiting, now
        if now != before:
            self._unheard.change(now[0] - before[0], now[1] - before[1])

    def _listen(self, work: commands.Listen) -> None:
        began = time.perf_counter()

        def done(probabilities: list[float] | None) -> None:
            self._metrics.stage("vad", time.perf_counter() - began)
            if probabilities is None:
                self._result(commands.Failed(work.job, "voice activity detection failed"))
            else:
                self._result(commands.Listened(work.job, probabilities))

        self._ears.listen(work.stream, work.windows, done)

    # Publishing

    def _send(self, envelope: DownEnvelope) -> None:
        if self._closed:
            return
        try:
            self._publish(self.machine.id, envelope.encode(), self._confirmed)
        except Overloaded:
            self._loop.call_later(OVERLOADED_PAUSE_SECONDS, self._send, envelope)
        except BrokerError as error:
            self._loop.call_soon(self._confirmed, error)

    def _confirmed(self, error: BaseException | None) -> None:
        if error is None:
            self._result(commands.Published())
            self._wake()
        elif not self._closed:
            # The message may have arrived: sending it again could double it, so it is left to the owner to ask.
            logger.warning("a session's message was not confirmed", extra={"session": self.machine.id})
            self._on_broken(self.machine.id)

    def _wake(self) -> None:
        if self._moved is not None:
            self._moved.set()

    # Stages

    def _start(self, job: int, stage: WorkerStage, plugin: object, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(self._guard(job, stage, work))
        self._jobs[job] = _Job(task, stage, plugin, self._loop.time())
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began

    async def _guard(self, job: int, stage: WorkerStage, work: Coroutine[Any, Any, None]) -> None:
        try:
            if not await self._certain():
                return
            await work
            if self._failure is not None and self._failure.stage == stage:
                self._failure = None
        except StageError as error:
            about = {"session": self.machine.id, "reason": told(error), "endpoint": error.endpoint}
            logger.warning("a stage failed", extra=about)
            self._failure = _Failure(stage, error.endpoint, told(error), self._loop.time())
            if isinstance(error, StageDied):
                self._metrics.count(commands.Count(names.WORKER_RECOGNIZER_DEATHS, error.how))
            self._result(commands.Failed(job, told(error)))
        except Exception as error:
            # The exception's own text could hold what was said.
            about = {"session": self.machine.id, "error": type(error).__name__, "at": place(error)}
            logger.error("a stage crashed", extra=about)
            self._failure = _Failure(stage, "", "internal error", self._loop.time())
            self._result(commands.Failed(job, "internal error"))
        finally:
            work.close()  # it was not begun, if it was cancelled while that waited
            self._jobs.pop(job, None)

    async def _judge(self, work: commands.Judge, detector: TurnDetector | None) -> None:
        """The session hears nothing meanwhile."""
        began, finished = time.perf_counter(), 1.0
        if detector is not None:
            try:
                async with asyncio.timeout(JUDGE_SECONDS):
                    finished = await detector.finished(work.samples, work.context)
            except TimeoutError as error:
                raise StageError(f"the turn detector took longer than {JUDGE_SECONDS:.0f} s") from error
            self._metrics.stage("turn", time.perf_counter() - began)
        self._result(commands.Judged(work.job, finished))

    async def _transcribe(self, work: commands.Transcribe, transcriber: Transcriber) -> None:
        began = time.perf_counter()
        transcript = transcriber.transcribe(work.samples, work.context)
        if isinstance(transcript, AsyncIterator):
            text = ""
            async with aclosing(pieces_of(transcript)) as pieces:
                async for piece in pieces:
                    self._gave(work.job)
                    text = with_piece(text, piece)
                    if len(text) > MAX_TRANSCRIPT_CHARACTERS:
                        break
                    if not isinstance(piece, Transcript):
                        self._result_soon(commands.Heard(work.job, piece))
            text = text.strip()  # as what was told of it
        else:
            text = await transcript
        if len(text) > MAX_TRANSCRIPT_CHARACTERS:
            raise StageError(f"the transcriber gave more than {MAX_TRANSCRIPT_CHARACTERS} characters")
        self._metrics.stage("asr", time.perf_counter() - began)
        self._result_soon(commands.Transcribed(work.job, text))

    def _gave(self, job: int) -> None:
        if (at_work := self._jobs.get(job)) is not None:
            at_work.since = self._loop.time()

    async def _respond(self, work: commands.Respond, responder: Responder) -> None:
        began: float | None = time.perf_counter()
        outcome = commands.Outcome()
        async with aclosing(pieces_of(responder.respond(work.prompt, work.context))) as pieces:
            async for piece in pieces:
                self._gave(work.job)
                if isinstance(piece, commands.Outcome):
                    outcome = replace(piece, reason=piece.reason[:MAX_MESSAGE_CHARACTERS])
                    continue
                if isinstance(piece, commands.FunctionCall | commands.FunctionCallPart):
                    self._result_soon(commands.Called(work.job, piece))
                    continue
                if not isinstance(piece, str):
                    raise TypeError(f"a responder gives sentences, calls and an outcome, not {type(piece).__name__}")
                if began is not None:
                    self._metrics.stage("respond", time.perf_counter() - began)
                    began = None
                self._result_soon(commands.Sentence(work.job, piece))
        self._result_soon(commands.Responded(work.job, outcome))

    async def _synthesize(self, work: commands.Synthesize, synthesizer: Synthesizer) -> None:
        began: float | None = time.perf_counter()
        size = 0
        speech = synthesizer.synthesize(work.text, work.voice, work.speed, work.codec, work.context)
        async with aclosing(pieces_of(speech)) as pieces:
            async for piece in pieces:
                self._gave(work.job)
                if began is not None:
                    self._metrics.stage("tts", time.perf_counter() - began)
                    began = None
                size += len(piece)
                if size > MAX_SPEECH_BYTES:
                    raise StageError(f"the synthesizer made more than {MAX_SPEECH_BYTES} bytes of one sentence")
                self._result_soon(commands.Spoken(work.job, piece))
        self._result_soon(commands.Synthesized(work.job, b""))
