"""Carries out what a session's state machine commands: runs the stages, publishes, sets the timer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

from litevoice_broker.errors import BrokerError, Overloaded
from litevoice_contracts import metrics as names
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_worker import commands
from litevoice_worker.audio import Samples
from litevoice_worker.metrics import Metrics
from litevoice_worker.opening import Stream
from litevoice_worker.stages import Responder, StageDied, StageError, Synthesizer, Transcriber
from litevoice_worker.turn import Turns
from litevoice_worker.unheard import Unheard

logger = logging.getLogger(__name__)

OVERLOADED_PAUSE_SECONDS = 0.2
ABANDON_SECONDS = 5.0
"""How long a session that is handed over may take to have its last message confirmed."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What all sessions of a worker share."""

    transcriber: Transcriber
    responder: Responder
    synthesizer: Synthesizer

    async def close(self) -> None:
        for stage in (self.transcriber, self.responder, self.synthesizer):
            await stage.close()


class Hearing(Protocol):
    def listen(self, stream: Stream, windows: Samples, done: Callable[[list[float] | None], None]) -> None:
        """See Ears."""


class Publisher(Protocol):
    def __call__(self, session_id: str, body: bytes, done: Callable[[BaseException | None], None]) -> None:
        """Sends to the session's LiteTopic; `done` gets the error, None once confirmed. Raises BrokerError."""


class SessionRunner:
    """One session. `on_broken` is called when it cannot go on; its owner then replays to a fresh one. `on_settled` gets
    gateway, session id and what the gateway may forget.

    Attributes:
        gateway: where the session's owner reads news; of the newest envelope.
        machine: the session.
        last_active: when an envelope last arrived, in loop time.
    """

    __slots__ = (
        "_closed",
        "_ears",
        "_jobs",
        "_loop",
        "_metrics",
        "_moved",
        "_on_broken",
        "_on_settled",
        "_publish",
        "_results",
        "_stages",
        "_timer",
        "_unheard",
        "_waiting",
        "gateway",
        "last_active",
        "machine",
    )

    def __init__(
        self,
        machine: Turns,
        stages: Stages,
        ears: Hearing,
        unheard: Unheard,
        publish: Publisher,
        metrics: Metrics,
        on_broken: Callable[[str], None],
        on_settled: Callable[[str, str, commands.Tell], None],
    ) -> None:
        self.machine = machine
        self._stages = stages
        self._ears = ears
        self._unheard = unheard
        self._waiting = (0, 0)
        self._publish = publish
        self._metrics = metrics
        self._on_broken = on_broken
        self._on_settled = on_settled
        self.gateway = ""
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._results: tuple[commands.Result, ...] = ()
        self._moved: asyncio.Event | None = None  # for whom a message was confirmed; an event takes 600 bytes
        self.last_active = self._loop.time()

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
        for task in self._jobs.values():
            task.cancel()
        self._jobs.clear()
        self._count_waiting((0, 0))

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
                case commands.Transcribe(job):
                    self._start(job, self._transcribe(command))
                case commands.Respond(job):
                    self._start(job, self._respond(command))
                case commands.Synthesize(job):
                    self._start(job, self._synthesize(command))
                case commands.CancelJob(job):
                    task = self._jobs.pop(job, None)
                    if task is not None:
                        task.cancel()
        if self._closed:
            return
        self._count_waiting(self.machine.unheard)
        wake_at = self.machine.wake_at
        # A timer that is too early does no harm, and is much cheaper than a new one for every envelope.
        if wake_at is not None and (self._timer is None or wake_at < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(wake_at, self._tick)

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

    def _start(self, job: int, work: Coroutine[Any, Any, None]) -> None:
        task = self._jobs[job] = self._loop.create_task(self._guard(job, work))
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began

    async def _guard(self, job: int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StageError as error:
            logger.warning("a stage failed", extra={"session": self.machine.id, "reason": str(error)})
            if isinstance(error, StageDied):
                self._metrics.count(commands.Count(names.WORKER_RECOGNIZER_DEATHS, error.how))
            self._result(commands.Failed(job, str(error)))
        except Exception as error:
            # The exception's own text could hold what was said.
            logger.error("a stage crashed", extra={"session": self.machine.id, "error": type(error).__name__})
            self._result(commands.Failed(job, "internal error"))
        finally:
            self._jobs.pop(job, None)

    async def _transcribe(self, work: commands.Transcribe) -> None:
        began = time.perf_counter()
        text = await self._stages.transcriber.transcribe(work.samples, work.language)
        self._metrics.stage("asr", time.perf_counter() - began)
        self._result(commands.Transcribed(work.job, text))

    async def _respond(self, work: commands.Respond) -> None:
        began: float | None = time.perf_counter()
        outcome = commands.Outcome()
        sentences = self._stages.responder.respond(work.prompt)
        async with aclosing(cast(Any, sentences)):
            async for piece in sentences:
                if isinstance(piece, commands.Outcome):
                    outcome = piece
                    continue
                if began is not None:
                    self._metrics.stage("respond", time.perf_counter() - began)
                    began = None
                self._result_soon(commands.Sentence(work.job, piece))
        self._result_soon(commands.Responded(work.job, outcome))

    async def _synthesize(self, work: commands.Synthesize) -> None:
        began = time.perf_counter()
        audio = await self._stages.synthesizer.synthesize(work.text, work.voice, work.speed, work.codec)
        self._metrics.stage("tts", time.perf_counter() - began)
        self._result(commands.Synthesized(work.job, audio))
