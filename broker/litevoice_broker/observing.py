"""How the client tells its host process what happened, so that this package needs no metrics library."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Called in the event loop, often; must be quick and must not raise."""

    def on_send(self, kind: str, seconds: float, messages: int) -> None:
        """One send request was confirmed. `kind` is ``fifo`` or ``lite``."""

    def on_send_error(self, kind: str) -> None:
        """One send request failed (it may be tried again)."""

    def on_reconnect(self) -> None:
        """A client lost its proxy and found one again."""

    def on_heal(self) -> None:
        """A LiteTopic was taken over again because a position was missing."""


class NoObserver:
    """Observes nothing."""

    def on_send(self, kind: str, seconds: float, messages: int) -> None: ...

    def on_send_error(self, kind: str) -> None: ...

    def on_reconnect(self) -> None: ...

    def on_heal(self) -> None: ...
