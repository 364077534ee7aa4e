"""The network hears all sessions of the worker together, in one thread that takes one window of each waiting session at
a time: batches are large, one session's long upload delays nobody, and the event loop never waits for the network."""

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
"""Windows heard at once; with more, a row gets hardly cheaper (ADR 10)."""

Done = Callable[[list[float] | None], None]


class Network(Protocol):
    def advance(self, streams: Sequence[Stream], windows: Sequence[Samples]) -> list[float]:
        """Probability of speech in the next window of each stream."""


class _Portion:
    __slots__ = ("done", "probabilities", "stream", "windows")

    def __init__(self, stream: Stream, windows: Samples, done: Done) -> None:
        self.stream, self.windows, self.done = stream, windows, done
        self.probabilities: list[float] | None = []


class Ears:
    """For the event loop of whoever calls `listen` first. `on_round` gets the number of rows, in the thread.

    Bounded by its callers: a session has at most one portion here, and those that it no longer wants.
    """

    def __init__(self, network: Network, on_round: Callable[[int], None]) -> None:
        self._network = network
        self._on_round = on_round
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
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="ears", daemon=True)
            self._thread.start()
        with self._wake:
            self._waiting.append(_Portion(stream, windows, done))
            self._wake.notify()

    async def close(self) -> None:
        """Ends the thread; nothing is called any more."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._closed):
                    self._wake.wait()
                if self._closed:
                    return
                batch = [self._waiting.popleft() for _ in range(min(MAX_ROWS, len(self._waiting)))]
            finished = self._round(batch)
            with self._wake:
                self._waiting.extend(portion for portion in batch if portion not in finished)
            if finished and not self._closed:
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._report, finished)

    def _round(self, batch: list[_Portion]) -> list[_Portion]:
        """One window of each; returns those that are done."""
        self._pace.begin(time.monotonic())
        streams = [portion.stream for portion in batch]
        windows = [portion.windows[len(portion.probabilities or ())] for portion in batch]
        try:
            probabilities = self._network.advance(streams, windows)
        except Exception as error:
            logger.error("the network for voice activity failed", extra={"error": type(error).__name__})
            for portion in batch:
                portion.probabilities = None
            return batch
        finally:
            self._pace.end(time.monotonic(), len(batch))
        self._on_round(len(batch))
        finished = []
        for portion, probability in zip(batch, probabilities, strict=True):
            assert portion.probabilities is not None
            portion.probabilities.append(probability)
            if len(portion.probabilities) == len(portion.windows):
                finished.append(portion)
        return finished

    def _report(self, finished: list[_Portion]) -> None:
        for portion in finished:
            if not self._closed:
                portion.done(portion.probabilities)
