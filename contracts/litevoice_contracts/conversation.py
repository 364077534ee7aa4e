"""The conversation so far and the session's configuration: all that a worker needs besides the open turn."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_ITEMS = 200
"""Items a snapshot keeps; the oldest go first (counted by the worker as dropped items)."""
MAX_SNAPSHOT_BYTES = 256 * 1024
ROOT = "root"
"""In place of an item's id: before the first item."""

Codec = Literal["pcm16/24000", "g711_ulaw/8000", "g711_alaw/8000"]
CODEC_BYTES_PER_SECOND: dict[str, int] = {"pcm16/24000": 48_000, "g711_ulaw/8000": 8_000, "g711_alaw/8000": 8_000}


QUIETEST_FLOOR = 1.0
"""Noise of less energy (a mean square of 16-bit samples) counts as this much: digital silence has none at all."""


Eagerness = Literal["", "low", "medium", "high", "auto"]
_PATIENCE_MILLISECONDS: dict[Eagerness, int] = {"": 0, "low": 8000, "medium": 4000, "auto": 4000, "high": 2000}


class TurnDetection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Server-side voice activity detection; `None` in its place means that the client commits by itself.
    `idle_timeout_ms`: of silence after which the user is answered though he has said nothing; 0 for none.
    `eagerness`: the pipeline's turn detector decides whether the user has finished, and how soon it has to; "": silence
    alone does."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int = 0
    eagerness: Eagerness = ""

    @property
    def patience_ms(self) -> int:
        """Silence that ends an utterance of a user who, it seemed, had not finished."""
        return max(self.silence_duration_ms, _PATIENCE_MILLISECONDS[self.eagerness])


class Truncation(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of the conversation goes to the model.

    Attributes:
        disabled: all of it; when some had to be forgotten, responses fail.
        max_tokens: beyond so many, by the worker's estimate, the oldest items are left out; 0 for no limit.
        retention_ratio: how much of them is left then.
    """

    disabled: bool = False
    max_tokens: int = 0
    retention_ratio: float = 1.0


class SessionConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `session.update` can change, and whose session it is. `transcription_only`: what is said is transcribed, and
    nothing is answered. `transcripts`: the client is told what was understood, or that nothing could be.
    `tools`: functions, each with `name`, `description` and `parameters`. `tool_choice`: auto, none, required, or
    `function/` and the name of one. `principal` and `traceparent` (W3C, "" for none) are those of the session's first
    connection."""

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
    transcription_only: bool = False
    truncation: Truncation = Truncation()
    transcripts: bool = True
    principal: str = ""
    traceparent: str = ""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the conversation, as text. `audio` tells that the text is a transcript of speech.

    Attributes:
        kind: of a function call, `text` is its arguments, of an output what the client's function has returned; `role`
            then says nothing.
        call_id, name: of a function call; an output has the call's id.
        speech: of an answer that was spoken, for each sentence: how many characters it has, and how many milliseconds
            its audio takes. The text may end within the last sentences: it is what was heard.
    """

    id: str
    role: Literal["system", "user", "assistant"]
    text: str
    audio: bool = False
    complete: bool = True
    speech: list[tuple[int, int]] = []
    kind: Literal["message", "function_call", "function_call_output"] = "message"
    call_id: str = ""
    name: str = ""

    @property
    def is_noise(self) -> bool:
        """Sound in which no words were recognized."""
        return self.audio and not self.text


class ResponseRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a response shall be made from, beyond the conversation.

    Attributes:
        instructions: override the session's for this response, as `max_output_tokens`, `tools`, `tool_choice`, `voice`
            and `codec` do unless they are None.
        after_item_id: newest item the response is made from; "": all.
        out_of_band: what comes of it is not put into the conversation.
        input: made from these alone in place of the conversation: items, and ids of items of the conversation.
        previous_item_id: what its item stood behind when it was announced, ROOT for nothing. Others may have been put
            between them, or that one deleted. "": an older worker has begun it.
    """

    response_id: str
    item_id: str
    instructions: str = ""
    text_only: bool = False
    metadata: dict[str, str] | None = None
    after_item_id: str = ""
    max_output_tokens: int | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | None = None
    voice: str | None = None
    codec: Codec | None = None
    out_of_band: bool = False
    input: list[Item | str] | None = None
    previous_item_id: str = ""


class Mark(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A place in the upstream: packet `seq` of `epoch`."""

    epoch: int
    seq: int


class Untranscribed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An utterance that has ended and is an item of the conversation, but not understood yet.

    Attributes:
        turn: the turn that it began; the item's id follows from it.
        end: the packet that it ends in.
        respond: an answer is due once it is understood.
        language: ISO 639-1, "" for any.
        told: the beginning of its transcript that the client has got.
    """

    turn: int
    end: Mark
    respond: bool = False
    language: str = ""
    told: str = ""


class Recognized(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was recognized of a long utterance whose rest was not.

    Attributes:
        parts: how many parts that is.
        failure: why one of them was not recognized, "" if each was.
    """

    parts: int
    text: str
    milliseconds: int
    failure: str = ""


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the worker that made a snapshot had read: bookkeeping between workers, opaque to everyone else.

    Attributes:
        events: packets that are not audio have taken effect up to here, even beyond the snapshot's boundary.
        event_client_seq: the client's own number of the last of them, which keeps it when it is sent again elsewhere.
        packet: the audio packet after the boundary whose first `packet_bytes` are already folded in.
        audio_ms: audio of the session up to the boundary (and those bytes).
        client_seq: the client's own number of the last packet up to the boundary, where its protocol has numbers.
        noise_floor: energy of the noise there, as the worker's gate measures it.
        open_turn: turn whose SpeechStarted is published and whose utterance is still open; 0 for none.
        untranscribed: utterances after the boundary whose end is published, oldest first: their audio is heard again.
        recognized: the boundary is in the middle of an utterance.
        owed_turn: turn that is answered as soon as the user has finished speaking; 0 for none.
        detection: the rules for hearing at the boundary; unset: those of the configuration.
        idle_from_ms: where in the session's audio the silence begins that `idle_timeout_ms` is counted from; None
            before the first answer.
        given_up: the newest attempt of which the client was told that the turn is given up; 0 for none.
    """

    events: Mark | None = None
    packet: Mark | None = None
    packet_bytes: int = 0
    audio_ms: int = 0
    noise_floor: float = QUIETEST_FLOOR
    open_turn: int = 0
    client_seq: int | None = None
    untranscribed: list[Untranscribed] = []
    recognized: Recognized | None = None
    owed_turn: int = 0
    detection: TurnDetection | msgspec.UnsetType | None = msgspec.UNSET
    idle_from_ms: int | None = None
    event_client_seq: int | None = None
    given_up: int = 0


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that a worker or a gateway that never saw the session must know at a position.

    Attributes:
        turn: number of the newest turn that has begun; turns count from 1.
        boundary: the last packet that is folded into this snapshot; None before the first one.
        pending: a response that was asked for and is not finished yet; a worker that takes over makes (the rest of) it.
            Its ResponseStarted is published at the same position as the snapshot in which it first appears.
        cursor: for workers only.
        out_of_band: likewise pending, beside the conversation's response.
        forgot: items had to go, to stay within the bounds.
    """

    config: SessionConfig = SessionConfig()
    items: list[Item] = []
    turn: int = 0
    boundary: Mark | None = None
    pending: ResponseRequest | None = None
    cursor: Cursor = Cursor()
    out_of_band: list[ResponseRequest] = []
    forgot: bool = False
