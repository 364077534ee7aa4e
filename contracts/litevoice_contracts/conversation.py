"""The conversation so far and the session's configuration: all that a worker needs besides the open turn."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_ITEMS = 200
"""Items a snapshot keeps; the oldest go first (counted by the worker as dropped items)."""
MAX_SNAPSHOT_BYTES = 256 * 1024

Codec = Literal["pcm16/24000", "g711_ulaw/8000", "g711_alaw/8000"]
CODEC_BYTES_PER_SECOND: dict[str, int] = {"pcm16/24000": 48_000, "g711_ulaw/8000": 8_000, "g711_alaw/8000": 8_000}


QUIETEST_FLOOR = 1.0
"""Noise of less energy (a mean square of 16-bit samples) counts as this much: digital silence has none at all."""


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
    after_item_id: str = ""  # newest item the response is made from; "": all


class Mark(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A place in the upstream: packet `seq` of `epoch`."""

    epoch: int
    seq: int


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the worker that made a snapshot had read: bookkeeping between workers, opaque to everyone else.

    Attributes:
        events: packets that are not audio have taken effect up to here, even beyond the snapshot's boundary.
        packet: the audio packet after the boundary whose first `packet_bytes` are already folded in.
        audio_ms: audio of the session up to the boundary (and those bytes).
        client_seq: the client's own number of the last packet up to the boundary, where its protocol has numbers.
        noise_floor: energy of the noise there, as the worker's gate measures it.
        open_turn: turn whose SpeechStarted is published and whose utterance is still open; 0 for none.
    """

    events: Mark | None = None
    packet: Mark | None = None
    packet_bytes: int = 0
    audio_ms: int = 0
    noise_floor: float = QUIETEST_FLOOR
    open_turn: int = 0
    client_seq: int | None = None


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that a worker or a gateway that never saw the session must know at a position.

    Attributes:
        turn: number of the newest turn that has begun; turns count from 1.
        boundary: the last packet that is folded into this snapshot; None before the first one.
        pending: a response that was asked for and is not finished yet; a worker that takes over makes (the rest of) it.
            Its ResponseStarted is published at the same position as the snapshot in which it first appears.
        cursor: for workers only.
    """

    config: SessionConfig = SessionConfig()
    items: list[Item] = []
    turn: int = 0
    boundary: Mark | None = None
    pending: ResponseRequest | None = None
    cursor: Cursor = Cursor()
