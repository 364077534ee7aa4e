"""Numbers of epochs: higher than every one that is known, and nobody else's."""

from __future__ import annotations

TIE_BITS = 20


def new_epoch(wall_milliseconds: int, tie: int, known: int) -> int:
    """Higher than every epoch that is `known`, -1 for none, and as a rule than those of earlier owners.

    `tie`: some of its bits tell apart two owners that open in the same millisecond; random, or the owner's own number.
    """
    return max(wall_milliseconds, (known >> TIE_BITS) + 1) << TIE_BITS | tie & (1 << TIE_BITS) - 1
