"""What goes up a partition: packets, one audio slice or client event each, numbered `(session, epoch, seq)`."""

from __future__ import annotations

import msgspec

from litevoice_contracts.conversation import Codec, Item, SessionConfig


class _Packet(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t"):
    pass


class Audio(_Packet, frozen=True, tag="a", gc=False):
    """A slice of audio in the envelope's codec. Bounds: 1 byte to MAX_AUDIO_BYTES."""

    data: bytes


class Silence(_Packet, frozen=True, tag="z", gc=False):
    """A slice of digital silence: that many bytes of audio, all of them the codec's SILENT_BYTE."""

    size: int


class Commit(_Packet, frozen=True, tag="commit"):
    """The client ends the utterance itself (turn detection off)."""

    event_id: str | None = None


class Clear(_Packet, frozen=True, tag="clear"):
    """Forget the audio of the open utterance."""

    event_id: str | None = None


class Update(_Packet, frozen=True, tag="update"):
    """The whole new configuration, already validated; `not_applied` names what the client wanted besides."""

    config: SessionConfig
    event_id: str | None = None
    not_applied: list[str] | None = None


class CreateItem(_Packet, frozen=True, tag="item"):
    """`previous_item_id`: the item that it stands after, ROOT for none; None: the last one."""

    item: Item
    event_id: str | None = None
    previous_item_id: str | None = None


class DeleteItem(_Packet, frozen=True, tag="delete"):
    item_id: str
    event_id: str | None = None


class RetrieveItem(_Packet, frozen=True, tag="retrieve"):
    item_id: str
    event_id: str | None = None


class TruncateItem(_Packet, frozen=True, tag="truncate"):
    """Of the answer, `audio_end_ms` were heard; an answer that is under way ends."""

    item_id: str
    audio_end_ms: int
    event_id: str | None = None


class CreateResponse(_Packet, frozen=True, tag="respond"):
    """`None` fields fall back to the session's configuration; for the last two see ResponseRequest."""

    event_id: str | None = None
    instructions: str | None = None
    text_only: bool | None = None
    metadata: dict[str, str] | None = None
    max_output_tokens: int | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | None = None
    voice: str | None = None
    codec: Codec | None = None
    out_of_band: bool = False
    input: list[Item | str] | None = None


class CancelResponse(_Packet, frozen=True, tag="cancel"):
    """`response_id`: None for the conversation's response; one out of band has to be named."""

    response_id: str | None = None
    event_id: str | None = None


class GiveUp(_Packet, frozen=True, tag="give_up"):
    """The owner gives the open turn up, after so many attempts without progress: the worker ends the open utterance and
    the response as failed. The packets before it are not sent again; `audio_ms` is how much audio they were.
    `attempt`: in which it is given up; two owners may do so in the same one."""

    attempts: int
    audio_ms: int = 0
    attempt: int = 0


class EpochEnd(_Packet, frozen=True, tag="end"):
    """The owner hands over; nothing of this epoch follows."""


Packet = (
    Audio
    | Silence
    | Commit
    | Clear
    | Update
    | CreateItem
    | DeleteItem
    | RetrieveItem
    | TruncateItem
    | CreateResponse
    | CancelResponse
    | GiveUp
    | EpochEnd
)

AUDIO = (Audio, Silence)
"""The packets that are audio."""
MAX_AUDIO_BYTES = 1 << 20
SILENT_BYTE: dict[str, bytes] = {"pcm16/24000": b"\x00", "g711_ulaw/8000": b"\xff", "g711_alaw/8000": b"\xd5"}
_DESCRIBED_BYTES = 1 << 16
_SILENCE = {codec: byte * _DESCRIBED_BYTES for codec, byte in SILENT_BYTE.items()}


def described(packet: Packet, codec: Codec) -> Packet:
    """Audio that is nothing but digital silence as Silence; anything else, and a very long slice, as it is."""
    if isinstance(packet, Audio) and silent(packet.data, codec):
        return Silence(len(packet.data))
    return packet


def silent(audio: bytes, codec: Codec) -> bool:
    """It is digital silence, and not more of it than 64 KiB."""
    return _SILENCE[codec].startswith(audio)


def audio_bytes(packet: Packet) -> int:
    """How many bytes `audio_of` has."""
    if isinstance(packet, Audio):
        return len(packet.data)
    return min(max(packet.size, 0), MAX_AUDIO_BYTES) if isinstance(packet, Silence) else 0


def audio_of(packet: Packet, codec: Codec) -> bytes:
    """The packet's audio; b"" for a client event. Bounded: a Silence of more than MAX_AUDIO_BYTES counts as that."""
    if isinstance(packet, Audio):
        return packet.data
    return silence(audio_bytes(packet), codec)


def silence(size: int, codec: Codec) -> bytes:
    """So many bytes of digital silence."""
    return _SILENCE[codec][:size] if size <= _DESCRIBED_BYTES else SILENT_BYTE[codec] * size
