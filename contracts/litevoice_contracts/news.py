"""What a worker tells a gateway beside the sessions' replies: in the gateway's own LiteTopic, about once a second.

Nothing here changes what a session's log means: news that gets lost is told again, or was no longer true anyway.
"""

from __future__ import annotations

import msgspec

from litevoice_contracts.envelopes import MessageId
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import Progress

VERSION = 2


class SessionNews(msgspec.Struct, frozen=True, array_like=True):
    """A session that the worker has in memory, or has refused.

    Attributes:
        progress: how far its packets are settled; None when only something is under way that the owner waits for.
        attempt: the worker's own. The progress of an older one than the owner's does not count, like its messages.
        after: the newest message that the worker has published for the session, None for none. Its progress counts for
            an owner that has read that far: what was settled with a message must not be forgotten before the message.
        refused: the worker has no room for it.
    """

    session_id: str
    progress: Progress | None = None
    refused: bool = False
    attempt: int = 0
    after: MessageId | None = None


class PartitionNews(msgspec.Struct, frozen=True, array_like=True):
    """A partition that the worker reads.

    Attributes:
        behind_seconds: age of the newest message that the worker has applied, when it applied it, by the clocks of two
            machines; and how long the worker will take to hear all audio that waits in it.
    """

    partition: int
    behind_seconds: float


class WorkerNews(msgspec.Struct, frozen=True, omit_defaults=True):
    """From one worker to one gateway; everything is as of now, and of the gateway's own sessions only.

    Attributes:
        full: the worker takes no more sessions.
        busy: the share of its CPU that the worker uses, 0 to 1.
        lost: partitions that another worker has taken from this one. Until a moment ago it may have read beside the
            other: what it has read of them ends with it.
    """

    worker: str
    partitions: list[PartitionNews] = []
    sessions: list[SessionNews] = []
    full: bool = False
    busy: float = 0.0
    v: int = VERSION
    lost: list[int] = []

    def encode(self) -> bytes:
        return _encoder.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> WorkerNews:
        """Raises InvalidField when the body is not of this version and form."""
        try:
            news = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidField("body", f"a worker's news of version {VERSION} ({error})") from error
        if news.v != VERSION:
            raise InvalidField("v", f"{VERSION}, the only version that this release understands, got {news.v}")
        return news


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WorkerNews)
