"""Speech to text without any service: pocketsphinx, which understands the sentences of a grammar and nothing else. It
is native code, so it runs in a process of its own: one for the worker, restarted when it crashes or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.stages import StageDied, StageError, pocketsphinx_child
from litevoice_worker.stages.pocketsphinx_child import receive, send

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
DECODE_SECONDS = 3.0
"""How long an utterance may take, beside its own length; one of some seconds takes about 30 ms."""
GRACE_SECONDS = 1.0
"""How much later the worker ends a process that has not ended itself."""
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.2, 5.0
"""Before the process is started again, from the second failure in a row on."""


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: socket.socket

    def end(self) -> int:
        """At once; its exit status."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


class PocketsphinxTranscriber:
    """`grammar` is JSGF text; `program`: the child's. Utterances are recognized one after another."""

    def __init__(self, grammar: str, program: Path = Path(pocketsphinx_child.__file__)) -> None:
        self._grammar = grammar
        self._program = program
        self._thread = ThreadPoolExecutor(1, "recognizer")
        self._child: _Child | None = None
        self._failures = 0
        self._closed = threading.Event()

    async def transcribe(self, samples: Samples, language: str) -> str:
        if language not in ("", "en"):
            raise StageError(f"the built-in recognizer understands English only, not {language!r}")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transcribe, samples)

    async def prepare(self) -> None:
        """Starts the process. Raises InvalidField if the grammar cannot be used, or pocketsphinx cannot."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._running)
        except StageDied as error:
            raise InvalidField("pipeline.transcriber", "a recognizer that starts, or openai") from error

    async def close(self) -> None:
        """Ends the process, also in the middle of an utterance. Idempotent."""
        self._closed.set()
        if (child := self._child) is not None:
            child.process.kill()
        self._thread.shutdown(wait=False, cancel_futures=True)

    # --- in the thread

    def _transcribe(self, samples: Samples) -> str:
        seconds = DECODE_SECONDS + len(samples) / SAMPLE_RATE
        child = self._running()
        try:
            child.connection.settimeout(seconds + GRACE_SECONDS)
            send(child.connection, struct.pack(">d", seconds) + samples.astype("<i2", copy=False).tobytes())
            text = receive(child.connection)
        except OSError as error:
            raise self._died(child, error) from error
        if text is None:
            raise self._died(child)
        self._failures = 0
        return text.decode()

    def _running(self) -> _Child:
        if self._child is None:
            if self._failures > 1:
                pause = min(BACKOFF_FIRST_SECONDS * 2 ** (self._failures - 2), BACKOFF_MAX_SECONDS)
                self._closed.wait(pause)
            self._child = self._started()
        return self._child

    def _started(self) -> _Child:
        """Raises InvalidField for the grammar, StageDied."""
        if self._closed.is_set():
            raise StageError("the recognizer is closed")
        began = time.perf_counter()
        mine, theirs = socket.socketpair()
        with theirs:
            # By vfork, as a thread of a process with gRPC must; without the worker's own modules.
            command = [sys.executable, "-P", str(self._program), str(theirs.fileno())]
            silent = subprocess.DEVNULL
            try:
                process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=silent, stdout=silent, stderr=silent
                )
            except OSError as error:
                mine.close()
                raise StageError("the recognizer cannot be started") from error
        child = _Child(process, mine)
        try:
            mine.settimeout(START_SECONDS)
            send(mine, self._grammar.encode())
            answer = receive(mine)
        except OSError as error:
            raise self._died(child, error) from error
        if answer == pocketsphinx_child.BAD_GRAMMAR:
            child.end()
            expected = "a JSGF grammar with one public rule and words of the dictionary only"
            raise InvalidField("pipeline.transcriber.grammarFile", expected)
        if answer is None:
            raise self._died(child)
        logger.info("recognizer started", extra={"pid": process.pid, "seconds": round(time.perf_counter() - began, 2)})
        return child

    def _died(self, child: _Child, error: OSError | None = None) -> StageDied:
        """Cleans up after a process that ended, or that shall."""
        self._child = None
        self._failures += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(0.2)  # its own status, when it has ended by itself
        status = child.end()
        hung = isinstance(error, TimeoutError) or status == -signal.SIGALRM
        logger.error("the recognizer's process ended", extra={"status": status, "hung": hung})
        return StageDied("hung" if hung else "crashed", "the recognizer failed at this utterance")


def default_grammar() -> str:
    """The grammar that comes with litevoice."""
    return resources.files(__package__).joinpath("english.gram").read_text()


def read_grammar(path: str) -> str:
    """The grammar in a file, the default for "". Raises InvalidField if it cannot be read."""
    if not path:
        return default_grammar()
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidField("pipeline.transcriber.grammarFile", f"a readable text file, {path}: {error}") from error
