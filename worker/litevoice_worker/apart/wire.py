"""What a worker and the process of a plug-in tell each other, as frames: length (4 bytes, big endian) and content."""

from __future__ import annotations

import asyncio
import struct

import msgspec

from litevoice_contracts.conversation import Codec
from litevoice_contracts.settings import LogLevel
from litevoice_worker.commands import FunctionCall, FunctionCallPart, Outcome, Prompt, StageContext

MAX_FRAME_BYTES = 32 << 20
"""A longer one is a fault: it would be minutes of audio."""
MAX_PIECE_BYTES = 1 << 20
"""Of a sentence, a call or speech."""
LENGTH_BYTES = 4
"""Before each frame."""


class Setup(msgspec.Struct, tag="setup"):
    """First of all. `path`: of the stage in the settings, for what is wrong; `options`: as the settings have them."""

    kind: str
    use: str
    options: dict[str, object]
    path: str
    log_level: LogLevel


class Transcribe(msgspec.Struct, tag="transcribe"):
    """`samples`: 16 bit, 16 kHz."""

    job: int
    samples: bytes
    context: StageContext


class Respond(msgspec.Struct, tag="respond"):
    job: int
    prompt: Prompt
    context: StageContext


class Synthesize(msgspec.Struct, tag="synthesize"):
    job: int
    text: str
    voice: str
    speed: float
    codec: Codec
    context: StageContext


class Judge(msgspec.Struct, tag="judge"):
    """`samples`: 16 bit, 16 kHz."""

    job: int
    samples: bytes
    context: StageContext


class Cancel(msgspec.Struct, tag="cancel"):
    """Nobody waits for this job any more."""

    job: int


Request = Transcribe | Respond | Synthesize | Judge
ToPlugin = Setup | Request | Cancel


class Ready(msgspec.Struct, tag="ready"):
    """It takes jobs. `memory_mebibytes`: more than that it must not take."""

    memory_mebibytes: int


class Refused(msgspec.Struct, tag="refused"):
    """The settings are wrong."""

    field: str
    expected: str


class Alive(msgspec.Struct, tag="alive"):
    """Its event loop runs. Every second."""


class Sentence(msgspec.Struct, tag="sentence"):
    job: int
    text: str


class Called(msgspec.Struct, tag="called"):
    job: int
    call: FunctionCall


class CalledPart(msgspec.Struct, tag="called_part"):
    job: int
    part: FunctionCallPart


class Responded(msgspec.Struct, tag="responded"):
    job: int
    outcome: Outcome


class Transcribed(msgspec.Struct, tag="transcribed"):
    job: int
    text: str


class Spoken(msgspec.Struct, tag="spoken"):
    job: int
    audio: bytes


class Synthesized(msgspec.Struct, tag="synthesized"):
    """`audio`: the rest, or all of it."""

    job: int
    audio: bytes


class Judged(msgspec.Struct, tag="judged"):
    job: int
    finished: float


class Failed(msgspec.Struct, tag="failed"):
    """By a StageError, whose message may go to the client, or by another error, of which only type and place are told:
    its own text could hold what was said."""

    job: int
    message: str = ""
    error: str = ""
    at: str = ""


Piece = Sentence | Called | CalledPart | Spoken
End = Responded | Transcribed | Synthesized | Judged | Failed
ToWorker = Ready | Refused | Alive | Piece | End

_encoder = msgspec.msgpack.Encoder()
to_plugin = msgspec.msgpack.Decoder(ToPlugin)
to_worker = msgspec.msgpack.Decoder(ToWorker)


def frame(message: ToPlugin | ToWorker) -> bytes:
    content = _encoder.encode(message)
    return struct.pack(">I", len(content)) + content


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Raises asyncio.IncompleteReadError at the end, ConnectionError, ValueError for one that is too long."""
    (length,) = struct.unpack(">I", await reader.readexactly(LENGTH_BYTES))
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return await reader.readexactly(length)
