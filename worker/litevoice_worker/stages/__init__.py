"""The stages of a turn behind small interfaces, so that any of them can be replaced by a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from litevoice_contracts.conversation import Codec
from litevoice_worker.audio import Samples
from litevoice_worker.commands import Outcome, Prompt


class StageError(Exception):
    """A stage could not do its work; the message may go to the client and holds no content."""


class StageDied(StageError):  # noqa: N818 - reads as what it is
    """The process that did the work is gone; `how`: "crashed" or "hung"."""

    def __init__(self, how: str, message: str) -> None:
        super().__init__(message)
        self.how = how


class Transcriber(Protocol):
    async def transcribe(self, samples: Samples, language: str) -> str:
        """Text of samples at 16 kHz, "" if nothing was understood. `language` is ISO 639-1, "" for any.

        Raises StageError.
        """

    async def close(self) -> None: ...


class Responder(Protocol):
    def respond(self, prompt: Prompt) -> AsyncIterator[str | Outcome]:
        """Sentences that follow `prompt.said`, each with the white space before it, then how it ended.

        Raises StageError.
        """

    async def close(self) -> None: ...


class Synthesizer(Protocol):
    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec) -> bytes:
        """Speech in `codec`. `voice` is the session's, "default" for the worker's own; `speed` 1.0 is normal.

        Raises StageError.
        """

    async def close(self) -> None: ...
