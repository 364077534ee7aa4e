"""What the gateway asks of a client protocol: pure translation between its frames and neutral packets and events.

A factory recognizes its upgrade requests and makes one protocol object per connection; `registry.py` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.packets import Packet
from litevoice_contracts.positions import EventId
from litevoice_gateway.session_state import LogEvent

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

NO_MAPS: Mapping[str, Collection[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """Attributes:
    headers: with lower-case names.
    subprotocols: offered in Sec-WebSocket-Protocol, in order.
    principal: whose API key it has, once that is known.
    models: what clients may ask for, the default first; empty: anything.
    semantic_models: those that have a turn detector.
    voices: of each that has a map of voices, the names in it.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    subprotocols: tuple[str, ...]
    principal: str = ""
    models: tuple[str, ...] = ()
    semantic_models: tuple[str, ...] = ()
    voices: Mapping[str, Collection[str]] = field(default_factory=lambda: NO_MAPS)

    @classmethod
    def parse(cls, target: str, headers: Mapping[str, str]) -> UpgradeRequest:
        """`target` is the request's path and query; the last of several values of a parameter counts. One that is
        neither has the path ""."""
        try:
            parts = urlsplit(target)
        except ValueError:  # //[ begins like the address of a host
            parts = urlsplit("")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        offered = headers.get("sec-websocket-protocol", "").split(",")
        return cls(parts.path.rstrip("/"), query, headers, tuple(name.strip() for name in offered))

    @property
    def traceparent(self) -> str:
        """The caller's W3C trace context; "" when there is none, or no valid one."""
        value = self.headers.get("traceparent", "")
        return value if _TRACEPARENT.fullmatch(value) else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a client event, or an upgrade request, cannot be used.

    Attributes:
        code: stable identifier, e.g. ``invalid_base64``.
        message: a sentence that says what would be right.
        param: dotted path of the offending field, None when the event as a whole is meant.
        event_id: the client's own id of the event, None when it gave none.
    """

    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class Refusal(Exception):  # noqa: N818 - reads as what it is
    """Raised by `ClientProtocol.decode` (the session lives on) and `ProtocolFactory.connect` (answered with 400, an
    unknown model with 404)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


MODEL_NOT_FOUND = "model_not_found"
"""Code of the problem with a model that is not there."""


class ClientEvent(msgspec.Struct, frozen=True):
    """Attributes:
    type: the protocol's own name of the event, from a closed set: it becomes a metric label.
    client_seq: the client's own number of the packet, None where the protocol has none; `confirmed` gives it back.
    """

    type: str
    packet: Packet
    client_seq: int | None = None


class Frame(msgspec.Struct, frozen=True):
    """One WebSocket message to the client; UTF-8 unless `binary`."""

    data: bytes
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What there is of a session that was come back to, as of the last event that the client has seen.

    Attributes:
        items: of the conversation.
        turn: number of the newest turn.
        response_id: of the answer that is under way, "" for none.
        unreadable: positions since the snapshot before, up to there, that this release cannot read.
    """

    items: int
    turn: int
    response_id: str
    unreadable: int


class ClientProtocol(Protocol):
    """The protocol of one connection.

    It may number its frames and remember what it has sent, but no state of the session: another gateway must be able
    to continue. So the same log always becomes the same frames.
    """

    @property
    def can_return(self) -> bool:
        """Whether this client comes back after Close 1012, as far as it has shown; `drain.policy: Auto` moves only who
        does."""

    subprotocol: str
    """To answer in Sec-WebSocket-Protocol, "" for nothing."""
    session_id: str
    """The session that the client comes back to, "" for a new one."""
    resume: EventId | None
    """The last event that the client has seen; positions.START for all of the log; None for a new session."""
    config: SessionConfig
    """What a new session begins with."""
    acknowledge_seconds: float
    """The least time between two calls of `confirmed`; 0 for one at each confirmation of the broker."""

    def is_audio(self, message: str | bytes) -> bool:
        """Whether the message is audio, told at a glance. Such messages may wait for each other to be decoded; False
        where it is not certain."""

    def decode(self, message: str | bytes, config: SessionConfig) -> Sequence[ClientEvent]:
        """One message, text or binary, that meets configuration `config`; it counts once for `maxEventsPerSecond`.

        Raises Refusal when any of it cannot be used.
        """

    def opened(
        self, session_id: str, config: SessionConfig, at: EventId, events: Sequence[LogEvent], restored: Restored | None
    ) -> list[Frame]:
        """The first frames of the connection, once the session is restored up to `at`.

        `events` are those of that position: the client may have seen only some of what they became, the rest goes out
        here too. Empty for a new session, of which nothing is `restored`.
        """

    def encode(self, at: EventId, events: Sequence[LogEvent]) -> list[Frame]:
        """What the events of one position become. `at` has that position, and the snapshot that a restore needs."""

    def problem(self, problem: Problem) -> list[Frame]:
        """An error that the gateway reports itself; possible before `opened`."""

    def confirmed(self, client_seq: int) -> list[Frame]:
        """The broker has this packet of the client's and all before it."""

    def going_away(self, seconds: float) -> list[Frame]:
        """The connection is closed in so many seconds at the latest, and sooner at the edge of a turn if its client is
        one that is moved. At most once in each drain, after `opened`."""


class ProtocolFactory(Protocol):
    """One way to talk to the gateway."""

    path: str
    """Of the URL, without a trailing slash."""

    api_key_form: str
    """How clients give their API key, as an error tells them."""

    def accepts(self, request: UpgradeRequest) -> bool:
        """Whether the request is meant for this protocol, by path and subprotocol."""

    def api_key(self, request: UpgradeRequest) -> str | None:
        """Where this protocol's clients put their API key."""

    def connect(self, request: UpgradeRequest) -> ClientProtocol:
        """For a request whose API key is right. Raises Refusal for anything else that does not fit."""

    def http_error(self, status: int, problem: Problem) -> bytes:
        """JSON body of an HTTP answer in place of the upgrade."""
