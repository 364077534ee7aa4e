"""The stages of a turn behind small interfaces, so that any of them can be replaced by a service or by a team's own
code: see docs/own-agent.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from litevoice_contracts.conversation import Codec
from litevoice_worker.audio import Samples
from litevoice_worker.commands import FunctionCall, FunctionCallPart, Outcome, Prompt, StageContext


class StageError(Exception):
    """A stage could not do its work; the message may go to the client and holds no content. `endpoint`: the model
    endpoint that is to blame, "" for none; for the operator only."""

    endpoint = ""


MAX_MESSAGE_CHARACTERS = 500


def told(error: StageError) -> str:
    """Its message, as it may go to the client: neither empty nor long."""
    return str(error)[:MAX_MESSAGE_CHARACTERS].encode(errors="replace").decode() or "internal error"


class StageDied(StageError):  # noqa: N818 - reads as what it is
    """The process that did the work is gone; `how`: "crashed" or "hung"."""

    def __init__(self, how: str, message: str) -> None:
        super().__init__(message)
        self.how = how


class Transcript(str):
    """From a transcriber that gives pieces, at their end: all of it, where that is not what they make together."""

    __slots__ = ()


def with_piece(transcript: str, piece: str) -> str:
    """What a transcript is, with its next piece."""
    return piece if isinstance(piece, Transcript) else transcript + piece


_Piece = TypeVar("_Piece")


class Transcriber(Protocol):
    def transcribe(self, samples: Samples, context: StageContext) -> Awaitable[str] | AsyncIterator[str]:
        """Text of samples (16 bit) at 16 kHz, "" if nothing was understood: whole or, from a generator, piece by piece;
        a Transcript at the end takes the place of them all.

        Raises StageError.
        """

    async def close(self) -> None: ...


class Responder(Protocol):
    def respond(
        self, prompt: Prompt, context: StageContext
    ) -> AsyncIterator[str | FunctionCall | FunctionCallPart | Outcome]:
        """Sentences that follow `prompt.said`, each with the white space before it, calls of the client's functions,
        whole or in parts, then how it ended (left out: completed).

        Raises StageError.
        """

    async def close(self) -> None: ...


class Synthesizer(Protocol):
    def synthesize(
        self, text: str, voice: str, speed: float, codec: Codec, context: StageContext
    ) -> Awaitable[bytes] | AsyncIterator[bytes]:
        """Speech in `codec`, whole or, from a generator, piece by piece as it is made; the first is heard at once.
        `voice` is the session's, "default" for the worker's own; `speed` 1.0 is normal.

        Raises StageError.
        """

    async def close(self) -> None: ...


async def pieces_of(work: Awaitable[_Piece] | AsyncIterator[_Piece]) -> AsyncGenerator[_Piece]:
    """What a stage gives, whole or piece by piece."""
    if not isinstance(work, AsyncIterator):
        yield await work
        return
    try:
        async for piece in work:
            yield piece
    finally:
        if isinstance(work, AsyncGenerator):
            await work.aclose()


class TurnDetector(Protocol):
    async def finished(self, samples: Samples, context: StageContext) -> float:
        """How probable it is, 0 to 1, that the user has finished who pauses: samples (16 bit) at 16 kHz since he began
        to speak or paused before, with the silence at their end.

        Raises StageError.
        """

    async def close(self) -> None: ...


class NoOptions(BaseModel):
    """Of a plug-in that has none."""

    model_config = ConfigDict(extra="forbid")


_Options = TypeVar("_Options", bound=BaseModel)


class Plugin(Generic[_Options]):
    """Base of every plug-in: a class that also is a Transcriber, Responder, Synthesizer or TurnDetector, and an entry
    point of `litevoice.transcribers`, `litevoice.responders`, `litevoice.synthesizers` or `litevoice.turn_detectors`.
    One object serves all sessions of a worker, in an event loop of its own: while it blocks, they wait.

    Attributes:
        Options: what `options` of a stage may hold.
        memory_mebibytes: when its process takes more, it is ended and started again.
    """

    Options: ClassVar[type[BaseModel]] = NoOptions
    memory_mebibytes: ClassVar[int] = 2048

    def __init__(self, options: _Options) -> None:
        self.options = options

    async def start(self) -> None:
        """Before the worker takes sessions. Raises InvalidField, which names the option that is wrong ("": all of
        it)."""

    async def has_voice(self, voice: str) -> bool:  # noqa: ARG002
        """Of a synthesizer that has started: whether it may be told to speak with it. False refuses a pipeline whose
        `voices` name it."""
        return True

    async def close(self) -> None:
        """When the worker ends, after its last session."""


AnyPlugin = Plugin[Any]
