"""What goes up a partition: packets, one audio slice or client event each, numbered `(session, epoch, seq)`."""

from __future__ import annotations

import msgspec

from litevoice_contracts.conversation import Item, SessionConfig


class _Packet(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t"):
    pass


class Audio(_Packet, frozen=True, tag="a"):
    """A slice of audio in the envelope's codec. Bounds: 1 byte to MAX_AUDIO_BYTES."""

    data: bytes


class Commit(_Packet, frozen=True, tag="commit"):
    """The client ends the utterance itself (turn detection off)."""

    event_id: str | None = None


class Clear(_Packet, frozen=True, tag="clear"):
    """Forget the audio of the open utterance."""

    event_id: str | None = None


class Update(_Packet, frozen=True, tag="update"):
    """The whole new configuration, already validated."""

    config: SessionConfig
    event_id: str | None = None


class CreateItem(_Packet, frozen=True, tag="item"):
    item: Item
    event_id: str | None = None


class CreateResponse(_Packet, frozen=True, tag="respond"):
    """`None` fields fall back to the session's configuration."""

    event_id: str | None = None
    instructions: str | None = None
    text_only: bool | None = None
    metadata: dict[str, str] | None = None


class CancelResponse(_Packet, frozen=True, tag="cancel"):
    response_id: str | None = None
    event_id: str | None = None


class EpochEnd(_Packet, frozen=True, tag="end"):
    """The owner hands over; nothing of this epoch follows."""


Packet = Audio | Commit | Clear | Update | CreateItem | CreateResponse | CancelResponse | EpochEnd

MAX_AUDIO_BYTES = 1 << 20
