"""What the session core asks of a client protocol: pure translation between its messages and neutral packets/events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.events import DownEvent
from litevoice_contracts.packets import Packet


@dataclass(frozen=True, slots=True)
class Problem:
    """A client event that cannot be applied; the session lives on.

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
    """Raised by `ClientProtocol.decode`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """`type` is the protocol's own name of the event, from a closed set: it becomes a metric label."""

    type: str
    packet: Packet


@dataclass(frozen=True, slots=True)
class Context:
    """What a translation of a server event needs besides the event: the state just after it."""

    session_id: str
    config: SessionConfig
    text_only: bool


class ServerEvent(msgspec.Struct, kw_only=True):
    """A message to the client, before it is numbered."""

    event_id: str = ""


class ClientProtocol(Protocol):
    """One client protocol. Implementations keep no state of the session: another gateway must be able to continue."""

    name: str
    """As in metrics and the admin API."""
    can_return: bool
    """Whether clients of this protocol come back after Close 1012; `drain.policy: Auto` moves only those."""

    def decode(self, message: str, config: SessionConfig) -> ClientEvent:
        """One client message; `config` is the configuration that it meets. Raises Refusal."""

    def created(self, context: Context) -> ServerEvent:
        """First message of every connection."""

    def encode(self, event: DownEvent, context: Context) -> list[ServerEvent]:
        """The messages that one neutral event becomes; always the same ones for the same event and context."""

    def problem(self, problem: Problem) -> ServerEvent: ...

    def dump(self, event: ServerEvent) -> bytes:
        """The bytes on the wire."""
