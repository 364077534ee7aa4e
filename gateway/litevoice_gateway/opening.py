"""How a connection begins: what the session core is given besides the protocol and the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.positions import EventId


@dataclass(frozen=True, slots=True)
class Opening:
    """How a connection begins.

    Attributes:
        config: what a new session begins with.
        resume: last event that the client has seen; positions.START for all of the log; None for a new session.
        wall_milliseconds: clock for epochs.
    """

    session_id: str
    config: SessionConfig
    resume: EventId | None
    wall_milliseconds: Callable[[], int]
    principal: str = ""
    client: str = ""

    @property
    def position(self) -> int:
        """Where the log must be read from."""
        return max(self.resume.snapshot, 0) if self.resume is not None else 0
