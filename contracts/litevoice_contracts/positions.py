"""Event ids are positions: a client that names the last event it saw tells a new owner everything it needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from litevoice_contracts.errors import InvalidField

_ID = re.compile(
    r"evt_(?P<position>[0-9]{1,15}|x)_(?P<snapshot>[0-9]{1,15}|x)(?:_(?:g[0-9]{1,10}|(?P<part>[0-9]{1,4})))?"
)
LAST_PART = 10_000
"""Greater than every part index: 'everything at this position was seen'."""


@dataclass(frozen=True, slots=True, order=True)
class EventId:
    """``evt_<position>_<snapshot>[_<part>]``, or ``evt_<position>_<snapshot>_g<n>`` for an event that the gateway
    made itself: such an event has no position of its own, it only repeats what the client had seen before it.

    Attributes:
        position: offset in the session's LiteTopic, -1 (written ``x``) before the first event.
        snapshot: position of the latest conversation snapshot at or before `position`, -1 (``x``) for none.
        part: index among the client events that one position became.
    """

    position: int
    snapshot: int
    part: int = 0

    def __str__(self) -> str:
        base = f"evt_{_write(self.position)}_{_write(self.snapshot)}"
        return f"{base}_{self.part}" if self.part else base

    def gateway_made(self, n: int) -> str:
        """Id of the n-th event that this connection's gateway made itself, after this one."""
        return f"evt_{_write(self.position)}_{_write(self.snapshot)}_g{n}"

    @classmethod
    def parse(cls, text: str, *, field: str = "last_event_id") -> EventId:
        """Raises InvalidField unless `text` is an event id that a gateway has given out."""
        match = _ID.fullmatch(text)
        if match is None:
            raise InvalidField(field, "the event_id of the last event received, like evt_17_12")
        position, snapshot = _read(match["position"]), _read(match["snapshot"])
        if snapshot > position:
            raise InvalidField(field, "an event_id whose snapshot does not come after its position")
        gateway_made = "_g" in text
        part = LAST_PART if gateway_made else int(match["part"] or 0)
        return cls(position, snapshot, part)


START = EventId(-1, -1, LAST_PART)
"""Nothing seen yet."""


def _write(number: int) -> str:
    return "x" if number < 0 else str(number)


def _read(text: str) -> int:
    return -1 if text == "x" else int(text)
