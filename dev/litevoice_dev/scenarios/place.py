"""Where a scenario takes place: local processes (`litevoice_dev.local_place`) or a cluster (`e2e.cluster_place`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from litevoice_operator.api.backlog_alert import Culprit

Show = Callable[[str], None]
"""Takes a line of results for people."""

Line = dict[str, Any]
"""What an audit says of one message (see audit.py)."""

ReadLines = Callable[[], Awaitable[list[Line]]]


class Place(Protocol):
    """Gateways and workers that answer calls, with ways to look into them.

    Attributes:
        urls: WebSocket bases for OpenAI clients; a caller that loses its connection tries the next one.
        direct_url: one without a process in between, whose buffers would hide for long that a client does not read.
    """

    @property
    def urls(self) -> Sequence[str]: ...

    @property
    def direct_url(self) -> str: ...

    @property
    def api_key(self) -> str: ...

    async def holder(self, session_id: str) -> str:
        """Name of the gateway pod that holds the session. Raises TimeoutError when none does for long."""

    def requests(self) -> AbstractAsyncContextManager[ReadLines]:
        """Reads what goes up from the moment that it is entered; gives a function that tells what has come so far."""

    async def replies(self, session_id: str) -> list[Line]:
        """Everything that the session's LiteTopic holds."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens to the gateway that holds a call.

    Attributes:
        what: as a person would say it: ``kill -9``.
        strike: gets the name of the pod.
        cuts: the connection ends without a goodbye: what a caller without acknowledgements had under way then may be
            lost; it is counted on its own.
    """

    what: str
    strike: Callable[[str], Awaitable[None]]
    cuts: bool


class BacklogWatch(Protocol):
    """Somebody who must notice replies that wait: a BacklogAlert, or who asks the broker as the operator does."""

    async def seen(self, session_id: str) -> list[Culprit]:
        """Returns when the backlog has been noticed: the sessions with the largest, that one among them."""

    async def gone(self, session_id: str) -> None:
        """Returns when it has been noticed that nothing waits any more."""
