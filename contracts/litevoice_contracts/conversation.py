"""The conversation so far and the session's configuration: all that a worker needs besides the open turn."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_ITEMS = 200
"""Items a snapshot keeps; the oldest go first (counted by the worker as dropped items)."""
MAX_SNAPSHOT_BYTES = 256 * 1024

Codec = Literal["pcm16/24000", "g711_ulaw/8000", "g711_alaw/8000"]
CODEC_BYTES_PER_SECOND: dict[str, int] = {"pcm16/24000": 48_000, "g711_ulaw/8000": 8_000, "g711_alaw/8000": 8_000}


class TurnDetection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Server-side voice activity detection; `None` in its place means that the client commits by itself."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True


class SessionConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `session.update` can change."""

    model: str = "litevoice"
    instructions: str = ""
    voice: str = "default"
    input_codec: Codec = "pcm16/24000"
    output_codec: Codec = "pcm16/24000"
    text_only: bool = False
    turn_detection: TurnDetection | None = TurnDetection()
    transcription_language: str = ""
    speed: float = 1.0
    max_output_tokens: int = 0  # 0: no limit
    tools: list[dict[str, object]] = []
    tool_choice: str = "auto"


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the conversation, as text. `audio` tells that the text is a transcript of speech."""

    id: str
    role: Literal["system", "user", "assistant"]
    text: str
    audio: bool = False
    complete: bool = True


class ResponseRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a response shall be made from, beyond the conversation."""

    response_id: str
    item_id: str
    instructions: str = ""  # overrides the session's for this response
    text_only: bool = False
    metadata: dict[str, str] | None = None


class Mark(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A place in the upstream: packet `seq` of `epoch`."""

    epoch: int
    seq: int


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that a worker or a gateway that never saw the session must know at a position.

    Attributes:
        turn: number of the newest turn that has begun; turns count from 1.
        boundary: the last packet that is folded into this snapshot; None before the first one.
        pending: a response that was asked for and is not finished yet; a worker that takes over makes (the rest of) it.
    """

    config: SessionConfig = SessionConfig()
    items: list[Item] = []
    turn: int = 0
    boundary: Mark | None = None
    pending: ResponseRequest | None = None
