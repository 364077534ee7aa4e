"""A plug-in in a process of its own, as the worker sees it: a stage like any other. A process that hangs, grows or
crashes is ended and started again; what it had under way is given to the next one, three times in all, at last
one after the other: so what kills it fails, and what was beside it does not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from litevoice_contracts.conversation import Codec
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import LogLevel, StageSettings
from litevoice_worker.apart import wire
from litevoice_worker.apart.trials import Trial, Trials
from litevoice_worker.apart.watch import LOOK_SECONDS, Death, Deaths, Watch
from litevoice_worker.audio import Given, Samples
from litevoice_worker.commands import FunctionCall, FunctionCallPart, Outcome, Prompt, StageContext
from litevoice_worker.stages import NoOptions, Plugin, StageError
from litevoice_worker.stages.child import Child, pause_after, spawn

logger = logging.getLogger(__name__)

START_SECONDS = 120.0
"""Models may have to be loaded."""
ATTEMPTS = 3
"""How often one thing is asked for, when the process dies of it or beside it."""
WAITING_PIECES = 1000
"""Of one answer, that nobody has taken yet."""
TAKEN_AT_ONCE = 100
_MEBIBYTE = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Died(Exception):  # noqa: N818 - reads as what it is
    """The process is gone, and the answer with it; `how` as in Death, `of`: whose last trial it has died of, None for
    nobody's, `age`: how many seconds it had what was asked."""

    def __init__(self, how: Death, of: Trial | None = None, age: float = 0.0) -> None:
        super().__init__(how)
        self.how = how
        self.of = of
        self.age = age


@dataclass(slots=True)
class _Asked:
    """How often one thing was asked: `deaths`: that count, `age`: see Trials, None before the first."""

    times: int = 0
    deaths: int = 0
    age: float | None = None
    trial: Trial | None = None

    def died(self, error: _Died) -> bool:
        """Whether it can be asked again."""
        self.times += 1
        self.deaths += error.of is None or error.of is self.trial
        self.age, self.trial = error.age, None
        return self.deaths < ATTEMPTS


_Answer = wire.Piece | wire.End | _Died


@dataclass(slots=True)
class _Link:
    """One process at work. `died`: how, "" while it lives."""

    child: Child
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    watch: Watch
    jobs: dict[int, asyncio.Queue[_Answer]] = field(default_factory=dict)
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    died: Death | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class PluginProcess(Plugin[NoOptions]):
    """The stage that `kind` says. `path`: its own in the settings."""

    def __init__(self, kind: str, settings: StageSettings, path: str, log_level: LogLevel, deaths: Deaths) -> None:
        super().__init__(NoOptions())
        self._setup = wire.Setup(kind, settings.use, settings.options, path, log_level)
        self._deaths = deaths
        self._link: _Link | None = None
        self._starting: asyncio.Task[_Link] | None = None
        self._failures = 0
        self._closed = False
        self._numbers = itertools.count()
        self._burying: set[asyncio.Task[None]] = set()
        self._trials = Trials()

    async def start(self) -> None:
        """Raises InvalidField, with the whole path of what is wrong."""
        try:
            await self._running()
        except _Died as error:
            expected = f"a plug-in that starts: the process of {self._setup.use} {_WORDS[error.how]}"
            raise InvalidField(self._setup.path, expected) from error

    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        request = wire.Transcribe(0, samples.astype("<i2", copy=False).tobytes(), context)
        end = await self._whole(request)
        assert isinstance(end, wire.Transcribed)
        return end.text

    async def synthesize(
        self, text: str, voice: str, speed: float, codec: Codec, context: StageContext
    ) -> AsyncIterator[bytes]:
        """A process that comes after another one says the sentence again; what was given of it is left out."""
        given, asked = Given(), _Asked()
        while True:
            given.from_the_beginning()
            again = replace(context, attempt=context.attempt + asked.times)
            request = wire.Synthesize(0, text, voice, speed, codec, again)
            try:
                async with aclosing(self._answers(request, asked)) as answers:
                    async for answer in answers:
                        assert isinstance(answer, wire.Spoken | wire.Synthesized)
                        if new := given.new(answer.audio):
                            yield new
                return
            except _Died as error:
                if not asked.died(error):
                    raise self._given_up(error, asked.times) from error

    async def finished(self, samples: Samples, context: StageContext) -> float:
        request = wire.Judge(0, samples.astype("<i2", copy=False).tobytes(), context)
        end = await self._whole(request)
        assert isinstance(end, wire.Judged)
        return end.finished

    async def respond(
        self, prompt: Prompt, context: StageContext
    ) -> AsyncIterator[str | FunctionCall | FunctionCallPart | Outcome]:
        """A process that comes after another one goes on behind what was said. It cannot go on with calls that were
        given already: then the answer fails."""
        said, called, asked = prompt.said, False, _Asked()
        while True:
            request = wire.Respond(
                0,
                replace(prompt, said=said),
                replace(context, said=said, attempt=context.attempt + asked.times),
            )
            try:
                async with aclosing(self._answers(request, asked)) as answers:
                    async for answer in answers:
                        match answer:
                            case wire.Sentence(_, text):
                                said += text
                                yield text
                            case wire.Called(_, call):
                                called = True
                                yield call
                            case wire.CalledPart(_, part):
                                called = True
                                yield part
                            case wire.Responded(_, outcome):
                                yield outcome
                            case _:
                                raise StageError("internal error")
                return
            except _Died as error:
                if not asked.died(error) or called:
                    raise self._given_up(error, asked.times) from error

    async def close(self) -> None:
        """Idempotent. What is under way is lost."""
        self._closed = True
        if (starting := self._starting) is not None:
            starting.cancel()
            await asyncio.wait([starting])
        if (link := self._link) is not None:
            self._link = None
            self._leave(link, "crashed")
            link.writer.close()
            ending = asyncio.create_task(asyncio.to_thread(link.child.wait))
            await asyncio.wait([ending], timeout=_CLOSE_SECONDS)
            await _ended(link.child)
        if self._burying:
            await asyncio.wait(self._burying)

    # --- one job

    async def _whole(self, request: wire.Transcribe | wire.Judge) -> wire.End:
        """The end of a job that gives nothing before it."""
        context, asked = request.context, _Asked()
        while True:
            request.context = replace(context, attempt=context.attempt + asked.times)
            try:
                async with aclosing(self._answers(request, asked)) as answers:
                    async for answer in answers:
                        if isinstance(answer, wire.Transcribed | wire.Judged):
                            return answer
                raise StageError("internal error")
            except _Died as error:
                if not asked.died(error):
                    raise self._given_up(error, asked.times) from error

    async def _answers(self, request: wire.Request, asked: _Asked) -> AsyncGenerator[wire.Piece | wire.End]:
        """All that the process says to it. Raises _Died, StageError."""
        if asked.age is None:
            async with aclosing(self._told(request, lambda: None)) as answers:
                async for answer in answers:
                    yield answer
            return
        last = asked.deaths + 1 == ATTEMPTS
        async with self._trials.trial(asked.age, alone=last) as trial:
            asked.trial = trial
            async with aclosing(self._told(request, trial.begun)) as answers:
                async for answer in answers:
                    yield answer

    async def _told(self, request: wire.Request, begun: Callable[[], None]) -> AsyncGenerator[wire.Piece | wire.End]:
        link = await self._ready()
        if link.died is not None:
            raise _Died(link.died)
        job = request.job = next(self._numbers)
        answers = link.jobs[job] = asyncio.Queue()
        since = time.monotonic()
        try:
            await self._send(link, request)
            begun()
            while True:
                answer = await answers.get()
                if isinstance(answer, _Died):
                    raise _Died(answer.how, answer.of, time.monotonic() - since)
                if isinstance(answer, wire.End):
                    link.jobs.pop(job, None)
                    self._failures = 0
                if isinstance(answer, wire.Failed):
                    raise self._failed(answer)
                yield answer
                if isinstance(answer, wire.End):
                    return
        finally:
            if link.jobs.pop(job, None) is not None and link.died is None:
                link.writer.write(wire.frame(wire.Cancel(job)))

    async def _ready(self) -> _Link:
        try:
            return await self._running()
        except InvalidField as error:
            logger.error("a plug-in does not start", extra={**self._named, "reason": str(error)})
            raise StageError(f"the {self._stage} does not start") from error

    async def _send(self, link: _Link, request: wire.Request) -> None:
        """One after another, each when the process has read most of those before."""
        content = wire.frame(request)
        if len(content) > wire.MAX_FRAME_BYTES:
            raise StageError(f"too much at once for the {self._stage}")
        try:
            async with link.sending:
                link.writer.write(content)
                await link.writer.drain()
        except ConnectionError as error:
            raise _Died(link.died or "crashed") from error

    def _failed(self, answer: wire.Failed) -> StageError:
        if not answer.error:
            return StageError(answer.message)
        logger.error("a plug-in failed", extra={**self._named, "error": answer.error, "at": answer.at})
        return StageError("internal error")

    def _given_up(self, error: _Died, attempts: int) -> StageError:
        logger.error("a plug-in was asked in vain", extra={**self._named, "how": error.how, "attempts": attempts})
        times = "" if attempts == 1 else f" {attempts} times"
        return StageError(f"the {self._stage} {_WORDS[error.how]}{times} at this")

    # --- the process

    @property
    def _stage(self) -> str:
        """In words."""
        return self._setup.kind.replace("_", " ")

    @property
    def _named(self) -> dict[str, str]:
        return {"stage": self._setup.kind, "plugin": self._setup.use}

    async def _running(self) -> _Link:
        """Started if need be, once for all who wait. Raises InvalidField, _Died, StageError."""
        if self._link is not None:
            return self._link
        if self._closed:
            raise StageError(f"the {self._stage} is closed")
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    async def _start(self) -> _Link:
        await asyncio.sleep(pause_after(self._failures))
        began = time.perf_counter()
        try:
            child = spawn(["-m", "litevoice_worker.apart.host"], silent=False, group=True)
        except OSError as error:
            raise StageError(f"the {self._stage} cannot be started") from error
        child.connection.setblocking(False)
        try:
            reader, writer = await asyncio.open_connection(sock=child.connection)
        except BaseException:
            child.end()
            raise
        try:
            async with asyncio.timeout(START_SECONDS):
                writer.write(wire.frame(self._setup))
                answer = wire.to_worker.decode(await wire.read_frame(reader))
            if isinstance(answer, wire.Refused):
                raise InvalidField(answer.field, answer.expected)
            assert isinstance(answer, wire.Ready)
        except BaseException as error:
            writer.transport.abort()
            self._failures += 1
            if isinstance(error, _BROKEN) and not isinstance(error, InvalidField):
                raise self._bury(child, "hung" if isinstance(error, TimeoutError) else "crashed") from error
            await _ended(child)
            raise
        link = _Link(child, reader, writer, Watch(answer.memory_mebibytes))
        link.tasks = [asyncio.create_task(self._read(link)), asyncio.create_task(self._look(link))]
        seconds = round(time.perf_counter() - began, 2)
        logger.info("a plug-in started", extra={**self._named, "pid": child.process.pid, "seconds": seconds})
        return link

    def _started(self, task: asyncio.Task[_Link]) -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is None and task.result().died is None:
            self._link = task.result()

    async def _read(self, link: _Link) -> None:
        try:
            while True:
                message = wire.to_worker.decode(await wire.read_frame(link.reader))
                link.watch.heard()
                if isinstance(message, wire.Piece | wire.End) and (answers := link.jobs.get(message.job)) is not None:
                    if answers.qsize() < WAITING_PIECES:
                        answers.put_nowait(message)
                        if answers.qsize() > TAKEN_AT_ONCE:
                            await asyncio.sleep(0)  # who waits for it has its turn
                    else:
                        answers.put_nowait(wire.Failed(message.job, error="TooMuchAtOnce"))
                        del link.jobs[message.job]
                        link.writer.write(wire.frame(wire.Cancel(message.job)))
        except _BROKEN:
            self._end(link, "crashed")

    async def _look(self, link: _Link) -> None:
        while link.died is None:
            await asyncio.sleep(LOOK_SECONDS)
            if link.child.has_ended:  # a child of its own may hold its connection
                self._end(link, "crashed")
            elif (how := link.watch.look(resident_mebibytes(link.child.process.pid))) is not None:
                self._end(link, how)

    def _end(self, link: _Link, how: Death) -> None:
        if link.died is not None:
            return
        self._link = None
        self._failures += 1
        link.writer.transport.abort()
        self._bury(link.child, how)
        self._leave(link, how, self._trials.died())
        reviving = asyncio.create_task(self._revived())
        self._burying.add(reviving)
        reviving.add_done_callback(self._burying.discard)

    def _leave(self, link: _Link, how: Death, of: Trial | None = None) -> None:
        """Nothing more is read of it, and nobody waits for it any longer."""
        link.died = how
        for answers in link.jobs.values():
            answers.put_nowait(_Died(how, of))
        for task in link.tasks:
            task.cancel()

    def _bury(self, child: Child, how: Death) -> _Died:
        self._deaths.died(self._setup.kind, self._setup.use, how, time.monotonic())
        child.kill_all()

        async def bury() -> None:
            status = await _ended(child)
            logger.error("a plug-in's process ended", extra={**self._named, "how": how, "status": status})

        burying = asyncio.create_task(bury())
        self._burying.add(burying)
        burying.add_done_callback(self._burying.discard)
        return _Died(how)

    async def _revived(self) -> None:
        """So that the next turn need not wait for it."""
        with contextlib.suppress(_Died, StageError):
            await self._ready()


async def _ended(child: Child) -> int:
    """Its exit status; at once, with its children. A process that has much memory takes a while to go."""
    child.kill_all()
    return await asyncio.to_thread(child.process.wait)


_BROKEN = (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError, msgspec.DecodeError)
_CLOSE_SECONDS = 6.0
"""Longer than the process itself waits for its plug-in."""
_WORDS: dict[Death, str] = {"crashed": "crashed", "hung": "stood still", "grew": "took too much memory"}


def resident_mebibytes(pid: int) -> float:
    """0 when it is gone: then its connection tells."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MEBIBYTE
    except (OSError, IndexError, ValueError):
        return 0.0
