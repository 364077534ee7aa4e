"""The process of a plug-in: `python -m litevoice_worker.apart.host FD`. It ends with its connection, or the worker."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from litevoice_contracts import json_logs
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import StageSettings
from litevoice_worker.apart import wire
from litevoice_worker.apart.watch import LOOK_SECONDS
from litevoice_worker.audio import Samples
from litevoice_worker.commands import FunctionCall, FunctionCallPart, Outcome
from litevoice_worker.places import place
from litevoice_worker.plugins import begin
from litevoice_worker.stages import AnyPlugin, StageError, pieces_of, told, with_piece

logger = logging.getLogger(__name__)

NICENESS = 5
"""Hearing comes first: all sessions share it."""
CLOSE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


class _WrongValue(Exception):  # noqa: N818 - reads as what it is
    """The plug-in gave what the worker could not read; told without the value itself."""


class Host:
    def __init__(self, plugin: AnyPlugin, writer: asyncio.StreamWriter) -> None:
        self._plugin: Any = plugin
        self._writer = writer
        self._writing = asyncio.Lock()
        self._jobs: dict[int, asyncio.Task[None]] = {}

    async def tell(self, message: wire.ToWorker) -> None:
        """Waits while the worker does not read: what is under way stays small. Raises _WrongValue."""
        content = _checked(message)
        if isinstance(message, wire.Piece) and len(content) > wire.MAX_PIECE_BYTES:
            raise _WrongValue(f"more than {wire.MAX_PIECE_BYTES} bytes at once")
        async with self._writing:
            self._writer.write(content)
            await self._writer.drain()

    async def beat(self) -> None:
        while True:
            await self.tell(wire.Alive())
            await asyncio.sleep(LOOK_SECONDS)

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Until the worker closes the connection."""
        while True:
            try:
                message = wire.to_plugin.decode(await wire.read_frame(reader))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            if isinstance(message, wire.Cancel):
                if (task := self._jobs.get(message.job)) is not None:
                    task.cancel()
            elif not isinstance(message, wire.Setup):
                self._begin(message)
        jobs = list(self._jobs.values())
        for task in jobs:
            task.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def _begin(self, request: wire.Request) -> None:
        self._jobs[request.job] = task = asyncio.create_task(self._work(request))
        task.add_done_callback(lambda _: self._ended(request.job, task))

    def _ended(self, job: int, task: asyncio.Task[None]) -> None:
        """Somebody waits for the end, also of what has raised what is no Exception."""
        self._jobs.pop(job, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._writer.write(wire.frame(wire.Failed(job, error=type(error).__name__, at=place(error))))

    async def _work(self, request: wire.Request) -> None:
        try:
            end = await self._done(request)
            if len(_checked(end)) > wire.MAX_FRAME_BYTES:
                end = wire.Failed(request.job, error="TooMuchAtOnce")
        except StageError as error:
            end = wire.Failed(request.job, message=told(error))
        except _WrongValue as error:
            end = wire.Failed(request.job, error=str(error))
        except (Exception, asyncio.CancelledError) as error:
            # Also a cancellation that the plug-in has made itself: somebody waits for the end.
            end = wire.Failed(request.job, error=type(error).__name__, at=place(error))
        with contextlib.suppress(ConnectionError):
            await self.tell(end)

    async def _done(self, request: wire.Request) -> wire.End:
        match request:
            case wire.Transcribe():
                samples = np.frombuffer(request.samples, dtype="<i2")
                return wire.Transcribed(request.job, await self._transcribe(samples, request))
            case wire.Synthesize():
                return await self._synthesize(request)
            case wire.Judge():
                samples = np.frombuffer(request.samples, dtype="<i2")
                return wire.Judged(request.job, float(await _given(self._plugin.finished(samples, request.context))))
            case wire.Respond():
                return await self._respond(request)

    async def _transcribe(self, samples: Samples, request: wire.Transcribe) -> str:
        """Whole, also of one that gives pieces."""
        transcript: Awaitable[str] | AsyncIterator[str] = _given(self._plugin.transcribe(samples, request.context))
        if not isinstance(transcript, AsyncIterator):
            return await transcript
        async with aclosing(pieces_of(transcript)) as pieces:
            text = ""
            async for piece in pieces:
                text = with_piece(text, piece)
            return str(text)

    async def _synthesize(self, request: wire.Synthesize) -> wire.End:
        speech = _given(
            self._plugin.synthesize(request.text, request.voice, request.speed, request.codec, request.context)
        )
        if not isinstance(speech, AsyncIterator):
            return wire.Synthesized(request.job, await speech)
        async with aclosing(pieces_of(speech)) as pieces:
            async for piece in pieces:
                await self.tell(wire.Spoken(request.job, piece))
        return wire.Synthesized(request.job, b"")

    async def _respond(self, request: wire.Respond) -> wire.End:
        outcome = Outcome()
        answer = _given(self._plugin.respond(request.prompt, request.context))
        async with aclosing(pieces_of(answer)) as pieces:
            async for piece in pieces:
                match piece:
                    case Outcome():
                        outcome = piece
                    case FunctionCall():
                        await self.tell(wire.Called(request.job, piece))
                    case FunctionCallPart():
                        await self.tell(wire.CalledPart(request.job, piece))
                    case str():
                        await self.tell(wire.Sentence(request.job, str(piece)))  # of a subclass, too
                    case _:
                        raise _WrongValue(f"a sentence, a call or an outcome, not {type(piece).__name__}")
        return wire.Responded(request.job, outcome)


_Given = TypeVar("_Given")


def _given(work: _Given) -> _Given:
    """What the plug-in's method returns. Raises _WrongValue."""
    if not isinstance(work, AsyncIterator | Awaitable):
        raise _WrongValue(f"an async generator or a coroutine, not {type(work).__name__}")
    return work


def _checked(message: wire.ToWorker) -> bytes:
    """Its frame, which the worker can read: one that it cannot would cost the process, and all whose work is in it."""
    try:
        content = wire.frame(message)
        wire.to_worker.decode(content[wire.LENGTH_BYTES :])
    except msgspec.ValidationError as error:
        raise _WrongValue(f"a wrong type at {str(error).rpartition(' at ')[2]}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise _WrongValue(f"{type(error).__name__} in what was given") from error
    return content


async def run(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    setup = wire.to_plugin.decode(await wire.read_frame(reader))
    assert isinstance(setup, wire.Setup), "it comes first"
    json_logs.configure(setup.log_level)
    try:
        plugin = await begin(setup.kind, StageSettings(use=setup.use, options=setup.options), setup.path)
    except InvalidField as error:
        writer.write(wire.frame(wire.Refused(error.field, error.expected)))
        await writer.drain()
        return
    host = Host(plugin, writer)
    await host.tell(wire.Ready(plugin.memory_mebibytes))
    beating = asyncio.create_task(host.beat())
    await host.serve(reader)
    beating.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await plugin.close()


def main(descriptor: int) -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the worker ends it
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # when memory runs out, rather this than the worker
    asyncio.run(run(socket.socket(fileno=descriptor)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
