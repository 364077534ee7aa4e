"""Which message of a LiteTopic is delivered, dropped or waited for: strictly by position, once each. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

GAP_WAIT_SECONDS = 0.2
"""How long a missing position may still arrive by itself."""
_HEAL_BACKOFF_MAX_SECONDS = 5.0
VERIFY_SECONDS = (1.0, 3.0)
"""A takeover that has brought nothing at all is looked into after the first wait, and once more after the second."""


class Verdict(Enum):
    DELIVER = auto()
    DROP = auto()
    """Seen before; acknowledge it."""
    WAIT = auto()
    """Something before it is missing; leave it un-acknowledged, it comes again."""


@dataclass(slots=True)
class PositionOrder:
    """`next_position`: the one to be delivered next. `seen`: the highest that came, -1 for none."""

    next_position: int
    seen: int = -1
    delivered: int = 0
    heals: int = 0
    """Heals since the last delivery."""

    def offer(self, position: int) -> Verdict:
        self.seen = max(self.seen, position)
        if position < self.next_position:
            return Verdict.DROP
        if position > self.next_position:
            return Verdict.WAIT
        self.next_position += 1
        self.delivered += 1
        self.heals = 0
        return Verdict.DELIVER

    @property
    def gap(self) -> bool:
        """Whether a position after the next one has come."""
        return self.seen >= self.next_position

    def restart(self, position: int | None = None) -> None:
        """Before a takeover: what came until now says nothing any more. None keeps the next position."""
        if position is not None:
            self.next_position = position
            self.heals = 0
        self.seen = -1
        self.delivered = 0

    def gap_wait_seconds(self) -> float:
        """Time until the gap is healed; it doubles while heals bring nothing (the log may have been cut)."""
        return min(GAP_WAIT_SECONDS * 2.0 ** min(self.heals, 10), _HEAL_BACKOFF_MAX_SECONDS)


def other_position(position: int) -> int:
    """A position near `position` but not the same: the broker ignores a reset to the committed offset."""
    return position - 1 if position > 0 else 1
