"""Speech to text without any service: pocketsphinx, which understands the sentences of a grammar and nothing else. It
is native code, so it runs in a process of its own: one for the worker, restarted when it crashes or hangs."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.commands import StageContext
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.stages import Plugin, StageDied, StageError, pocketsphinx_child
from litevoice_worker.stages.child import Child, hung, pause_after, spawn
from litevoice_worker.stages.pocketsphinx_child import receive, send

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
DECODE_SECONDS = 3.0
"""How long an utterance may take, beside its own length; one of some seconds takes about 30 ms."""
GRACE_SECONDS = 1.0
"""How much later the worker ends a process that has not ended itself."""


class PocketsphinxOptions(BaseModel):
    """Options of pocketsphinx."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    grammar_file: str = ""
    """JSGF grammar; empty: the one that comes with litevoice."""


class PocketsphinxTranscriber(Plugin[PocketsphinxOptions]):
    """`program`: the child's. Utterances are recognized one after another."""

    Options = PocketsphinxOptions

    def __init__(self, options: PocketsphinxOptions, program: Path = Path(pocketsphinx_child.__file__)) -> None:
        super().__init__(options)
        self._grammar = read_grammar(options.grammar_file)
        self._program = program
        self._thread = ThreadPoolExecutor(1, "recognizer")
        self._child: Child | None = None
        self._failures = 0
        self._closed = threading.Event()

    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        if context.language not in ("", "en"):
            raise StageError(f"the built-in recognizer understands English only, not {context.language!r}")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transcribe, samples)

    async def start(self) -> None:
        """Starts the process. Raises InvalidField if the grammar cannot be used, or pocketsphinx cannot."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._running)
        except StageDied as error:
            raise InvalidField("", "a recognizer that starts, or another transcriber") from error

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

    def _running(self) -> Child:
        if self._child is None:
            self._closed.wait(pause_after(self._failures))
            self._child = self._started()
        return self._child

    def _started(self) -> Child:
        """Raises InvalidField for the grammar, StageDied."""
        if self._closed.is_set():
            raise StageError("the recognizer is closed")
        began = time.perf_counter()
        try:
            child = spawn([str(self._program)], silent=True)  # without the worker's own modules
        except OSError as error:
            raise StageError("the recognizer cannot be started") from error
        try:
            child.connection.settimeout(START_SECONDS)
            send(child.connection, self._grammar.encode())
            answer = receive(child.connection)
        except OSError as error:
            raise self._died(child, error) from error
        if answer == pocketsphinx_child.BAD_GRAMMAR:
            child.end()
            expected = "a JSGF grammar with one public rule and words of the dictionary only"
            raise InvalidField("grammarFile", expected)
        if answer is None:
            raise self._died(child)
        logger.info(
            "recognizer started", extra={"pid": child.process.pid, "seconds": round(time.perf_counter() - began, 2)}
        )
        return child

    def _died(self, child: Child, error: OSError | None = None) -> StageDied:
        """Cleans up after a process that ended, or that shall."""
        self._child = None
        self._failures += 1
        status = child.ended()
        how = "hung" if isinstance(error, TimeoutError) or hung(status) else "crashed"
        logger.error("the recognizer's process ended", extra={"status": status, "how": how})
        return StageDied(how, "the recognizer failed at this utterance")


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
        raise InvalidField("grammarFile", f"a readable text file, {path}: {error}") from error
