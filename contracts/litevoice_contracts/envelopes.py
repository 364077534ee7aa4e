"""The two message formats, up and down, with a version in each. Encoding and decoding only; no broker in sight.

Up: user properties carry what a tool at the broker wants to see, the body is msgpack of the packets (and sometimes the
snapshot). Down: everything is in the msgpack body, because LITE messages are read by litevoice alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast, get_args

import msgspec

from litevoice_contracts.conversation import Codec, Mark, Snapshot
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import DownEvent
from litevoice_contracts.names import SESSION_ID
from litevoice_contracts.packets import Packet

VERSION = 1
MAX_BODY_BYTES = 4 * 1024 * 1024  # RocketMQ's maxMessageSize


class ResumePoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of an unfinished response the client already has, so that a new worker continues to the byte.

    Attributes:
        text_before: the sentences whose audio is complete.
        sentence: the latest sentence, as it came in its TextDelta; "" when none has come.
        sentence_audio_bytes: how much of that sentence's audio has come.
    """

    response_id: str
    item_id: str
    text_before: str = ""
    sentence: str = ""
    sentence_audio_bytes: int = 0


class _UpBody(msgspec.Struct, frozen=True, omit_defaults=True):
    packets: list[Packet]
    snapshot: Snapshot | None = None
    resume: ResumePoint | None = None
    client_seqs: list[int | None] | None = None


class UpEnvelope(msgspec.Struct, frozen=True):
    """One upstream message: consecutive packets of one session.

    Attributes:
        seq: number of the first packet; the others follow without a gap.
        turn: newest turn that the owner knows of (see Snapshot.turn).
        attempt: 0, and one more for each replay; it never goes back within a session.
        snapshot: the conversation so far; on the first packet of an epoch, after each commit, and on every replay.
        resume: only on a replay while a response is unfinished.
        client_seqs: the client's own number of each packet, where its protocol has one. A packet that a client sends
            again, to another gateway, gets a new (epoch, seq) and keeps this.
    """

    session_id: str
    epoch: int
    seq: int
    turn: int
    packets: list[Packet]
    codec: Codec = "pcm16/24000"
    attempt: int = 0
    snapshot: Snapshot | None = None
    resume: ResumePoint | None = None
    client_seqs: list[int | None] | None = None

    @property
    def last(self) -> Mark:
        """The last packet in here; for an envelope without packets the one before its first."""
        return Mark(self.epoch, self.seq + len(self.packets) - 1)

    def encode(self) -> tuple[dict[str, str], bytes]:
        """User properties and body of the broker message."""
        return {
            "v": str(VERSION),
            "session": self.session_id,
            "epoch": str(self.epoch),
            "seq": str(self.seq),
            "count": str(len(self.packets)),
            "turn": str(self.turn),
            "attempt": str(self.attempt),
            "codec": self.codec,
        }, _encoder.encode(_UpBody(self.packets, self.snapshot, self.resume, self.client_seqs))

    @classmethod
    def decode(cls, properties: Mapping[str, str], body: bytes) -> UpEnvelope:
        """Raises InvalidField, naming the property or body field, for anything that `encode` cannot have made."""
        _check_version(properties.get("v", ""))
        session_id = properties.get("session", "")
        if not SESSION_ID.fullmatch(session_id):
            raise InvalidField("session", "1 to 64 of A-Z a-z 0-9 _ -")
        codec = properties.get("codec", "")
        if codec not in get_args(Codec):
            raise InvalidField("codec", f"one of {', '.join(get_args(Codec))}")
        content = _decode(_up_decoder, body)
        if _number(properties, "count") != len(content.packets):
            raise InvalidField("count", f"{len(content.packets)}, the number of packets in the body")
        if content.client_seqs is not None and len(content.client_seqs) != len(content.packets):
            raise InvalidField("client_seqs", f"one for each of the {len(content.packets)} packets")
        return cls(
            session_id=session_id,
            epoch=_number(properties, "epoch"),
            seq=_number(properties, "seq"),
            turn=_number(properties, "turn"),
            attempt=_number(properties, "attempt"),
            packets=content.packets,
            codec=cast(Codec, codec),
            snapshot=content.snapshot,
            resume=content.resume,
            client_seqs=content.client_seqs,
        )


class DownEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a session's LiteTopic: one position.

    Attributes:
        epoch: epoch of the newest packet that the worker has applied.
        attempt: of the newest replay that the worker has begun from; the owner drops events of an older attempt.
        snapshot: the conversation after these events, on every event that changes it.
        v: version of the format.
    """

    epoch: int
    turn: int
    events: list[DownEvent]
    attempt: int = 0
    snapshot: Snapshot | None = None
    v: int = VERSION

    def encode(self) -> bytes:
        return _encoder.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> DownEnvelope:
        """Raises InvalidField when the body is not of this version and form."""
        envelope = _decode(_down_decoder, body)
        _check_version(str(envelope.v))
        return envelope


_encoder = msgspec.msgpack.Encoder()
_up_decoder = msgspec.msgpack.Decoder(_UpBody)
_down_decoder = msgspec.msgpack.Decoder(DownEnvelope)


_T = TypeVar("_T")


def _decode(decoder: msgspec.msgpack.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidField("body", f"a litevoice envelope of version {VERSION} ({error})") from error


def _check_version(text: str) -> None:
    if text != str(VERSION):
        raise InvalidField("v", f"{VERSION}, the only envelope version that this release understands, got {text!r}")


def _number(properties: Mapping[str, str], field: str) -> int:
    text = properties.get(field, "")
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise InvalidField(field, "a whole number of at most 19 digits")
    return int(text)
