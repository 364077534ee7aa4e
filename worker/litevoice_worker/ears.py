"""The network hears all sessions of the worker together, in one thread that takes a few windows of each that waits at a
time: batches are large, one session's long upload delays nobody, and the event loop never waits for the network."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import WINDOW_MILLISECONDS
from litevoice_worker.opening import Stream
from litevoice_worker.pace import Pace

logger = logging.getLogger(__name__)

MAX_ROWS = 32
"""Sessions heard at once; with more, a window gets hardly cheaper (ADR 10)."""
MAX_STEPS = 4
"""Windows of each that are heard at once: those of a gateway's beat of 100 ms."""

Done = Callable[[list[float] | None], None]


class Network(Protocol):
    def advance(self, streams: Sequence[Stream], windows: Sequence[Samples]) -> list[list[float]]:
        """Probabilities of speech in the next windows of each stream, as many of one as of the other."""


class _Portion:
    __slots__ = ("done", "probabilities", "stream", "windows")

    def __init__(self, stream: Stream, windows: Samples, done: Done) -> None:
        self.stream, self.windows, self.done = stream, windows, done
        self.probabilities: list[float] | None = []

    @property
    def left(self) -> int:
        """Windows that the network has not heard; 0 when it has failed."""
        return 0 if self.probabilities is None else len(self.windows) - len(self.probabilities)


class Ears:
    """For the event loop of whoever calls `listen` first. `on_round` gets, in the thread, how many sessions
    were heard at once, and how many windows of each.

    Bounded by its callers: a session has at most one portion here, and those that it no longer wants.
    """

    def __init__(self, network: Network, on_round: Callable[[int, int], None]) -> None:
        self._network = network
        self._on_round = on_round
        self._gathered: list[_Portion] = []
        self._waiting: deque[_Portion] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pace = Pace(time.monotonic())

    @property
    def busy(self) -> float:
        """The share of time that the thread has something to hear, 0 to 1, of late."""
        return self._pace.busy(time.monotonic())

    def seconds_to_hear(self, audio_seconds: float) -> float:
        """How long so much audio takes, at the pace of late."""
        return audio_seconds * 1000 / WINDOW_MILLISECONDS * self._pace.seconds_per_window

    def listen(self, stream: Stream, windows: Samples, done: Done) -> None:
        """Calls `done` with each window's probability of speech, or with None when the network failed."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="ears", daemon=True)
            self._thread.start()
        if not self._gathered:
            # All sessions of a bundle come in one turn of the loop; a thread woken by the first would hear it alone.
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Portion(stream, windows, done))

    async def close(self) -> None:
        """Ends the thread; nothing is called any more."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        with self._wake:
            self._waiting.extend(self._gathered)
            self._wake.notify()
        self._gathered.clear()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._closed):
                    self._wake.wait()
                if self._closed:
                    return
                batch = [self._waiting.popleft() for _ in range(min(MAX_ROWS, len(self._waiting)))]
            self._round(batch)
            finished = [portion for portion in batch if not portion.left]
            with self._wake:
                self._waiting.extend(portion for portion in batch if portion.left)
            if finished and not self._closed:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._report, finished)

    def _round(self, batch: list[_Portion]) -> None:
        """The next windows of each, as many as the one with the fewest has."""
        self._pace.begin(time.monotonic())
        steps = min(MAX_STEPS, *(portion.left for portion in batch))
        streams = [portion.stream for portion in batch]
        windows = [portion.windows[-portion.left :][:steps] for portion in batch]
        try:
            probabilities = self._network.advance(streams, windows)
        except Exception as error:
            logger.error("the network for voice activity failed", extra={"error": type(error).__name__})
            for portion in batch:
                portion.probabilities = None
            return
        finally:
            self._pace.end(time.monotonic(), len(batch) * steps)
        self._on_round(len(batch), steps)
        for portion, some in zip(batch, probabilities, strict=True):
            assert portion.probabilities is not None
            portion.probabilities += some

    def _report(self, finished: list[_Portion]) -> None:
        for portion in finished:
            if not self._closed:
                portion.done(portion.probabilities)
