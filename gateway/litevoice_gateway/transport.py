"""What a connection needs of a WebSocket: keeps the library that serves it out of the rest of the gateway."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """One accepted WebSocket. All methods are synchronous and ignored once the connection is gone."""

    def send(self, data: bytes, *, binary: bool) -> None:
        """One message, binary or text (UTF-8)."""

    def send_close(self, code: int, reason: str) -> None:
        """A Close frame; frames of the peer are still read."""

    def ping(self) -> None: ...

    def disconnect(self) -> None:
        """Closes the TCP connection after what was sent, or by force when the peer does not take it."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
