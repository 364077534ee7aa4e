"""The message formats, up and down, with a version in each. Encoding and decoding only; no broker in sight.

Up: a bundle, one message with envelopes of many sessions of one partition. Each envelope is decoded by itself, so a
broken one costs nobody else anything. Down: one envelope per message of a session's LiteTopic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from litevoice_contracts.conversation import Codec, Mark, Snapshot
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import DownEvent
from litevoice_contracts.names import SESSION_ID
from litevoice_contracts.packets import Packet

VERSION = 3
"""Of the bundle and the envelopes in it."""
DOWN_VERSION = 2
MAX_BODY_BYTES = 4 * 1024 * 1024  # RocketMQ's maxMessageSize
BUNDLE_BYTES = 1 << 20
"""A bundle takes no further envelope above this; one that is larger travels alone."""

_SessionId = Annotated[str, Meta(pattern=f"^{SESSION_ID.pattern}$")]
_Count = Annotated[int, Meta(ge=0)]


class ToldCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a function in an unfinished response, with as much of its arguments as the client has; see
    CallStarted."""

    item_id: str
    index: int
    call_id: str
    name: str
    arguments: str = ""


class ResumePoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of an unfinished response the client already has, so that a new worker continues to the byte.

    Attributes:
        text_before: the sentences whose audio is complete.
        sentence: the latest sentence, as it came in its TextDelta; "" when none has come.
        sentence_audio_bytes: how much of that sentence's audio has come.
        audio_bytes_before: how much audio of the sentences before it.
        calls: of functions, in the order of their indexes.
    """

    response_id: str
    item_id: str
    text_before: str = ""
    sentence: str = ""
    sentence_audio_bytes: int = 0
    audio_bytes_before: int = 0
    calls: list[ToldCall] = []


class UpEnvelope(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Consecutive packets of one session.

    Attributes:
        seq: number of the first packet; the others follow without a gap.
        turn: newest turn that the owner knows of (see Snapshot.turn).
        attempt: 0, and one more for each TurnReplay that counts; it never goes back within a session.
        snapshot: the conversation so far; on the first packet of a new session, after each commit, and on every replay.
        resume: only on a replay while the conversation's response is unfinished.
        client_seqs: the client's own number of each packet, where its protocol has one. A packet that a client sends
            again, to another gateway, gets a new (epoch, seq) and keeps this.
        asker: only on a replay: sender of the question that it answers (see MessageId).
        resume_out_of_band: only on a replay while responses out of band are unfinished, one for each.
        continues: only on a replay, not on its first envelope: what its epoch has had before `seq` is not needed.
            One without packets begins its epoch, though its owner has said nothing yet: this is all that there is.
        question: only on a replay: number of the question that it answers (see MessageId).
        provokes: nothing but a question is wanted: `seq` is beyond what the worker can have.
    """

    session_id: _SessionId
    epoch: _Count
    seq: _Count
    turn: _Count
    packets: list[Packet]
    codec: Codec = "pcm16/24000"
    attempt: _Count = 0
    snapshot: Snapshot | None = None
    resume: ResumePoint | None = None
    client_seqs: list[int | None] | None = None
    asker: _Count = 0
    resume_out_of_band: list[ResumePoint] | None = None
    continues: bool = False
    question: _Count = 0
    provokes: bool = False

    @property
    def last(self) -> Mark:
        """The last packet in here; for an envelope without packets the one before its first."""
        return Mark(self.epoch, self.seq + len(self.packets) - 1)

    @property
    def resume_points(self) -> dict[str, ResumePoint]:
        """Of the responses that are unfinished, by their ids."""
        points = [*([self.resume] if self.resume else []), *(self.resume_out_of_band or [])]
        return {point.response_id: point for point in points}

    def encode(self) -> bytes:
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> UpEnvelope:
        """Raises InvalidField for anything that `encode` cannot have made."""
        envelope = _decode(_up_decoder, data, "envelope", VERSION)
        if envelope.client_seqs is not None and len(envelope.client_seqs) != len(envelope.packets):
            raise InvalidField("client_seqs", f"one for each of the {len(envelope.packets)} packets")
        return envelope


class Bundle(msgspec.Struct, frozen=True):
    """Everything that left one gateway for one partition at one moment, oldest first.

    Attributes:
        gateway: LiteTopic, under the reply topic, where the sender reads what belongs to no turn.
        envelopes: encoded `UpEnvelope`s; several of one session are in order.
    """

    gateway: str
    envelopes: list[bytes]

    def encode(self) -> tuple[dict[str, str], bytes]:
        """User properties, which tools at the broker can read, and body of the broker message."""
        properties = {"v": str(VERSION), "gateway": self.gateway, "count": str(len(self.envelopes))}
        return properties, _encoder.encode(self.envelopes)

    @classmethod
    def decode(cls, properties: Mapping[str, str], body: bytes) -> Bundle:
        """Raises InvalidField, naming the property, or `body`, for anything that `encode` cannot have made."""
        _check_version(properties.get("v", ""), VERSION)
        gateway = properties.get("gateway", "")
        if not SESSION_ID.fullmatch(gateway):
            raise InvalidField("gateway", "1 to 64 of A-Z a-z 0-9 _ -")
        envelopes = _decode(_bundle_decoder, body, "bundle", VERSION)
        if properties.get("count") != str(len(envelopes)):
            raise InvalidField("count", f"{len(envelopes)}, the number of envelopes in the body")
        return cls(gateway, envelopes)


class MessageId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of one message, however often it is sent: `number` grows with every message of a sender, a worker process."""

    sender: int
    number: int


class MessageIds(Iterator[MessageId]):
    """One after the other. `sender` is nobody else's: at least 50 random bits, at most 63."""

    def __init__(self, sender: int) -> None:
        self.sender = sender
        self._numbers = itertools.count(1)

    def __next__(self) -> MessageId:
        return MessageId(self.sender, next(self._numbers))


class DownEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a session's LiteTopic: one position.

    Attributes:
        epoch: epoch of the newest packet that the worker has applied.
        attempt: of the newest replay that the worker has begun from; the owner drops events of an older attempt.
        snapshot: the conversation after these events, on every event that changes it.
        id: a message that is sent again after an unclear answer may stand at two positions: it counts once.
        v: version of the format.
    """

    epoch: int
    turn: int
    events: list[DownEvent]
    attempt: int = 0
    snapshot: Snapshot | None = None
    id: MessageId | None = None
    v: int = DOWN_VERSION

    def encode(self) -> bytes:
        return _encoder.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> DownEnvelope:
        """Raises InvalidField when the body is not of this version and form."""
        envelope = _decode(_down_decoder, body, "message", DOWN_VERSION)
        _check_version(str(envelope.v), DOWN_VERSION)
        return envelope


_encoder = msgspec.msgpack.Encoder()
KEEP_ALIVE = DownEnvelope(0, 0, []).encode()
"""A gateway's own message to the LiteTopic of a session that lives in silence, and would expire otherwise, or whose
owner cannot see that it misses something. It takes a position, and says nothing."""
_up_decoder = msgspec.msgpack.Decoder(UpEnvelope)
_bundle_decoder = msgspec.msgpack.Decoder(list[bytes])
_down_decoder = msgspec.msgpack.Decoder(DownEnvelope)


_T = TypeVar("_T")


def _decode(decoder: msgspec.msgpack.Decoder[_T], body: bytes, what: str, version: int) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidField("body", f"a litevoice {what} of version {version} ({error})") from error


def _check_version(text: str, version: int) -> None:
    if text != str(version):
        raise InvalidField("v", f"{version}, the only version that this release understands, got {text!r}")
